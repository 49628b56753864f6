import { Type, type TSchema } from '@sinclair/typebox'
import {
  GuardErrorResponses, HumanDetectErrorSchema, HumanDetectExamples, HumanDetectRequestSchema, HumanDetectResultSchema,
  TokenVerificationSchema, type HumanDetectResult
} from '../../schemas/humandetect.js'
import { errors } from '../lib/errors.js'
import {
  anyDenial, errorResponses, mergeMessages, messagesOf, NoContentSchema, otherError, RouteErrors, withExamples,
  type RouteSchema
} from '../lib/openapi.js'
import { guardErrors } from './errors.js'

/** Pattern of an API key: visible ASCII without commas. */
const KEY_PATTERN = '^[\\x21-\\x2b\\x2d-\\x7e]+$'

const result = {
  valid: true,
  identifier: 'your-identifier',
  timestamp: '2020-09-22T14:52:11.104-0500',
  checksum: 'checksum-of-sdk-captured-data',
  version: 1
} satisfies HumanDetectResult

const ownErrors = errorResponses(mergeMessages(
  RouteErrors,
  { 400: { FST_VERIFICATION_INVALID_PAYLOAD: '/identifier: Expected required property' } },
  messagesOf(errors, 'FST_VERIFICATION_INVALID_REPLY'),
  messagesOf(guardErrors, 'FST_HUMANDETECT_TOKEN_REQUIRED', 'FST_HUMANDETECT_UNAVAILABLE')
))

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
      403: GuardErrorResponses[403]!,
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
