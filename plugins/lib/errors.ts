import { STATUS_CODES } from 'node:http'
import createError from '@fastify/error'

/** A plugin was registered, or a helper called, with an option it cannot work with. Never shows the value. */
export const InvalidOption = createError<[plugin: string, option: string, expected: string]>(
  'FST_VERIFICATION_INVALID_OPTION', '%s: option "%s" %s', 500, TypeError)

/** The platform's crypto library has no such algorithm, as with MD5 under FIPS. */
export const AlgorithmUnavailable = createError<[plugin: string, algorithm: string]>(
  'FST_VERIFICATION_ALGORITHM_UNAVAILABLE', '%s: this platform has no HMAC with %s')

/** The body did not arrive within `bodyTimeout`. */
export const BodyTimeout = createError<[]>(
  'FST_VERIFICATION_BODY_TIMEOUT', 'The body did not arrive in time', 408)

/** What is sent: a status and, but for 204, a JSON text. */
export interface Answer {
  readonly statusCode: number
  readonly body?: string | undefined
  /** It was given before, to the same delivery. */
  readonly replayed?: true
}

/** The JSON text of an error in Fastify's own shape. */
export function errorBody (statusCode: number, code: string | undefined, message: string): string {
  return JSON.stringify({ statusCode, code, error: STATUS_CODES[statusCode], message })
}

function refusal (statusCode: number, code: string, message: string): Answer {
  return { statusCode, body: errorBody(statusCode, `FST_VERIFICATION_${code}`, message) }
}

export const NO_CONTENT: Answer = { statusCode: 204 }

export const FORBIDDEN = refusal(403, 'FORBIDDEN', 'The delivery is not authentic')
export const INVALID_JSON = refusal(400, 'INVALID_JSON', 'The body is not a JSON object in UTF-8')
export const UNKNOWN_EVENT = refusal(400, 'UNKNOWN_EVENT', 'No handler takes this type of event')
export const HANDLER_FAILED = refusal(500, 'HANDLER_FAILED', 'The handler failed')
export const INVALID_REPLY = refusal(500, 'INVALID_REPLY', 'The handler returned an invalid reply')
export const TIMEOUT = refusal(503, 'TIMEOUT', 'The handler did not finish in time')
export const IN_PROGRESS = refusal(503, 'IN_PROGRESS', 'This delivery is being handled')
export const ID_REUSED = refusal(422, 'ID_REUSED', 'The id of this delivery was used for other content')
export const STORE_UNAVAILABLE = refusal(503, 'STORE_UNAVAILABLE', 'Deliveries cannot be taken at the moment')
export const VERIFICATION_FAILED = refusal(500, 'FAILED', 'The delivery could not be verified')
export const SECRET_UNAVAILABLE = refusal(503, 'SECRET_UNAVAILABLE', 'The secret cannot be had at the moment')

/** 400 for a signed payload outside its schema; `problem` names a path and a rule, never a value. */
export function invalidPayload (problem: string): Answer {
  return refusal(400, 'INVALID_PAYLOAD', problem)
}

const FRAME = '    at '
const MOST_FRAMES = 50

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
      ...(frames.length > 0 && { stack: frames.slice(0, MOST_FRAMES).join('\n') })
    }
  } catch {
    return { type: 'unreadable' } // by a getter or a proxy
  }
}
