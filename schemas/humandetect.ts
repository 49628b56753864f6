import { Type, type Static, type TSchema } from '@sinclair/typebox'
import {
  anyDenial, errorResponses, InvalidReply, invalidPayload, KEY_PATTERN, NoContentSchema, otherError, RouteErrors,
  withExamples, type RouteSchema
} from './common.js'

/** Schema of a token. Tokens are opaque; in the provider's examples they are about 300 characters of base64. */
export const TokenSchema = Type.String({ minLength: 1, maxLength: 8192, description: 'Made by the SDK; opaque' })

/** Schema of a request to the Token Verification API. */
export const TokenVerificationSchema = Type.Object({ token: TokenSchema }, { description: 'A token to verify' })

/** Schema of a result of the Token Verification API. */
export const HumanDetectResultSchema = Type.Object({
  valid: Type.Boolean({ description: 'true: a human, false: a bot' }),
  identifier: Type.String({ description: 'What the SDK was given: a user, a nonce, ...' }),
  timestamp: Type.String({ description: "When the token was made, by the device's clock: 2020-09-22T14:52:11.104-0500" }),
  checksum: Type.String({ minLength: 1, maxLength: 512, description: 'Sums up what the device captured; good for one use' }),
  version: Type.Literal(1)
}, { description: 'What a token says' })
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
  identifier: Type.String({ minLength: 1, description: 'What the SDK was given' })
}, { description: 'A token to check' })
export type HumanDetectRequest = Static<typeof HumanDetectRequestSchema>

const token = 'token-generated-by-the-sdk'
const result = {
  valid: true,
  identifier: 'your-identifier',
  timestamp: '2020-09-22T14:52:11.104-0500',
  checksum: 'checksum-of-sdk-captured-data',
  version: 1
} satisfies HumanDetectResult

/** Example requests: the one in the provider's documentation, and one for the guard's own route. */
export const HumanDetectExamples = {
  verify: { token },
  check: { token, identifier: 'your-identifier' }
}

const tokenRequired = { FST_HUMANDETECT_TOKEN_REQUIRED: 'A token of at most 8192 bytes is required' }
const unavailable = { FST_HUMANDETECT_UNAVAILABLE: 'Tokens cannot be verified at the moment' }
const notHuman = {
  ...errorResponses({ 403: { FST_HUMANDETECT_NOT_HUMAN: 'The token does not show that this comes from a human' } })[403],
  description: 'A bot; or the token is forged, stale, used before, or about someone else'
}

/** Schemas of the errors that `requireHuman` may respond with, for the `schema.response` of a guarded route. */
export const GuardErrorResponses: Record<number, TSchema> = {
  ...errorResponses({ 400: tokenRequired, 503: unavailable }), 403: notHuman
}

const ownErrors = errorResponses({
  ...RouteErrors,
  400: { ...RouteErrors[400], ...invalidPayload('/identifier: Expected required property'), ...tokenRequired },
  500: { ...RouteErrors[500], ...InvalidReply },
  503: { ...RouteErrors[503], ...unavailable }
})

/** Creates the schema of the guard's own route for API documentation. */
export function humandetectRouteSchema (reply: TSchema): RouteSchema {
  return {
    tags: ['HumanDetect'],
    summary: 'A token from the SDK, to be verified',
    description: 'The Token Verification API is asked what the token says. It must be genuine, from a human, about the ' +
      '`identifier`, fresh, and not used before: of two requests with one token, one is let in.',
    consumes: ['application/json'],
    body: withExamples(HumanDetectRequestSchema, { check: HumanDetectExamples.check }),
    response: {
      200: { description: 'A human', ...reply },
      204: NoContentSchema,
      ...anyDenial(),
      ...ownErrors,
      403: notHuman,
      ...otherError()
    }
  }
}

const apiErrors = errorResponses({
  400: { badRequest: 'The token is missing or malformed' },
  401: { unauthorized: 'The API key is missing or wrong' },
  408: { invalidRequest: 'Request Timeout' },
  413: { invalidRequest: 'Payload Too Large' },
  415: { invalidRequest: 'Unsupported Media Type' },
  500: { internalError: 'Internal Server Error' },
  503: { internalError: 'Service Unavailable' }
}, HumanDetectErrorSchema, ({ code, message }) => ({ code, message }))

/** Creates the schema of the Token Verification API's route for API documentation. */
export function humandetectApiRouteSchema (): RouteSchema {
  return {
    tags: ['HumanDetect'],
    summary: 'Was this token made by a human?',
    description: "Before the body is parsed, `X-API-Key` must be one of this server's keys.\n\n" +
      'What a bot has made is answered 200 too, with `valid: false`. Fresh, used before, about whom: that is for the asker to check.',
    consumes: ['application/json'],
    headers: Type.Object({
      'X-API-Key': Type.String({
        pattern: KEY_PATTERN, description: 'The private key of a backend', examples: ['demo-humandetect-key']
      })
    }),
    body: withExamples(TokenVerificationSchema, { token: HumanDetectExamples.verify }),
    response: {
      200: withExamples(HumanDetectResultSchema, { human: result, bot: { ...result, valid: false } }),
      ...apiErrors,
      ...otherError(HumanDetectErrorSchema)
    }
  }
}
