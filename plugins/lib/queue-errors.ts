import { describeError, NOT_SERIALIZABLE, QUEUE_UNAVAILABLE, type Answer } from './errors.js'

/** An error of `enqueue` that says how the delivery is answered. */
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

  /** Asks no getter and no proxy of what a handler has thrown: only what is made here is answered so. */
  static answerOf (thrown: unknown): Answer | undefined {
    return typeof thrown === 'object' && thrown !== null && #answer in thrown ? thrown.#answer : undefined
  }
}

/** A queue has failed, or did not accept a delivery in time. From a handler it is answered 503: to be sent again. */
export class QueueUnavailable extends QueueError {
  constructor (cause: unknown) { super('QueueUnavailable', QUEUE_UNAVAILABLE, cause) }
}

/** An event cannot be written as JSON, since it is nested too deep. From a handler it is answered 400, as final. */
export class NotSerializable extends QueueError {
  constructor (cause: unknown) { super('NotSerializable', NOT_SERIALIZABLE, cause) }
}

export const readQueueError = QueueError.answerOf
