import { STATUS_CODES } from 'node:http'
import { createError } from '@fastify/error'
import type { RejectionReason } from './signature/fields.js'
import type { Outcome, Reason } from './telemetry.js'

/**
 * The status and the message of each error, by code. A message with `%s` or `%d` is completed where the error is made;
 * `INVALID_PAYLOAD` has the problem of the body as its message.
 */
export const errors = {
  FST_VERIFICATION_ALGORITHM_UNAVAILABLE: { statusCode: 500, message: '%s: this platform does not support HMAC with %s' },
  FST_VERIFICATION_BODY_CONSUMED: { statusCode: 500, message: 'The body was read before the plugin could read it' },
  FST_VERIFICATION_BODY_TIMEOUT: { statusCode: 408, message: 'The body did not arrive in time' },
  FST_VERIFICATION_CALL_TIMEOUT: { statusCode: 503, message: 'No result within %d ms' },
  FST_VERIFICATION_FAILED: { statusCode: 500, message: 'The delivery could not be verified' },
  FST_VERIFICATION_FORBIDDEN: { statusCode: 403, message: 'The delivery is not authentic' },
  FST_VERIFICATION_HANDLER_FAILED: { statusCode: 500, message: 'The handler failed' },
  FST_VERIFICATION_ID_REUSED: { statusCode: 422, message: 'The delivery id was already used for different content' },
  FST_VERIFICATION_IN_PROGRESS: { statusCode: 503, message: 'This delivery is already being handled' },
  FST_VERIFICATION_INVALID_CLAIM: { statusCode: 500, message: 'The delivery store returned an invalid claim' },
  FST_VERIFICATION_INVALID_JSON: { statusCode: 400, message: 'The body is not a JSON object in UTF-8' },
  FST_VERIFICATION_INVALID_OPTION: { statusCode: 500, message: '%s: option "%s" %s' },
  FST_VERIFICATION_INVALID_PAYLOAD: { statusCode: 400, message: '%s' },
  FST_VERIFICATION_INVALID_REPLY: { statusCode: 500, message: 'The handler returned an invalid reply' },
  FST_VERIFICATION_NOT_SERIALIZABLE: { statusCode: 400, message: 'The event is nested too deeply to be stored' },
  FST_VERIFICATION_QUEUE_UNAVAILABLE: { statusCode: 503, message: 'The queue is unavailable' },
  FST_VERIFICATION_SECRET_UNAVAILABLE: { statusCode: 503, message: 'The secret is unavailable' },
  FST_VERIFICATION_STORE_FULL: { statusCode: 503, message: 'The delivery store is full' },
  FST_VERIFICATION_STORE_UNAVAILABLE: { statusCode: 503, message: 'The delivery store is unavailable' },
  FST_VERIFICATION_STORE_UNREACHABLE: { statusCode: 503, message: 'The delivery store is unreachable' },
  FST_VERIFICATION_TIMEOUT: { statusCode: 503, message: 'The handler did not finish in time' },
  FST_VERIFICATION_UNKNOWN_EVENT: { statusCode: 400, message: 'No handler for this type of event' }
} as const satisfies Readonly<Record<string, ErrorText>>

export interface ErrorText { readonly statusCode: number, readonly message: string }
export type WebhookErrorCode = keyof typeof errors

/** Makes the class of an error of the list above. */
export function errorClass<Args extends unknown[] = []> (
  code: WebhookErrorCode, { base = Error, hasStack = true }: { base?: ErrorConstructor, hasStack?: boolean } = {}
) {
  const { statusCode, message } = errors[code]
  return createError<Args>(code, message, statusCode, base, hasStack)
}

/** Error for an invalid option of a plugin or helper. Never reveals the value. */
export const InvalidOption = errorClass<[plugin: string, option: string, expected: string]>(
  'FST_VERIFICATION_INVALID_OPTION', { base: TypeError })

/** Error for an algorithm that the platform's crypto library lacks, such as MD5 under FIPS. */
export const AlgorithmUnavailable = errorClass<[plugin: string, algorithm: string]>(
  'FST_VERIFICATION_ALGORITHM_UNAVAILABLE')

/** Error for a body that did not arrive within `bodyTimeout`. */
export const BodyTimeout = errorClass('FST_VERIFICATION_BODY_TIMEOUT')

/**
 * The response to a delivery, a status and, except for 204, a JSON string, and the details that are reported about it.
 */
export interface Answer {
  readonly statusCode: number
  readonly body?: string | undefined
  readonly outcome: Outcome
  readonly reason: Reason
  /** Details for the log only. */
  readonly details?: object | undefined
  /** The thrown value, for `onFailed` and the onError hooks of the host application, never for a client or a log. */
  readonly thrown?: { readonly value: unknown }
  /** Log level, if it is not that of the outcome: a provider that is set up well should never cause this. */
  readonly level?: 'warn'
}

/**
 * Returns the error of a failed delivery for code of the host application: the thrown value, or an error with the code
 * of the response.
 */
export function errorOf ({ thrown, body = '{}', details }: Answer): Error {
  if (thrown !== undefined && isError(thrown.value)) return thrown.value
  const { code, message } = JSON.parse(body) as { code: string, message: string }
  const { problems } = Object(details) as { problems?: readonly string[] }
  const text = problems === undefined ? message : `${message}: ${problems.join('; ')}`
  return Object.assign(new Error(text, thrown && { cause: thrown.value }), { code })
}

function isError (value: unknown): value is Error {
  try {
    return value instanceof Error
  } catch { // thrown by a proxy
    return false
  }
}

