import { STATUS_CODES } from 'node:http'
import { createError } from '@fastify/error'
import type { RejectionReason } from './signature/fields.js'
import type { Outcome, Reason } from './telemetry.js'

/** Error for an invalid option of a plugin or helper. Never reveals the value. */
export const InvalidOption = createError<[plugin: string, option: string, expected: string]>(
  'FST_VERIFICATION_INVALID_OPTION', '%s: option "%s" %s', 500, TypeError)

/** Error for an algorithm that the platform's crypto library lacks, such as MD5 under FIPS. */
export const AlgorithmUnavailable = createError<[plugin: string, algorithm: string]>(
  'FST_VERIFICATION_ALGORITHM_UNAVAILABLE', '%s: this platform does not support HMAC with %s')

/** Error for a body that did not arrive within `bodyTimeout`. */
export const BodyTimeout = createError<[]>(
  'FST_VERIFICATION_BODY_TIMEOUT', 'The body did not arrive in time', 408)

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
  return (statusCode: number, reason: Reason, code: string, message: string): Answer =>
    ({ statusCode, body: errorBody(statusCode, `FST_VERIFICATION_${code}`, message), outcome, reason })
}
const rejected = answers('rejected')
const failed = answers('failed')
const duplicate = answers('duplicate')

export const NO_CONTENT: Answer = { statusCode: 204, outcome: 'accepted', reason: 'handled' }

const FORBIDDEN = rejected(403, 'mismatch', 'FORBIDDEN', 'The delivery is not authentic')
export const INVALID_JSON = rejected(400, 'invalid_json', 'INVALID_JSON', 'The body is not a JSON object in UTF-8')
export const UNREADABLE = rejected(400, 'invalid_json', 'INVALID_JSON', 'The body does not match its content type')
export const UNKNOWN_EVENT = rejected(400, 'unknown_event', 'UNKNOWN_EVENT', 'No handler for this type of event')
export const ID_REUSED: Answer = {
  ...rejected(422, 'id_reused', 'ID_REUSED', 'The delivery id was already used for different content'), level: 'warn'
}
export const NOT_SERIALIZABLE =
  rejected(400, 'not_serializable', 'NOT_SERIALIZABLE', 'The event is nested too deeply to be stored')
export const IN_PROGRESS = duplicate(503, 'in_progress', 'IN_PROGRESS', 'This delivery is already being handled')
export const HANDLER_FAILED = failed(500, 'handler_failed', 'HANDLER_FAILED', 'The handler failed')
export const INVALID_REPLY = failed(500, 'invalid_reply', 'INVALID_REPLY', 'The handler returned an invalid reply')
export const TIMEOUT = failed(503, 'handler_timeout', 'TIMEOUT', 'The handler did not finish in time')
export const STORE_UNAVAILABLE =
  failed(503, 'store_unavailable', 'STORE_UNAVAILABLE', 'The delivery store is unavailable')
export const QUEUE_UNAVAILABLE =
  failed(503, 'queue_unavailable', 'QUEUE_UNAVAILABLE', 'The queue is unavailable')
export const VERIFICATION_FAILED =
  failed(500, 'verification_failed', 'FAILED', 'The delivery could not be verified')
export const BODY_CONSUMED: Answer = {
  ...failed(500, 'internal_error', 'BODY_CONSUMED', 'The body was read before the plugin could read it'),
  details: { problem: 'a hook or the platform read the body without setting "rawBody" of the raw request to a Buffer' }
}
export const SECRET_UNAVAILABLE =
  failed(503, 'secret_unavailable', 'SECRET_UNAVAILABLE', 'The secret is unavailable')

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
  return { ...rejected(400, 'invalid_payload', 'INVALID_PAYLOAD', problem), details: { problem } }
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
