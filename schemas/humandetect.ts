import { Type, type Static, type TSchema } from '@sinclair/typebox'
import { guardErrors } from '../plugins/humandetect/errors.js'
import { errorResponses, messagesOf } from '../plugins/lib/openapi.js'

/** Schema of a token. Tokens are opaque; in the provider's examples they are about 300 characters of base64. */
export const TokenSchema = Type.String({ minLength: 1, maxLength: 8192, description: 'Opaque token from the SDK' })

/** Schema of a request to the Token Verification API. */
export const TokenVerificationSchema = Type.Object({ token: TokenSchema }, { description: 'Request to verify a token' })

/** Schema of a result of the Token Verification API. */
export const HumanDetectResultSchema = Type.Object({
  valid: Type.Boolean({ description: 'true for a human, false for a bot' }),
  identifier: Type.String({ description: 'Identifier passed to the SDK: a user, a nonce, ...' }),
  timestamp: Type.String({ description: 'Time of creation by the clock of the device: 2020-09-22T14:52:11.104-0500' }),
  checksum: Type.String({
    minLength: 1, maxLength: 512, description: 'Checksum of the data captured on the device. Single use'
  }),
  version: Type.Literal(1)
}, { description: 'Content of a token' })
export type HumanDetectResult = Static<typeof HumanDetectResultSchema>

/** Schema of an error of the Token Verification API. */
export const HumanDetectErrorSchema = Type.Object({
  code: Type.Union([
    Type.Literal('invalidRequest'), Type.Literal('badRequest'), Type.Literal('unauthorized'), Type.Literal('forbidden'),
    Type.Literal('internalError')
  ]),
  message: Type.String()
}, { description: 'An error of the Token Verification API' })
export type HumanDetectError = Static<typeof HumanDetectErrorSchema>

/** Schema of the errors that mean that the token is not known to the service. */
export const UnknownTokenSchema = Type.Object({
  code: Type.Union([Type.Literal('badRequest'), Type.Literal('invalidRequest')])
}, { description: 'The token is missing or malformed' })

/** Schema of a request to the guard's own route: a token, and the identifier that it must be about. */
export const HumanDetectRequestSchema = Type.Object({
  token: TokenSchema,
  identifier: Type.String({ minLength: 1, description: 'Identifier passed to the SDK' })
}, { description: 'A token and the identifier it must belong to' })
export type HumanDetectRequest = Static<typeof HumanDetectRequestSchema>

const token = 'token-generated-by-the-sdk'
/** Example requests: the one in the provider's documentation, and one for the guard's own route. */
export const HumanDetectExamples = {
  verify: { token },
  check: { token, identifier: 'your-identifier' }
}

const notHuman = {
  ...errorResponses(messagesOf(guardErrors, 'FST_HUMANDETECT_NOT_HUMAN'))[403],
  description: 'A bot, or the token is forged, expired, already used, or for another identifier'
} as TSchema

/** Schemas of the errors that `requireHuman` may respond with, for the `schema.response` of a guarded route. */
export const GuardErrorResponses: Record<number, TSchema> = {
  ...errorResponses(messagesOf(guardErrors, 'FST_HUMANDETECT_TOKEN_REQUIRED', 'FST_HUMANDETECT_UNAVAILABLE')),
  403: notHuman
}