/** Returns the JSON string of an error in Fastify's own format. */
export function errorBody (statusCode: number, code: string | undefined, message: string): string {
  return JSON.stringify({ statusCode, code, error: STATUS_CODES[statusCode], message })
}

function answers (outcome: Outcome) {
  return (reason: Reason, code: WebhookErrorCode, message: string = errors[code].message): Answer => {
    const { statusCode } = errors[code]
    return { statusCode, body: errorBody(statusCode, code, message), outcome, reason }
  }
}
const rejected = answers('rejected')
const failed = answers('failed')
const duplicate = answers('duplicate')

export const NO_CONTENT: Answer = { statusCode: 204, outcome: 'accepted', reason: 'handled' }

const FORBIDDEN = rejected('mismatch', 'FST_VERIFICATION_FORBIDDEN')
export const INVALID_JSON = rejected('invalid_json', 'FST_VERIFICATION_INVALID_JSON')
/** Response to a body that may be other than JSON. */
export const UNREADABLE =
  rejected('invalid_json', 'FST_VERIFICATION_INVALID_JSON', 'The body does not match its content type')
export const UNKNOWN_EVENT = rejected('unknown_event', 'FST_VERIFICATION_UNKNOWN_EVENT')
export const ID_REUSED: Answer = { ...rejected('id_reused', 'FST_VERIFICATION_ID_REUSED'), level: 'warn' }
export const NOT_SERIALIZABLE = rejected('not_serializable', 'FST_VERIFICATION_NOT_SERIALIZABLE')
export const IN_PROGRESS = duplicate('in_progress', 'FST_VERIFICATION_IN_PROGRESS')
export const HANDLER_FAILED = failed('handler_failed', 'FST_VERIFICATION_HANDLER_FAILED')
export const INVALID_REPLY = failed('invalid_reply', 'FST_VERIFICATION_INVALID_REPLY')
export const TIMEOUT = failed('handler_timeout', 'FST_VERIFICATION_TIMEOUT')
export const STORE_UNAVAILABLE = failed('store_unavailable', 'FST_VERIFICATION_STORE_UNAVAILABLE')
export const QUEUE_UNAVAILABLE = failed('queue_unavailable', 'FST_VERIFICATION_QUEUE_UNAVAILABLE')
export const VERIFICATION_FAILED = failed('verification_failed', 'FST_VERIFICATION_FAILED')
export const SECRET_UNAVAILABLE = failed('secret_unavailable', 'FST_VERIFICATION_SECRET_UNAVAILABLE')
export const BODY_CONSUMED: Answer = {
  ...failed('internal_error', 'FST_VERIFICATION_BODY_CONSUMED'),
  details: { problem: 'a hook or the platform read the body without setting "rawBody" of the raw request to a Buffer' }
}

const forbiddenFor = new Map<RejectionReason, Answer>()

/**
 * Returns the response to a delivery that is not authentic. The sender gets the same response for all reasons; the
 * header at fault and the diagnosis are for the log.
 */
export function forbidden (reason: RejectionReason, header?: string, diagnosis?: string): Answer {
  let answer = forbiddenFor.get(reason)
  if (answer === undefined) {
    answer = { ...FORBIDDEN, reason, ...(reason === 'stale' && { level: 'warn' }) }
    forbiddenFor.set(reason, answer)
  }
  if (header === undefined && diagnosis === undefined) return answer
  return {
    ...answer, details: { ...(header !== undefined && { header }), ...(diagnosis !== undefined && { diagnosis }) }
  }
}

/** Returns the response to a failure, with the error that caused it. */
export function failedWith (answer: Answer, error: unknown): Answer {
  return { ...answer, details: { failure: describeError(error) }, thrown: { value: error } }
}

/** Error that determines the response to the delivery if a handler throws it. */
export class ResponseError extends Error {
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
   * Returns the response for such an error, or undefined for any other thrown value. Triggers no getter or proxy of the
   * value.
   */
  static answerOf (thrown: unknown): Answer | undefined {
    return typeof thrown === 'object' && thrown !== null && #answer in thrown ? thrown.#answer : undefined
  }
}

export const answerOf = ResponseError.answerOf

export function isForbidden ({ body }: Answer): boolean {
  return body === FORBIDDEN.body
}

/**
 * Makes a 400 response for a signed body that does not match its schema. `problem` names a path and a rule, never a
 * value.
 */
export function invalidPayload (problem: string): Answer {
  return { ...rejected('invalid_payload', 'FST_VERIFICATION_INVALID_PAYLOAD', problem), details: { problem } }
}

const FRAME = '    at '
const MAX_FRAMES = 50

/**
 * Returns the parts of a thrown value that may be logged: its type, its code and its stack frames. Messages, causes and
 * other properties are left out: drivers and HTTP clients put URLs with passwords, headers and whole rows in them.
 */
export function describeError (error: unknown): { type: string, code?: string, stack?: string } {
  try {
    if (!(error instanceof Error)) return { type: error === null ? 'null' : typeof error }
    const { name, message, code } = error as Error & { code?: unknown }
    const stack = String(error.stack)
    const lines = stack.slice(stack.indexOf(message) + message.length).split('\n')
    const frames = lines.slice(lines.findLastIndex((line) => !line.startsWith(FRAME)) + 1)
    return {
      type: name,
      ...(typeof code === 'string' && { code }),
      ...(frames.length > 0 && { stack: frames.slice(0, MAX_FRAMES).join('\n') })
    }
  } catch {
    return { type: 'unreadable' } // thrown by a getter or a proxy
  }
}
