import type {
  FastifyBaseLogger, FastifyInstance, FastifyPluginAsync, FastifyRequest, FastifyTypeProvider, RawServerBase,
  RawServerDefault, RegisterOptions
} from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import type { Static, TSchema } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import { ErrorResponses, NoContentSchema } from '../schemas/common.js'
import { RequiredFilesNotificationSchema, SessionNotificationSchema } from '../schemas/identity-validation.js'
import { NO_CONTENT } from './lib/answer.js'
import { createAuthenticate, type PresentedMac } from './lib/authenticate.js'
import { decodeBase64 } from './lib/decode.js'
import { InvalidOption, invalidPayload } from './lib/errors.js'
import { readHeaders } from './lib/headers.js'
import { cacheKeys, createKeyRingLookup, KEY_ID, ringEntries, type KeyRing } from './lib/keys.js'
import {
  anything, callback, checkGroup, checkOptions, path, readSettings, required, type WebhookOptions
} from './lib/options.js'
import { readFreshness, signMac, timestampText, verifyPresented, type SignInput, type VerifyInput } from './lib/pure.js'
import { reject, type Rejection, type VerifyResult } from './lib/rejection.js'
import { compileOptionCheck } from './lib/schema-check.js'
import { decorateHandler, prepareScope } from './lib/scope.js'
import { checkFreshness, parseUnixSeconds, type Freshness } from './lib/timestamp.js'
import { addVerifiedRoute } from './lib/verified-route.js'

type Handler<Schema extends TSchema> = (notification: Static<Schema>, request: FastifyRequest) => unknown

interface CommonOptions<
  Sessions extends TSchema = typeof SessionNotificationSchema,
  Files extends TSchema = typeof RequiredFilesNotificationSchema
> extends WebhookOptions {
  /** Secrets, in base64, by api-key; or a function that finds the secret of an api-key. */
  apiKeys: KeyRing
  /** Where the routes are. Default `/identity-validation/sessions` and `/identity-validation/required-files`. */
  paths?: { sessions?: string, requiredFiles?: string }
  /** The public path and query the provider was given, which `X-Endpoint` must equal. Default: prefix and path. */
  endpoints?: { sessions?: string, requiredFiles?: string }
  /** Stricter schemas of your own. */
  schemas?: { sessions?: Sessions, requiredFiles?: Files }
  /** Called with each session notification; without it there is no such route. The answer is 204. */
  handleSession?: Handler<Sessions>
  /** Called with each required-files notification; without it there is no such route. The answer is 204. */
  handleRequiredFiles?: Handler<Files>
}

/** One of the two handlers must be given. */
export type IdentityValidationOptions<
  Sessions extends TSchema = typeof SessionNotificationSchema,
  Files extends TSchema = typeof RequiredFilesNotificationSchema
> = CommonOptions<Sessions, Files> &
  ({ handleSession: Handler<Sessions> } | { handleRequiredFiles: Handler<Files> })

declare module 'fastify' {
  interface FastifyRegister<
    T = void,
    RawServer extends RawServerBase = RawServerDefault,
    TypeProviderDefault extends FastifyTypeProvider = FastifyTypeProvider,
    LoggerDefault extends FastifyBaseLogger = FastifyBaseLogger
  > {
    /** Types the notifications by the schemas in `schemas`. */
    <
      Sessions extends TSchema = typeof SessionNotificationSchema,
      Files extends TSchema = typeof RequiredFilesNotificationSchema
    >(
      plugin: typeof identityValidationPlugin,
      options: RegisterOptions & IdentityValidationOptions<Sessions, Files> &
        { schemas: { sessions?: Sessions, requiredFiles?: Files } }
    ): T
  }
}

