import { describeError, NOT_SERIALIZABLE, QUEUE_UNAVAILABLE, type Answer } from './errors.js'

/** Error of `enqueue` that determines the response to the delivery. */
class QueueError extends Error {
  readonly code: string
  readonly #answer: Answer

  constructor (name: string, answer: Answer, cause: unknown) {
    const { code, message } = JSON.parse(answer.body!) as { code: string, message: string }
    super(message, { cause })
    this.name = name
    this.code = code
    this.#answer = { ...answer, details: { failure: describeError(cause) }, thrown: { value: this } }
  }

  /**
   * Returns the response for an error made here, or undefined for any other thrown value. Triggers no getter or proxy
   * of the value.
   */
  static answerOf (thrown: unknown): Answer | undefined {
    return typeof thrown === 'object' && thrown !== null && #answer in thrown ? thrown.#answer : undefined
  }
}

/**
 * Error for a queue that failed, or did not accept a delivery in time. If a handler throws it, the response is 503, so
 * that the sender retries.
 */
export class QueueUnavailable extends QueueError {
  constructor (cause: unknown) { super('QueueUnavailable', QUEUE_UNAVAILABLE, cause) }
}

/**
 * Error for an event that cannot be written as JSON because it is nested too deep. If a handler throws it, the response
 * is 400, which is final.
 */
export class NotSerializable extends QueueError {
  constructor (cause: unknown) { super('NotSerializable', NOT_SERIALIZABLE, cause) }
}

export const readQueueError = QueueError.answerOf
