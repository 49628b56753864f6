import type { FastifyInstance } from 'fastify'
import { createHash } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import {
  HumanDetectResultSchema, TokenVerificationSchema, type HumanDetectError,
  type HumanDetectResult
} from '../schemas/humandetect.js'
import { humandetectApiRouteSchema } from './humandetect/openapi.js'
import { createKeyCheck } from './humandetect/api-keys.js'
import type { Callback, VerificationPlugin, VerifiedRequest } from './lib/callback.js'
import { INVALID_JSON, InvalidOption, isForbidden, type Answer } from './lib/errors.js'
import { cacheKeys } from './lib/signature/keys.js'
import { anyValue, callback, checkOptions, path, required, type Awaitable } from './lib/rules.js'
import { createPlugin } from './lib/plugin.js'
import { compileReply } from './lib/reply.js'
import { compileCheck } from './lib/validation.js'
import { decorateHandler } from './lib/scope.js'
import { seal, unseal } from './humandetect/encrypted-token.js'
import type { Secret } from './lib/signature/secrets.js'
import { readRouteSettings, ROUTE_RULES, type RouteOptions, type WatchOptions } from './lib/options.js'
import { parseDateTime } from './lib/signature/fields.js'
import { MAX_TOKEN_BYTES } from './humandetect/errors.js'
import { createPipeline } from './lib/pipeline.js'

export interface HumanDetectApiOptions extends RouteOptions, WatchOptions {
  /** The keys that authenticate backends, which send one of them in `X-API-Key`. */
  apiKeys: readonly string[]
  /** Handler that reads a token. Returns its result, or `null` if the token is not yours. May use `openToken`. */
  verifyToken: Callback<[token: string, request: VerifiedRequest], Awaitable<HumanDetectResult | null>>
  /** The path of the route. Default `/v1/humandetect/verify`. */
  path?: string | undefined
}

const PLUGIN = 'humandetectApiPlugin'
const PROVIDER = 'humandetect-api'
const API_KEY = 'x-api-key'
const TOKEN_PURPOSE = 'fastify-verification humandetect token'

function error (statusCode: number, code: HumanDetectError['code'], message: string): Answer {
  return { statusCode, body: JSON.stringify({ code, message }), outcome: 'rejected', reason: 'malformed_token' }
}

const BAD_TOKEN = error(400, 'badRequest', 'The token is missing or malformed')
const UNAUTHORIZED = error(401, 'unauthorized', 'The API key is missing or wrong')

const CODES = new Map<number, HumanDetectError['code']>([
  [400, 'badRequest'], [401, 'unauthorized'], [403, 'forbidden']
])

/** Translates a response into the error format of the Token Verification API. */
function rephrase (answer: Answer): Pick<Answer, 'statusCode' | 'body'> {
  const { statusCode } = answer
  if (statusCode < 400 || answer === BAD_TOKEN) return answer
  if (answer === INVALID_JSON) return BAD_TOKEN
  if (isForbidden(answer)) return UNAUTHORIZED
  const code = CODES.get(statusCode) ?? (statusCode < 500 ? 'invalidRequest' : 'internalError')
  return error(statusCode, code, STATUS_CODES[statusCode]!)
}

async function humandetectApi (scope: FastifyInstance, options: HumanDetectApiOptions): Promise<void> {
  checkOptions(PLUGIN, options, {
    ...ROUTE_RULES,
    apiKeys: required(anyValue),
    verifyToken: required(callback),
    onRejected: callback,
    onFailed: callback,
    path
  })
  const settings = { ...readRouteSettings(options), onRejected: options.onRejected, onFailed: options.onFailed }
  const authenticate = createKeyCheck(PLUGIN, 'apiKeys', API_KEY, options.apiKeys)
  const check = compileCheck(TokenVerificationSchema)
  const writeResult = compileReply(HumanDetectResultSchema, ({ timestamp }: HumanDetectResult) =>
    parseDateTime(timestamp) === undefined ? '/timestamp: Expected a date and time with an offset' : undefined)

  const addRoute = createPipeline(scope, PROVIDER, settings, { rephrase })
  const verifyToken = decorateHandler(scope, 'verifyToken', options.verifyToken)

  addRoute<{ token: string }>({
    url: options.path ?? '/v1/humandetect/verify',
    schema: humandetectApiRouteSchema(),
    authenticate,
    check: (payload) => check(payload) && BAD_TOKEN,
    handle: ({ token }, request) => verifyToken(token, request),
    answer: (result) => result === null ? BAD_TOKEN : writeResult(result, undefined)
  })
}

