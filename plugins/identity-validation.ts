import type { FastifyInstance } from 'fastify'
import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Static, TSchema } from '@sinclair/typebox'
import {
  identityValidationRouteSchema, RequiredFilesNotificationSchema, SessionNotificationSchema,
  type RequiredFilesNotification, type SessionNotification
} from '../schemas/identity-validation.js'
import { createAuthenticate, type ParsedSignature } from './lib/signature/authenticate.js'
import type { SchemaCallback, VerificationPlugin, VerifiedRequest } from './lib/callback.js'
import {
  decodeBase64, parseUnixSeconds, PUBLIC_ENDPOINT, publicEndpoint, readHeaders, reject, type Rejection,
  type VerifyResult
} from './lib/signature/fields.js'
import type { Identity } from './lib/idempotency/delivery-id.js'
import { readDenial } from './lib/deny.js'
import { createExplain } from './lib/doctor/explain.js'
import type { Scheme } from './lib/doctor/scheme.js'
import { InvalidOption, NO_CONTENT } from './lib/errors.js'
import { cacheKeys, createKeyRingLookup, findSecret, KEY_ID, type KeyRing } from './lib/signature/keys.js'
import { anyValue, callback, checkOption, group, path, required, schema, type Rule } from './lib/rules.js'
import { createPlugin } from './lib/plugin.js'
import { readFreshness, signMac, timestampText, verifyPresented, type SignInput, type VerifyInput } from './lib/signature/standalone.js'
import { decorateHandler, prepareScope } from './lib/scope.js'
import { checkWebhookOptions, readSettings, type WebhookOptions } from './lib/options.js'
import { checkEndpoints, readKinds } from './lib/signed-routes.js'
import { addWebhookRoute } from './lib/pipeline.js'

interface PerRoute<Value> { sessions?: Value | undefined, requiredFiles?: Value | undefined }
interface SessionHandler<Schema extends TSchema> {
  /** Handler for session notifications. Without it, their route does not exist. The response is 204. */
  handleSession: SchemaCallback<[notification: Static<Schema>, request: VerifiedRequest], unknown>
}
interface RequiredFilesHandler<Schema extends TSchema> {
  /** Handler for required-files notifications. Without it, their route does not exist. The response is 204. */
  handleRequiredFiles: SchemaCallback<[notification: Static<Schema>, request: VerifiedRequest], unknown>
}
interface CommonOptions<Sessions extends TSchema, Files extends TSchema> extends WebhookOptions {
  /** Secrets in base64 by api-key, or a function that finds the secret of an api-key. */
  apiKeys: KeyRing
  /** Paths of the routes. Default `/identity-validation/sessions` and `/identity-validation/required-files`. */
  paths?: PerRoute<string> | undefined
  /** Public paths with query, as configured at the provider. `X-Endpoint` must equal them. Default: prefix and path. */
  endpoints?: PerRoute<string> | undefined
  /** Stricter schemas for the notifications. */
  schemas?: { sessions?: Sessions | undefined, requiredFiles?: Files | undefined } | undefined
}

/** A schema whose values also match the default schema. */
type Like<Notification> = TSchema & { static: Notification }
/** Options of the plugin. At least one of the two handlers is required. */
export type IdentityValidationOptions<
  Sessions extends TSchema = Like<SessionNotification>, Files extends TSchema = Like<RequiredFilesNotification>
> = CommonOptions<Sessions, Files> & Partial<SessionHandler<Sessions> & RequiredFilesHandler<Files>> &
  (SessionHandler<Sessions> | RequiredFilesHandler<Files>)

/**
 * Returns the options unchanged, and types the notifications by your own schemas in `schemas`.
 *
 * @example app.register(identityValidationPlugin, identityValidationOptions({ apiKeys, schemas, handleSession }))
 */
export function identityValidationOptions<
  Sessions extends TSchema = Like<SessionNotification>, Files extends TSchema = Like<RequiredFilesNotification>
> (options: IdentityValidationOptions<Sessions, Files>): IdentityValidationOptions {
  return options as IdentityValidationOptions<TSchema, TSchema> as IdentityValidationOptions
}

const API_KEY = 'x-api-key'
const SIGNATURE = 'x-signature'
const TIMESTAMP = 'x-timestamp'
const ENDPOINT = 'x-endpoint'
const HMAC_SHA256 = /^hmac-sha256 (\S{44})$/
const ROUTES = [
  { kind: 'sessions', handler: 'handleSession', path: '/identity-validation/sessions', schema: SessionNotificationSchema },
  {
    kind: 'requiredFiles',
    handler: 'handleRequiredFiles',
    path: '/identity-validation/required-files',
    schema: RequiredFilesNotificationSchema
  }
] as const
const PROVIDER = 'identity-validation'
const PLUGIN = 'identityValidationPlugin'
const VERIFIER = 'verifyIdentityValidation'
const SECRET_RULES = { plugin: PLUGIN, option: 'apiKeys', algorithm: 'sha256', encoding: 'base64' } as const

/** The scheme that `readMac` reads, described for `diagnose`. */
export const identityValidationScheme: Scheme = {
  algorithm: 'sha256',
  secret: 'base64',
  encoding: 'base64',
  signature: SIGNATURE,
  prefix: 'hmac-sha256 ',
  timestamp: TIMESTAMP,
  endpoint: ENDPOINT,
  separator: '',
  keyId: API_KEY
}

/**
 * Reads the HMAC-SHA256, in base64, of timestamp, endpoint and body with nothing between them. The parts are ten
 * digits, a known endpoint and a JSON object, so the signed bytes cannot be split in another way.
 */
