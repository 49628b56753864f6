import { STATUS_CODES } from 'node:http'
import { createError } from '@fastify/error'
import type { RejectionReason } from './signature/rejection.js'
import type { Outcome, Reason } from './telemetry.js'

/** A plugin was registered, or a helper called, with an option it cannot work with. Never shows the value. */
export const InvalidOption = createError<[plugin: string, option: string, expected: string]>(
  'FST_VERIFICATION_INVALID_OPTION', '%s: option "%s" %s', 500, TypeError)

/** The platform's crypto library has no such algorithm, as with MD5 under FIPS. */
export const AlgorithmUnavailable = createError<[plugin: string, algorithm: string]>(
  'FST_VERIFICATION_ALGORITHM_UNAVAILABLE', '%s: this platform has no HMAC with %s')

/** The body did not arrive within `bodyTimeout`. */
export const BodyTimeout = createError<[]>(
  'FST_VERIFICATION_BODY_TIMEOUT', 'The body did not arrive in time', 408)

/** What is sent, a status and, but for 204, a JSON text; and what is reported of it. */
export interface Answer {
  readonly statusCode: number
  readonly body?: string | undefined
  readonly outcome: Outcome
  readonly reason: Reason
  /** For the log only. */
  readonly details?: object | undefined
  /** The thrown value: for the host's onError hooks and `onFailed`, never for a client or a log. */
  readonly thrown?: { readonly value: unknown }
  /** Of the log, where it is not that of the outcome: nobody expects this of a provider that is set up well. */
  readonly level?: 'warn'
}

/** The error of a failed delivery, for code of the host: what was thrown, or an error with the code of the answer. */
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

/** The JSON text of an error in Fastify's own shape. */
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
export const UNREADABLE = rejected(400, 'invalid_json', 'INVALID_JSON', 'The body is not what its content type says')
export const UNKNOWN_EVENT = rejected(400, 'unknown_event', 'UNKNOWN_EVENT', 'No handler takes this type of event')
export const ID_REUSED: Answer = {
  ...rejected(422, 'id_reused', 'ID_REUSED', 'The id of this delivery was used for other content'), level: 'warn'
}
export const NOT_SERIALIZABLE =
  rejected(400, 'not_serializable', 'NOT_SERIALIZABLE', 'The event is nested too deep to be kept')
export const IN_PROGRESS = duplicate(503, 'in_progress', 'IN_PROGRESS', 'This delivery is being handled')
export const HANDLER_FAILED = failed(500, 'handler_failed', 'HANDLER_FAILED', 'The handler failed')
export const INVALID_REPLY = failed(500, 'invalid_reply', 'INVALID_REPLY', 'The handler returned an invalid reply')
export const TIMEOUT = failed(503, 'handler_timeout', 'TIMEOUT', 'The handler did not finish in time')
export const STORE_UNAVAILABLE =
  failed(503, 'store_unavailable', 'STORE_UNAVAILABLE', 'Deliveries cannot be taken at the moment')
export const QUEUE_UNAVAILABLE =
  failed(503, 'queue_unavailable', 'QUEUE_UNAVAILABLE', 'The queue cannot take this at the moment')
export const VERIFICATION_FAILED =
  failed(500, 'verification_failed', 'FAILED', 'The delivery could not be verified')
export const BODY_CONSUMED: Answer = {
  ...failed(500, 'internal_error', 'BODY_CONSUMED', 'The body was read before the plugin could read it'),
  details: { problem: 'a hook, middleware or platform has read the body, and left no Buffer in "rawBody" of the raw request' }
}
export const SECRET_UNAVAILABLE =
  failed(503, 'secret_unavailable', 'SECRET_UNAVAILABLE', 'The secret cannot be had at the moment')

const forbiddenFor = new Map<RejectionReason, Answer>()

/** The one answer to whatever is not authentic. */
export function forbidden (reason: RejectionReason): Answer {
  const known = forbiddenFor.get(reason)
  if (known !== undefined) return known
  const answer: Answer = { ...FORBIDDEN, reason, ...(reason === 'stale' && { level: 'warn' }) }
  forbiddenFor.set(reason, answer)
  return answer
}

export function isForbidden ({ body }: Answer): boolean {
  return body === FORBIDDEN.body
}

/** 400 for a signed payload outside its schema; `problem` names a path and a rule, never a value. */
export function invalidPayload (problem: string): Answer {
  return { ...rejected(400, 'invalid_payload', 'INVALID_PAYLOAD', problem), details: { problem } }
}

const FRAME = '    at '
const MAX_FRAMES = 50

/**
 * What of a thrown value may be logged: its type, its code and where it came from. Messages, causes and other
 * properties stay out: drivers and HTTP clients put URLs with passwords, headers and whole rows in them.
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
    return { type: 'unreadable' } // by a getter or a proxy
  }
}
