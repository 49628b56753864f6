import { Type, type Static } from '@sinclair/typebox'

/** What a token may be: opaque, in the document's examples about 300 characters of base64. */
export const TokenSchema = Type.String({ minLength: 1, maxLength: 8192, description: 'Made by the SDK; opaque' })

/** What is asked of the Token Verification API. */
export const TokenVerificationSchema = Type.Object({ token: TokenSchema }, { description: 'A token to verify' })

/** What it answers. */
export const HumanDetectResultSchema = Type.Object({
  valid: Type.Boolean({ description: 'true: a human, false: a bot' }),
  identifier: Type.String({ description: 'What the SDK was given: a user, a nonce, ...' }),
  timestamp: Type.String({ description: "When the token was made, by the device's clock: 2020-09-22T14:52:11.104-0500" }),
  checksum: Type.String({ minLength: 1, maxLength: 512, description: 'Sums up what the device captured; good for one use' }),
  version: Type.Literal(1)
}, { description: 'What a token says' })
export type HumanDetectResult = Static<typeof HumanDetectResultSchema>

/** How it answers whatever is not a result. */
export const HumanDetectErrorSchema = Type.Object({
  code: Type.Union([
    Type.Literal('invalidRequest'), Type.Literal('badRequest'), Type.Literal('unauthorized'), Type.Literal('forbidden'),
    Type.Literal('internalError')
  ]),
  message: Type.String()
}, { description: 'An error of the Token Verification API' })
export type HumanDetectError = Static<typeof HumanDetectErrorSchema>

/** The errors that mean: this is no token of ours. */
export const UnknownTokenSchema = Type.Object({
  code: Type.Union([Type.Literal('badRequest'), Type.Literal('invalidRequest')])
}, { description: 'The token is missing or malformed' })

/** What the guard's own route takes: a token, and who it is expected to be about. */
export const HumanDetectRequestSchema = Type.Object({
  token: TokenSchema,
  identifier: Type.String({ minLength: 1, description: 'What the SDK was given' })
}, { description: 'A token to check' })
export type HumanDetectRequest = Static<typeof HumanDetectRequestSchema>
