import type { ErrorText } from '../lib/errors.js'

/** The maximum length of a token in bytes. */
export const MAX_TOKEN_BYTES = 8192

/** The status and the message of each error of the guard, by code. */
export const guardErrors = {
  FST_HUMANDETECT_NOT_HUMAN: { statusCode: 403, message: 'The token does not prove that the sender is human' },
  FST_HUMANDETECT_TOKEN_REQUIRED: {
    statusCode: 400, message: `A token of at most ${MAX_TOKEN_BYTES} bytes is required`
  },
  FST_HUMANDETECT_UNAVAILABLE: { statusCode: 503, message: 'Token verification is unavailable' }
} as const satisfies Readonly<Record<string, ErrorText>>