function readMac (headers: IncomingHttpHeaders, endpoint: string): ParsedSignature | Rejection {
  const texts = readHeaders(headers, API_KEY, SIGNATURE, TIMESTAMP, ENDPOINT)
  if (!Array.isArray(texts)) return texts
  const [keyId, signature, timestamp, signedEndpoint] = texts
  if (!KEY_ID.test(keyId)) return reject('malformed_header', API_KEY)
  const mac = decodeBase64(HMAC_SHA256.exec(signature)?.[1] ?? '', 32)
  if (mac === undefined) return reject('malformed_header', SIGNATURE)
  const seconds = parseUnixSeconds(timestamp)
  if (seconds === undefined) return reject('malformed_header', TIMESTAMP)
  if (!PUBLIC_ENDPOINT.test(signedEndpoint)) return reject('malformed_header', ENDPOINT)
  if (signedEndpoint !== endpoint) return reject('wrong_endpoint', ENDPOINT)
  return { ok: true, macs: [mac], prefix: timestamp + endpoint, timestamp: seconds, keyId }
}

function identify ({ idempotency_key: key, ...content }: SessionNotification, mac: Buffer): Identity {
  return key ? { id: ['idempotency_key', key], content } : { id: ['mac', mac.toString('hex')] }
}

const NOBODY = randomBytes(32).toString('base64')
const cachedKeys = cacheKeys({ ...SECRET_RULES, plugin: VERIFIER })

/**
 * Verifies that a delivery to `endpoint` was signed by the provider.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If a secret or a time is invalid.
 * @example verifyIdentityValidation({ apiKeys: { [apiKey]: secret }, endpoint: '/kyc/sessions', headers, body })
 */
export function verifyIdentityValidation (
  input: VerifyInput & { apiKeys: Exclude<KeyRing, Function>, endpoint: string }
): VerifyResult {
  const { apiKeys, endpoint, headers, body } = input
  const freshness = readFreshness(VERIFIER, input)
  checkOption(VERIFIER, 'endpoint', endpoint ?? '', publicEndpoint)
  const presented = readMac(headers, endpoint)
  const secret = findSecret(apiKeys, presented.ok ? presented.keyId! : '', VERIFIER, 'apiKeys')
  // Unknown keys cost as much work as known ones, so timing does not reveal which keys exist.
  const keys = cachedKeys(secret === undefined ? NOBODY : secret)
  const result = verifyPresented(VERIFIER, presented, keys, body, freshness)
  return secret === undefined && !result.ok && result.reason === 'mismatch'
    ? { ok: false, reason: 'unknown_key' }
    : result
}

/** Creates the headers that the provider would send with `body`. `timestamp` is in Unix seconds. Default: now. */
export function signIdentityValidation (
  input: SignInput & { apiKey: string, endpoint: string, timestamp?: number | string | undefined }
) {
  const timestamp = timestampText(input.timestamp)
  const rules = { ...SECRET_RULES, plugin: 'signIdentityValidation', option: 'secret' }
  return {
    'content-type': 'application/json',
    [API_KEY]: input.apiKey,
    [SIGNATURE]: `hmac-sha256 ${signMac(rules, input, timestamp + input.endpoint).toString('base64')}`,
    [TIMESTAMP]: timestamp,
    [ENDPOINT]: input.endpoint
  }
}

const perRoute = (rule: Rule): Rule => group({ sessions: rule, requiredFiles: rule })

async function identityValidation (scope: FastifyInstance, options: IdentityValidationOptions): Promise<void> {
  checkWebhookOptions(PLUGIN, options, {
    apiKeys: required(anyValue),
    paths: perRoute(path),
    endpoints: perRoute(publicEndpoint),
    schemas: perRoute(schema),
    handleSession: callback,
    handleRequiredFiles: callback
  })
  const routes = readKinds(PLUGIN, scope.prefix, ROUTES, options).filter(({ handler }) => options[handler])
  if (routes.length === 0) throw new InvalidOption(PLUGIN, 'handleSession', 'or "handleRequiredFiles" is required')
  const settings = readSettings(scope, PROVIDER, options, 262_144)
  const rules = { ...SECRET_RULES, allowWeakSecret: options.allowWeakSecret === true }
  const keysFor = createKeyRingLookup(options.apiKeys, rules, scope.log)
  checkEndpoints(PLUGIN, routes)
  const send = prepareScope(scope, PROVIDER, settings)

  for (const { kind, handler, url, schema, check, endpoint } of routes) {
    addWebhookRoute<SessionNotification>(scope, send, settings, {
      provider: PROVIDER,
      url,
      schema: identityValidationRouteSchema(kind, schema),
      authenticate: createAuthenticate({
        algorithm: 'sha256', read: ({ headers }) => readMac(headers, endpoint!), keysFor, freshness: settings
      }),
      explain: createExplain(scope, settings, {
        path: scope.prefix + url, scheme: identityValidationScheme, keysFor, endpoint: endpoint!
      }),
      check,
      denial: readDenial,
      kindOf: () => kind,
      identify,
      answer: () => NO_CONTENT,
      handle: decorateHandler(scope, handler, options[handler]!)
    })
  }
}

export const identityValidationPlugin: VerificationPlugin<IdentityValidationOptions> =
  /* @__PURE__ */ createPlugin(identityValidation, 'identity-validation')
export default identityValidationPlugin
export type * from '../schemas/identity-validation.js'
