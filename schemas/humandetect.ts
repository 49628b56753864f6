import { Type, type Static, type TSchema } from '@sinclair/typebox'
import {
  anyDenial, errorResponses, InvalidReply, invalidPayload, KEY_PATTERN, NoContentSchema, otherError, RouteErrors,
  withExamples, type RouteSchema
} from './common.js'

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
const unavailable = { FST_HUMANDETECT_UNAVAILABLE: 'Token verification is unavailable' }
const notHuman = {
  ...errorResponses({ 403: { FST_HUMANDETECT_NOT_HUMAN: 'The token does not prove that the sender is human' } })[403],
  description: 'A bot, or the token is forged, expired, already used, or for another identifier'
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
    summary: 'Verify a token from the SDK',
    description: 'Verifies the token with the Token Verification API. The token must be genuine, from a human, for ' +
      'this `identifier`, recent and not used before: of two requests with the same token, only one succeeds.',
    consumes: ['application/json'],
    body: withExamples(HumanDetectRequestSchema, { check: HumanDetectExamples.check }),
    response: {
      200: { description: 'Verified as human', ...reply },
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
    summary: 'Verify whether a token was created by a human',
    description: '`X-API-Key` must be one of the keys of this server. It is checked before the body is parsed.\n\n' +
      'The response for a token of a bot is 200 as well, with `valid: false`. The caller must check the age of the ' +
      'token, its identifier and whether it was used before.',
    consumes: ['application/json'],
    headers: Type.Object({
      'X-API-Key': Type.String({
        pattern: KEY_PATTERN, description: 'Private key of a backend', examples: ['demo-humandetect-key']
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
