import type { FastifyRequest } from 'fastify'
import { AsyncResource } from 'node:async_hooks'
import { createDeadlines } from './deadlines.js'
import { describeError, HANDLER_FAILED, INVALID_REPLY, TIMEOUT, type Answer } from './errors.js'
import { tell } from './log.js'

/** A user's handler and how what comes of it is answered. */
export interface Work<Event, Question = unknown> {
  readonly provider: string
  /** What the answer depends on: read before the handler, which may change the event. */
  readonly question?: (event: Event) => Question
  readonly handle: (event: Event, request: FastifyRequest) => unknown
  /** What the handler's result is answered with, or what is wrong with it. */
  readonly answer: (result: unknown, question: Question) => Answer | { problem: string }
  /** What a thrown value is answered with, if it is an answer and no failure. */
  readonly denial?: (thrown: unknown) => Answer | undefined
}

export type RunHandler<Event> =
  (event: Event, request: FastifyRequest, answered: (answer: Answer) => void) => void

/** Runs the handler and calls `answered` once: with its outcome, or after `handlerTimeout` ms without one. */
export function createHandlerRunner<Event, Question> (
  work: Work<Event, Question>, handlerTimeout: number
): RunHandler<Event> {
  const { provider } = work
  const overdue = createDeadlines<() => void>(handlerTimeout, (timeOut) => timeOut())

  function succeeded (result: unknown, question: Question, request: FastifyRequest): Answer {
    const answer = work.answer(result, question)
    if (!('problem' in answer)) return answer
    tell(request.log, 'error', { provider, problem: answer.problem }, 'handler returned an invalid reply')
    return INVALID_REPLY
  }

  function failed (thrown: unknown, request: FastifyRequest): Answer {
    const denial = work.denial?.(thrown)
    if (denial !== undefined) return denial
    tell(request.log, 'error', { provider, failure: describeError(thrown) }, 'handler failed')
    return HANDLER_FAILED
  }

  return (event, request, answered) => {
    const question = work.question?.(event) as Question
    let result: unknown
    let pending: boolean
    try {
      result = work.handle(event, request)
      pending = isThenable(result)
    } catch (error) {
      return answered(failed(error, request))
    }
    if (!pending) return answered(succeeded(result, question, request))

    let late = false
    // Bound, since one timer serves many requests: it runs in the context of the one that armed it.
    const deadline = overdue.start(AsyncResource.bind(() => {
      late = true
      tell(request.log, 'error', { provider }, 'handler timed out')
      answered(TIMEOUT)
    }))
    const settle = (answer: Answer): void => {
      overdue.stop(deadline)
      if (!late) return answered(answer)
      tell(request.log, 'warn', { provider, statusCode: answer.statusCode }, 'handler ended after its time-out')
    }
    outcomeOf(result).then(
      (value) => settle(succeeded(value, question, request)),
      (error: unknown) => settle(failed(error, request))
    )
  }
}

/** A promise of our own, whatever the handler's is like. */
async function outcomeOf (result: unknown): Promise<unknown> {
  return await result
}

function isThenable (value: unknown): boolean {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}
