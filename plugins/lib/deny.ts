import { STATUS_CODES } from 'node:http'
import { InvalidOption, type Answer } from './errors.js'

export interface DenialOptions {
  /** Any 4xx. Default 401. */
  statusCode?: number | undefined
  /** For the other company's programs. Default `not_found`. */
  code?: string | undefined
  /** For people. Default `Player verification failed`. */
  message?: string | undefined
}

class Denial {
  readonly #answer: Answer

  constructor (answer: Answer) {
    this.#answer = answer
  }

  /** Asks no getter and no proxy of what a handler has thrown. */
  static answerOf (thrown: unknown): Answer | undefined {
    return typeof thrown === 'object' && thrown !== null && #answer in thrown ? thrown.#answer : undefined
  }
}

/** The answer to a thrown value that is a decision to refuse: a `deny()`, or a 4xx of http-errors. */
export function readDenial (thrown: unknown): Answer | undefined {
  return Denial.answerOf(thrown) ?? readHttpError(thrown)
}

/** Reads an error of http-errors or @fastify/sensible whose message is meant for the client. */
function readHttpError (thrown: unknown): Answer | undefined {
  try {
    if (!(thrown instanceof Error)) return undefined
    const { expose, statusCode, code, message } = thrown as Error & Record<'expose' | 'statusCode' | 'code', unknown>
    if (expose !== true || typeof message !== 'string' || !isClientError(statusCode)) return undefined
    const name = STATUS_CODES[statusCode] ?? 'Refused'
    return denied(statusCode, typeof code === 'string' ? code : name.toLowerCase().replaceAll(/\W+/g, '_'), message)
  } catch { // thrown by a getter or a proxy
    return undefined
  }
}

function isClientError (statusCode: unknown): statusCode is number {
  return Number.isInteger(statusCode) && statusCode as number >= 400 && statusCode as number < 500
}

function denied (statusCode: number, code: string, message: string): Answer {
  return { statusCode, body: JSON.stringify({ status: 'error', code, message }), outcome: 'denied', reason: 'denied' }
}

/**
 * A decision to refuse, for a handler to throw: answered with its status and the flat error
 * `{ "status": "error", "code", "message" }`, which the sender takes as final.
 *
 * @throws `FST_VERIFICATION_INVALID_OPTION` for a status that is not 4xx, or texts that are none.
 * @example throw deny({ statusCode: 403, code: 'banned', message: 'This player may not buy' })
 */
export function deny (options: DenialOptions = {}): Denial {
  const { statusCode = 401, code = 'not_found', message = 'Player verification failed' } = options
  if (!isClientError(statusCode)) {
    throw new InvalidOption('deny', 'statusCode', 'must be a 4xx status')
  }
  if (typeof code !== 'string') throw new InvalidOption('deny', 'code', 'must be a string')
  if (typeof message !== 'string') throw new InvalidOption('deny', 'message', 'must be a string')
  return new Denial(denied(statusCode, code, message))
}