/** Content of a token made by `issueToken`. */
export interface TokenClaims {
  /** The user, nonce or other value that the backend expects. */
  identifier: string
  /** Time of creation: a `Date`, or a string with date, time and offset. Default: now. */
  timestamp?: Date | string | undefined
  /** Result of the detection: `true` for a human, `false` for a bot. */
  human: boolean
}

const keysOf = (caller: string) =>
  cacheKeys({ plugin: caller, option: 'secret', algorithm: 'sha256', encoding: 'utf8' })
const issuerKeys = keysOf('issueToken')
const openerKeys = keysOf('openToken')

/**
 * Creates a token for your own service: about 300 characters of base64, encrypted and tamper-proof. `secret` must have
 * at least 24 bytes.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If the secret or a claim is invalid.
 * @example issueToken({ secret, identifier: 'user-1', human: true })
 */
export function issueToken (claims: TokenClaims & { secret: string }): string {
  const { secret, identifier, timestamp = new Date(), human } = claims
  if (typeof secret !== 'string') throw new InvalidOption('issueToken', 'secret', 'must be a string')
  const [key] = issuerKeys(secret)
  if (typeof identifier !== 'string') throw new InvalidOption('issueToken', 'identifier', 'must be a string')
  if (typeof human !== 'boolean') throw new InvalidOption('issueToken', 'human', 'must be a boolean')
  const text = timestamp instanceof Date ? isoText(timestamp) : timestamp
  if (typeof text !== 'string' || parseDateTime(text) === undefined) {
    throw new InvalidOption('issueToken', 'timestamp', 'must be a Date, or a date and time with an offset')
  }
  const token = seal(key!, TOKEN_PURPOSE, [identifier, text, human])
  if (token.length > MAX_TOKEN_BYTES) throw new InvalidOption('issueToken', 'identifier', 'is too long')
  return token
}

/**
 * Returns the result in a token made by `issueToken`, or `null` if the token was not made with this secret or with one
 * of these secrets. The caller must check whether it is fresh, unused and about the right user.
 *
 * @example app.register(humandetectApiPlugin, { apiKeys, verifyToken: (token) => openToken({ secret, token }) })
 */
export function openToken ({ secret, token }: { secret: Secret, token: string }): HumanDetectResult | null {
  const keys = openerKeys(secret)
  if (typeof token !== 'string') throw new InvalidOption('openToken', 'token', 'must be a string')
  if (token.length > MAX_TOKEN_BYTES) return null
  for (const key of keys) {
    const claims = unseal(key, TOKEN_PURPOSE, token)
    if (claims === undefined) continue
    const [identifier, timestamp, valid] = claims as [string, string, boolean]
    const checksum = createHash('sha256').update(token).digest('hex')
    return { valid, identifier, timestamp, checksum, version: 1 }
  }
  return null
}

/** Formats a date as in the provider's documentation, where the offset has no colon. */
function isoText (date: Date): string {
  return Number.isNaN(date.getTime()) ? '' : date.toISOString().replace('Z', '+0000')
}

export const humandetectApiPlugin: VerificationPlugin<HumanDetectApiOptions> =
  /* @__PURE__ */ createPlugin(humandetectApi, 'humandetect-api')
export default humandetectApiPlugin
export type * from '../schemas/humandetect.js'