const API_KEY = 'x-api-key'
const SIGNATURE = 'x-signature'
const TIMESTAMP = 'x-timestamp'
const ENDPOINT = 'x-endpoint'
const HMAC_SHA256 = /^hmac-sha256 (\S{44})$/
// RFC 3986 path and query: no brace or space that could as well begin a body.
const PUBLIC_ENDPOINT = /^\/[\w.~!$&'()*+,;=:@%/?-]*$/
const PLUGIN = 'identityValidationPlugin'
const KINDS = ['sessions', 'requiredFiles'] as const
const SECRET_RULES = { plugin: PLUGIN, option: 'apiKeys', algorithm: 'sha256', encoding: 'base64' } as const
const publicEndpoint = {
  accepts: (value: unknown) => typeof value === 'string' && PUBLIC_ENDPOINT.test(value),
  expects: 'must be a path, with its query if it has one'
}

/**
 * HMAC-SHA256, in base64, over timestamp, endpoint and body with nothing between them. Ten digits, then an endpoint
 * that is known, then a JSON object: the same bytes cannot be split in another way.
 */
function readMac (
  headers: IncomingHttpHeaders, endpoint: string, freshness: Freshness
): PresentedMac | Rejection {
  const texts = readHeaders(headers, API_KEY, SIGNATURE, TIMESTAMP, ENDPOINT)
  if (!Array.isArray(texts)) return texts
  const [keyId, signature, timestamp, signedEndpoint] = texts as [string, string, string, string]
  if (!KEY_ID.test(keyId)) return reject('malformed_header', API_KEY)
  const mac = decodeBase64(HMAC_SHA256.exec(signature)?.[1] ?? '', 32)
  if (mac === undefined) return reject('malformed_header', SIGNATURE)
  const seconds = parseUnixSeconds(timestamp)
  if (seconds === undefined) return reject('malformed_header', TIMESTAMP)
  if (!PUBLIC_ENDPOINT.test(signedEndpoint)) return reject('malformed_header', ENDPOINT)
  if (signedEndpoint !== endpoint) return reject('wrong_endpoint', ENDPOINT)
  return checkFreshness(seconds, freshness) ?? { ok: true, mac, prefix: timestamp + endpoint, keyId }
}

const cachedKeys = cacheKeys({ ...SECRET_RULES, plugin: 'verifyIdentityValidation' })

/**
 * Whether a delivery to `endpoint` is the provider's. Throws `FST_VERIFICATION_INVALID_OPTION` for secrets or times it
 * cannot work with.
 *
 * @example verifyIdentityValidation({ apiKeys: { [apiKey]: secret }, endpoint: '/kyc/sessions', headers, body })
 */
export function verifyIdentityValidation (
  input: VerifyInput & { apiKeys: Exclude<KeyRing, Function>, endpoint: string }
): VerifyResult {
  const secrets = ringEntries(input.apiKeys, 'verifyIdentityValidation', 'apiKeys')
  const freshness = readFreshness('verifyIdentityValidation', input)
  const presented = readMac(input.headers, input.endpoint, freshness)
  const secret = presented.ok ? secrets.get(presented.keyId!) : undefined
  if (presented.ok && secret === undefined) return { ok: false, reason: 'unknown_key' }
  const keys = presented.ok ? cachedKeys(secret) : []
  return verifyPresented('verifyIdentityValidation', presented, keys, input.body)
}

/** The headers the provider would send `body` with. `timestamp` in Unix seconds, default now. */
export function signIdentityValidation (
  input: SignInput & { apiKey: string, endpoint: string, timestamp?: number | string }
) {
  const timestamp = timestampText(input.timestamp)
  const rules = { ...SECRET_RULES, plugin: 'signIdentityValidation', option: 'secret' }
  const mac = signMac(rules, input, timestamp + input.endpoint)
  return {
    'content-type': 'application/json',
    [API_KEY]: input.apiKey,
    [SIGNATURE]: `hmac-sha256 ${mac.toString('base64')}`,
    [TIMESTAMP]: timestamp,
    [ENDPOINT]: input.endpoint
  }
}

async function identityValidation (scope: FastifyInstance, options: IdentityValidationOptions): Promise<void> {
  checkOptions(PLUGIN, options, {
    apiKeys: required(anything),
    paths: anything,
    endpoints: anything,
    schemas: anything,
    handleSession: callback,
    handleRequiredFiles: callback
  })
  const { apiKeys, paths, endpoints, schemas, handleSession, handleRequiredFiles }: CommonOptions = options
  checkGroup(PLUGIN, 'paths', paths, KINDS, path)
  checkGroup(PLUGIN, 'endpoints', endpoints, KINDS, publicEndpoint)
  checkGroup(PLUGIN, 'schemas', schemas, KINDS, anything)
  if (handleSession === undefined && handleRequiredFiles === undefined) {
    throw new InvalidOption(PLUGIN, 'handleSession', 'or "handleRequiredFiles" is required')
  }
  const settings = readSettings({ ...options, bodyLimit: options.bodyLimit ?? 262_144 })
  const keysFor = createKeyRingLookup(apiKeys, { ...SECRET_RULES, allowWeakSecret: options.allowWeakSecret }, scope.log)
  const served = new Set<string>()
  const send = await prepareScope(scope, settings)

  function serve<Schema extends TSchema> (
    kind: typeof KINDS[number], handlerName: string, handler: Handler<Schema>, defaultPath: string,
    schema: Schema, summary: string
  ): void {
    const url = paths?.[kind] ?? defaultPath
    const endpoint = endpoints?.[kind] ?? scope.prefix + url
    if (served.has(endpoint)) throw new InvalidOption(PLUGIN, 'endpoints', 'must not be the same for both routes')
    served.add(endpoint)
    const check = compileOptionCheck(PLUGIN, `schemas.${kind}`, schema)
    const handle = decorateHandler(scope, handlerName, handler)
    addVerifiedRoute<Static<Schema>>(scope, send, settings, {
      provider: 'identity-validation',
      url,
      schema: { summary, body: schema, response: { ...ErrorResponses, 204: NoContentSchema } },
      authenticate: createAuthenticate({
        algorithm: 'sha256',
        read: ({ headers }) => readMac(headers, endpoint, settings),
        keysFor
      }),
      check (payload) {
        const problem = check(payload)
        return problem === undefined ? undefined : invalidPayload(problem)
      },
      handle,
      answer: () => NO_CONTENT
    })
  }

  if (handleSession) {
    serve('sessions', 'handleSession', handleSession, '/identity-validation/sessions',
      schemas?.sessions ?? SessionNotificationSchema,
      'Identity validation: a session is being processed or completed')
  }
  if (handleRequiredFiles) {
    serve('requiredFiles', 'handleRequiredFiles', handleRequiredFiles, '/identity-validation/required-files',
      schemas?.requiredFiles ?? RequiredFilesNotificationSchema,
      'Identity validation: files are required')
  }
}

export const identityValidationPlugin: FastifyPluginAsync<IdentityValidationOptions> =
  fp(identityValidation, { name: 'fastify-verification-identity-validation', fastify: '5.x', encapsulate: true })
export default identityValidationPlugin
