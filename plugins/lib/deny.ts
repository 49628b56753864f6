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

export const readDenial = Denial.answerOf

/**
 * A decision to refuse, for a handler to throw: answered with its status and the flat error
 * `{ "status": "error", "code", "message" }`, which the sender takes as final.
 *
 * @throws `FST_VERIFICATION_INVALID_OPTION` for a status that is not 4xx, or texts that are none.
 * @example throw deny({ statusCode: 403, code: 'banned', message: 'This player may not buy' })
 */
export function deny (options: DenialOptions = {}): Denial {
  const { statusCode = 401, code = 'not_found', message = 'Player verification failed' } = options
  if (!Number.isInteger(statusCode) || statusCode < 400 || statusCode > 499) {
    throw new InvalidOption('deny', 'statusCode', 'must be a 4xx status')
  }
  if (typeof code !== 'string') throw new InvalidOption('deny', 'code', 'must be a string')
  if (typeof message !== 'string') throw new InvalidOption('deny', 'message', 'must be a string')
  const body = JSON.stringify({ status: 'error', code, message })
  return new Denial({ statusCode, body, outcome: 'denied', reason: 'denied' })
}
