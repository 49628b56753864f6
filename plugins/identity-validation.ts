import type { Static, TSchema } from '@sinclair/typebox'
import {
  IdentityValidationExamples, RequiredFilesNotificationSchema, SessionNotificationSchema,
  type RequiredFilesNotification, type SessionNotification
} from '../schemas/identity-validation.js'
import type { SchemaCallback, VerifiedRequest } from './lib/callback.js'
import { readDenial } from './lib/deny.js'
import { InvalidOption, NO_CONTENT } from './lib/errors.js'
import type { Identity } from './lib/idempotency/delivery-id.js'
import { NoContentSchema, webhookSchema, withExamples, type RouteSchema } from './lib/openapi.js'
import type { WebhookOptions } from './lib/options.js'
import { callback, group, path, schema, type Rule } from './lib/rules.js'
import { publicEndpoint, type VerifyResult } from './lib/signature/fields.js'
import type { KeyRing } from './lib/signature/keys.js'
import { compileScheme } from './lib/signature/scheme.js'
import { createSigner, createVerifier, type SignInput, type VerifyInput } from './lib/signature/standalone.js'
import { compileOptionCheck, typesOf } from './lib/validation.js'
import { defineWebhook, plainPath, type WebhookPlugin } from './lib/webhook.js'

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

/**
 * Signs timestamp, endpoint and body with nothing between them. The parts are ten digits, the configured endpoint and a
 * JSON object, so the signed bytes cannot be split in another way.
 */
const scheme = /* @__PURE__ */ compileScheme({
  algorithm: 'hmac-sha256',
  key: 'base64',
  headers: {
    'x-api-key': '{keyId}',
    'x-signature': 'hmac-sha256 {base64}',
    'x-timestamp': '{timestamp}',
    'x-endpoint': '{endpoint}'
  },
  signed: '{timestamp}{endpoint}{body}'
})
const verify = /* @__PURE__ */ createVerifier('verifyIdentityValidation', scheme, 'apiKeys')
const sign = /* @__PURE__ */ createSigner('signIdentityValidation', scheme)

/**
 * Verifies that a delivery to `endpoint` was signed by the provider.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If a secret or a time is invalid.
 * @example verifyIdentityValidation({ apiKeys: { [apiKey]: secret }, endpoint: '/kyc/sessions', headers, body })
 */
export function verifyIdentityValidation (
  { apiKeys, ...input }: VerifyInput & { apiKeys: Exclude<KeyRing, Function>, endpoint: string }
): VerifyResult {
  return verify({ ...input, secrets: apiKeys })
}

/** Creates the headers that the provider would send with `body`. `timestamp` is in Unix seconds. Default: now. */
export function signIdentityValidation (
  { apiKey, ...input }: SignInput & { apiKey: string, endpoint: string, timestamp?: number | string | undefined }
): Record<'content-type' | 'x-api-key' | 'x-signature' | 'x-timestamp' | 'x-endpoint', string> {
  return sign({ ...input, keyId: apiKey })
}

const PLUGIN = 'identityValidationPlugin'
const ROUTES = [
  {
    kind: 'sessions',
    handler: 'handleSession',
    path: '/identity-validation/sessions',
    schema: SessionNotificationSchema,
    summary: 'Receive the status of a session',
    signature: 'hmac-sha256 a9tl88BVO0rqHd7cocppevBtuya1b/lqUkQ0ic0Sr4M='
  },
  {
    kind: 'requiredFiles',
    handler: 'handleRequiredFiles',
    path: '/identity-validation/required-files',
    schema: RequiredFilesNotificationSchema,
    summary: 'Receive a request for files',
    signature: 'hmac-sha256 qwWFWJtPkKyTYMec/TAzn+Dz6K/TwELTCl/B7XTQpcg='
  }
] as const

