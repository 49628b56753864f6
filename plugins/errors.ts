import { guardErrors } from './humandetect/errors.js'
import { errors as webhookErrors } from './lib/errors.js'

/**
 * The status and the message of every error of this package, by code: those of responses, of log lines and of thrown
 * errors. A message with `%s` or `%d` is completed where the error is made.
 *
 * @example if (error.code === 'FST_VERIFICATION_STORE_FULL') alarm(errors[error.code].message)
 */
export const errors = /* @__PURE__ */ Object.freeze({ ...webhookErrors, ...guardErrors })

/** A code in `errors`. */
export type ErrorCode = keyof typeof errors
