import { STATUS_CODES } from 'node:http'
import { InvalidOption, type Answer } from './errors.js'

export interface DenialOptions {
  /** Status of the response, any 4xx. Default 401. */
  statusCode?: number | undefined
  /** Error code for the sender's programs. Default `denied`, unless the provider documents another. */
  code?: string | undefined
  /** Error message for people. Default `The delivery was refused`, unless the provider documents another. */
  message?: string | undefined
}

/** Default code and message of a denial. */
export interface DenialTexts { readonly code: string, readonly message: string }

const TEXTS: DenialTexts = { code: 'denied', message: 'The delivery was denied' }

class Denial {
  readonly #options: DenialOptions

  constructor (options: DenialOptions) {
    this.#options = options
  }

  /**
   * Returns the options of a denial, or undefined for any other thrown value. Triggers no getter or proxy of the value.
   */
  static optionsOf (thrown: unknown): DenialOptions | undefined {
    return typeof thrown === 'object' && thrown !== null && #options in thrown ? thrown.#options : undefined
  }
}

/** Makes a reader that recognizes denials among thrown values: a `deny()`, or a 4xx of http-errors. */
export function createDenialReader (texts = TEXTS): (thrown: unknown) => Answer | undefined {
  return (thrown) => {
    const options = Denial.optionsOf(thrown)
    if (options === undefined) return readHttpError(thrown)
    const { statusCode = 401, code = texts.code, message = texts.message } = options
    return denied(statusCode, code, message)
  }
}

export const readDenial = createDenialReader()

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
 * Makes a denial for a handler to throw. The response has its status and the flat error `{ "status": "error", "code",
 * "message" }`, which the sender treats as final.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if the status is not 4xx, or the code or message is not a string
 * @example throw deny({ statusCode: 403, code: 'banned', message: 'This player may not buy' })
 */
export function deny (options: DenialOptions = {}): Denial {
  const { statusCode = 401, code = '', message = '' } = options
  if (!isClientError(statusCode)) {
    throw new InvalidOption('deny', 'statusCode', 'must be a 4xx status')
  }
  if (typeof code !== 'string') throw new InvalidOption('deny', 'code', 'must be a string')
  if (typeof message !== 'string') throw new InvalidOption('deny', 'message', 'must be a string')
  return new Denial({ statusCode: options.statusCode, code: options.code, message: options.message })
}