function documentRoute ({ kind, path, schema, summary, signature }: typeof ROUTES[number], body: TSchema): RouteSchema {
  return webhookSchema({
    tag: 'Identity validation',
    summary,
    description: '`X-Signature` must be the base64-encoded HMAC-SHA256 of the timestamp, the endpoint and the bytes ' +
      'of the body without separators, keyed with the base64-decoded secret of `X-Api-Key`. The endpoint must equal ' +
      'the configured one, and the timestamp must be within the tolerance. All of this is verified before the body ' +
      'is parsed. The example signature is for the first body as compact JSON, with the secret ' +
      '`ZGVtby1pZGVudGl0eS1zZWNyZXQtMzItYnl0ZXMtISE=`.\n\n' +
      'Retries of the same notification are handled only once.',
    signature: scheme,
    headers: {
      'X-Api-Key': { description: 'Id of the secret', example: 'demo-api-key' },
      'X-Signature': {
        description: 'Base64-encoded HMAC-SHA256 of the timestamp, the endpoint and the body', example: signature
      },
      'X-Timestamp': {
        description: 'Time of signing in Unix seconds. Rejected if outside the tolerance', example: '1725548450'
      },
      'X-Endpoint': { description: 'Path and query of the public URL of this route', example: `/webhooks${path}` }
    },
    body: body === schema ? withExamples(body, IdentityValidationExamples[kind]) : body,
    accepted: { 204: NoContentSchema },
    problem: '/event_id: Expected string',
    errors: ['FST_VERIFICATION_ID_REUSED']
  })
}

function identify ({ idempotency_key: key, ...content }: SessionNotification, mac: Buffer): Identity {
  return key ? { id: ['idempotency_key', key], content } : { id: ['mac', mac.toString('hex')] }
}

function sampleSession (id: string): SessionNotification {
  const { verified } = IdentityValidationExamples.sessions
  return { ...verified, session: { ...verified.session, id: `iss-${id}` }, idempotency_key: `key-${id}` }
}

const perRoute = (rule: Rule): Rule => group({ sessions: rule, requiredFiles: rule })

export const identityValidationPlugin: WebhookPlugin<IdentityValidationOptions> =
  /* @__PURE__ */ defineWebhook<IdentityValidationOptions, SessionNotification>(() => ({
    name: 'identity-validation',
    plugin: PLUGIN,
    signature: scheme,
    secretOption: 'apiKeys',
    options: {
      paths: perRoute(path),
      endpoints: perRoute(publicEndpoint),
      schemas: perRoute(schema),
      handleSession: callback,
      handleRequiredFiles: callback
    },
    handlers: ['handleSession', 'handleRequiredFiles'],
    events: {
      session: {
        about: 'a session is being processed or completed',
        path: ROUTES[0].path,
        body: sampleSession,
        once: true
      },
      'required-files': {
        about: 'files are required (the provider publishes no sample)',
        path: ROUTES[1].path,
        body: (id) => ({ ...IdentityValidationExamples.requiredFiles.notification, idempotency_key: `key-${id}` }),
        once: true
      }
    },
    bodyLimit: 262_144,
    routes ({ options: { paths, endpoints, schemas }, prefix, handlers }) {
      const routes = ROUTES.map((route) => {
        const body = schemas?.[route.kind] ?? route.schema
        const check = compileOptionCheck(PLUGIN, `schemas.${route.kind}`, body)
        if (!typesOf(body).has('object')) {
          throw new InvalidOption(PLUGIN, `schemas.${route.kind}`, 'must accept objects')
        }
        return { route, body, check, handle: handlers[route.handler]! }
      }).filter(({ handle }) => handle !== undefined)
      if (routes.length === 0) throw new InvalidOption(PLUGIN, 'handleSession', 'or "handleRequiredFiles" is required')
      const served = new Set<string>()

      return routes.map(({ route, body, check, handle }) => {
        const { kind } = route
        const url = paths?.[kind] ?? route.path
        const endpoint = endpoints?.[kind] ?? plainPath(prefix, url)
        if (endpoint === undefined) throw new InvalidOption(PLUGIN, `endpoints.${kind}`, 'is required for such a path')
        if (served.has(endpoint)) throw new InvalidOption(PLUGIN, 'endpoints', 'must not be the same for both routes')
        served.add(endpoint)

        return {
          url,
          endpoint,
          schema: documentRoute(route, body),
          check,
          kindOf: () => kind,
          subjectOf: ({ session }) => typeof session?.id === 'string' ? session.id : undefined,
          identify,
          handle,
          denial: readDenial,
          answer: () => NO_CONTENT
        }
      })
    }
  }))

export default identityValidationPlugin
export type * from '../schemas/identity-validation.js'
