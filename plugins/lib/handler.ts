import type { FastifyRequest } from 'fastify'
import type { VerifiedRequest } from './callback.js'
import { describeError, HANDLER_FAILED, INVALID_REPLY, TIMEOUT, type Answer } from './errors.js'
import { safeLog } from './log.js'
import { readQueueError } from './queue-errors.js'
import type { InvalidResult } from './reply.js'
import { isThenable, toPromise } from './thenable.js'
import { createTimeLimit } from './time-limit.js'

/** A user's handler and how what comes of it is answered. */
export interface Work<Event, Question = unknown> {
  readonly provider: string
  /** What the answer depends on: read before the handler, which may change the event. */
  readonly replyContext?: (event: Event) => Question
  readonly handle: (event: Event, request: VerifiedRequest) => unknown
  /** What the handler's result is answered with, or what is wrong with it. */
  readonly answer: (result: unknown, question: Question) => Answer | InvalidResult
  /** What a thrown value is answered with, if it is an answer and no failure. */
  readonly denial?: (thrown: unknown) => Answer | undefined
}

/** Calls `ended` once. `late` says that `timedOut` was called before. */
export type RunHandler<Event> = (
  event: Event, request: FastifyRequest, ended: (answer: Answer, late: boolean) => void,
  timedOut: (answer: Answer) => void
) => void

/** Logs the outcome of a handler whose delivery has been answered without it. */
export function logLate ({ log }: FastifyRequest, provider: string, answer: Answer): void {
  const { statusCode, reason, details } = answer
  safeLog(log, 'warn', { provider, reason, statusCode, ...details }, 'handler ended after its time-out')
}

/** Runs the handler and gives its outcome as an answer. One that takes longer than `handlerTimeout` (ms) goes on. */
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
    } catch (error) { // by a type of the user's own in the reply's schema
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
