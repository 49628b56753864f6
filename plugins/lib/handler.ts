import type { FastifyRequest } from 'fastify'
import type { VerifiedRequest } from './callback.js'
import { describeError, HANDLER_FAILED, INVALID_REPLY, TIMEOUT, type Answer } from './errors.js'
import { safeLog } from './telemetry.js'
import { readQueueError } from './queue-errors.js'
import type { InvalidResult } from './reply.js'
import { createTimeLimit, isThenable, toPromise } from './timers.js'

/** A user's handler, and the functions that turn its outcome into a response. */
export interface Work<Event, Question = unknown> {
  readonly provider: string
  /** Returns what the response depends on. Called before the handler, which may change the event. */
  readonly replyContext?: (event: Event) => Question
  readonly handle: (event: Event, request: VerifiedRequest) => unknown
  /** Turns the handler's result into a response, or lists its problems. */
  readonly answer: (result: unknown, question: Question) => Answer | InvalidResult
  /** Turns a thrown value into a response if it is a denial, not a failure. */
  readonly denial?: (thrown: unknown) => Answer | undefined
}

/** Runs the handler and calls `ended` once. `late` is true if `timedOut` was called before. */
export type RunHandler<Event> = (
  event: Event, request: FastifyRequest, ended: (answer: Answer, late: boolean) => void,
  timedOut: (answer: Answer) => void
) => void

/** Logs the outcome of a handler that ended after the response was sent without it. */
export function logLate ({ log }: FastifyRequest, provider: string, answer: Answer): void {
  const { statusCode, reason, details } = answer
  safeLog(log, 'warn', { provider, reason, statusCode, ...details }, 'handler ended after its time-out')
}

/**
 * Makes a function that runs the handler and turns its outcome into a response. A handler that takes longer than
 * `handlerTimeout` milliseconds keeps running.
 */
export function createHandlerRunner<Event, Question> (
  work: Work<Event, Question>, handlerTimeout: number
): RunHandler<Event> {
  const { provider } = work
  const inTime = createTimeLimit(handlerTimeout)

  function succeeded (result: unknown, question: Question): Answer {
    try {
      const answer = work.answer(result, question)
      if (!('problems' in answer)) return answer
      return { ...INVALID_REPLY, details: { problems: answer.problems } }
    } catch (error) { // thrown by a user's own type in the reply schema
      return failed(error)
    }
  }

  function failed (thrown: unknown): Answer {
    return work.denial?.(thrown) ?? readQueueError(thrown) ??
      { ...HANDLER_FAILED, details: { failure: describeError(thrown) }, thrown: { value: thrown } }
  }

  return (event, request, ended, timedOut) => {
    let question: Question
    let result: unknown
    let pending: boolean
    try {
      question = work.replyContext?.(event) as Question
      result = work.handle(event, request as VerifiedRequest)
      pending = isThenable(result)
    } catch (error) {
      return ended(failed(error), false)
    }
    if (!pending) return ended(succeeded(result, question), false)

    const outcome = toPromise(result as PromiseLike<unknown>).then((value) => succeeded(value, question), failed)
    inTime(outcome, (answer) => {
      logLate(request, provider, answer)
      ended(answer, true)
    }).then((answer) => ended(answer, false), () => timedOut(TIMEOUT))
  }
}
