import type { FastifyRequest } from 'fastify'
import type { Answer } from './answer.js'
import { createDeadlines } from './deadlines.js'
import { describeError, HANDLER_FAILED, INVALID_REPLY, TIMEOUT, type Refusal } from './errors.js'

/** A user's handler and how what comes of it is answered. */
export interface Work<Event> {
  readonly provider: string
  readonly handle: (event: Event, request: FastifyRequest) => unknown
  /** What the handler's result is answered with, or what is wrong with it. */
  readonly answer: (result: unknown, event: Event) => Answer | { problem: string }
  /** What a thrown value is answered with, if it is an answer and no failure. */
  readonly denial?: (thrown: unknown) => Answer | undefined
}

export type RunHandler<Event> =
  (event: Event, request: FastifyRequest, answered: (answer: Answer | Refusal) => void) => void

/** Runs the handler and calls `answered` once: with its outcome, or after `handlerTimeout` ms without one. */
export function createHandlerRunner<Event> (work: Work<Event>, handlerTimeout: number): RunHandler<Event> {
  const { provider } = work
  const overdue = createDeadlines<() => void>(handlerTimeout, (timeOut) => timeOut())

  function succeeded (result: unknown, event: Event, request: FastifyRequest): Answer | Refusal {
    const answer = work.answer(result, event)
    if (!('problem' in answer)) return answer
    request.log.error({ provider, problem: answer.problem }, 'handler returned an invalid reply')
    return INVALID_REPLY
  }

  function failed (thrown: unknown, request: FastifyRequest): Answer | Refusal {
    const denial = work.denial?.(thrown)
    if (denial !== undefined) return denial
    request.log.error({ provider, err: describeError(thrown) }, 'handler failed')
    return HANDLER_FAILED
  }

  return (event, request, answered) => {
    let result: unknown
    let pending: boolean
    try {
      result = work.handle(event, request)
      pending = isThenable(result)
    } catch (error) {
      return answered(failed(error, request))
    }
    if (!pending) return answered(succeeded(result, event, request))

    let late = false
    const deadline = overdue.start(() => {
      late = true
      request.log.error({ provider }, 'handler timed out')
      answered(TIMEOUT)
    })
    const settle = (answer: Answer | Refusal): void => {
      overdue.stop(deadline)
      if (late) request.log.warn({ provider, statusCode: answer.statusCode }, 'handler ended after its time-out')
      else answered(answer)
    }
    Promise.resolve(result).then(
      (value) => settle(succeeded(value, event, request)),
      (error: unknown) => settle(failed(error, request))
    )
  }
}

function isThenable (value: unknown): boolean {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}
