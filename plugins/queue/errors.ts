import { NOT_SERIALIZABLE, QUEUE_UNAVAILABLE, ResponseError } from '../lib/errors.js'

/**
 * Error for a queue that failed, or did not accept a delivery in time. If a handler throws it, the response is 503, so
 * that the sender retries.
 */
export class QueueUnavailable extends ResponseError {
  constructor (cause: unknown) { super('QueueUnavailable', QUEUE_UNAVAILABLE, cause) }
}

/**
 * Error for an event that cannot be written as JSON because it is nested too deep. If a handler throws it, the response
 * is 400, which is final.
 */
export class NotSerializable extends ResponseError {
  constructor (cause: unknown) { super('NotSerializable', NOT_SERIALIZABLE, cause) }
}
