import { describeError, QUEUE_UNAVAILABLE, type Answer } from './errors.js'

/** A queue has failed, or did not take a delivery in time. From a handler it is answered 503: send it again. */
export class QueueUnavailable extends Error {
  readonly code = 'FST_VERIFICATION_QUEUE_UNAVAILABLE'
  readonly #answer: Answer

  constructor (cause: unknown) {
    super('The queue cannot take this at the moment', { cause })
    this.name = 'QueueUnavailable'
    this.#answer = { ...QUEUE_UNAVAILABLE, details: { failure: describeError(cause) }, thrown: { value: this } }
  }

  /** Asks no getter and no proxy of what a handler has thrown: only what is made here is answered so. */
  static answerOf (thrown: unknown): Answer | undefined {
    return typeof thrown === 'object' && thrown !== null && #answer in thrown ? thrown.#answer : undefined
  }
}
