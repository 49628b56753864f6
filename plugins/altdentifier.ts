import type { FastifyInstance } from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import {
  AltDentifierEventSchema, ALTDENTIFIER_KINDS, altdentifierRouteSchema, OpSchema, type AltDentifierEvent
} from '../schemas/altdentifier.js'
import { createAuthenticate, type ParsedSignature } from './lib/signature/authenticate.js'
import type { Callback, VerificationPlugin, VerifiedRequest } from './lib/callback.js'
import { decodeHex, readHeaders, reject, type Rejection, type VerifyResult } from './lib/signature/fields.js'
import { readDenial } from './lib/deny.js'
import { createExplain } from './lib/doctor/explain.js'
import type { Scheme } from './lib/doctor/scheme.js'
import { NO_CONTENT } from './lib/errors.js'
import { checkHttpSignature } from './lib/signature/http-signature.js'
import { cacheKeys, createKeyLookup, type SecretResolver } from './lib/signature/keys.js'
import { assertAlgorithm } from './lib/signature/hmac.js'
import { anyValue, callback, oneOf, path, required, retention, nonEmptyString } from './lib/rules.js'
import { createPlugin } from './lib/plugin.js'
import { readFreshness, signMac, verifyPresented, type SignInput, type VerifyInput } from './lib/signature/standalone.js'
import { compileCheck } from './lib/validation.js'
import { decorateHandler, prepareScope } from './lib/scope.js'
import type { Secret } from './lib/signature/secrets.js'
import { checkWebhookOptions, readSettings, type WebhookOptions } from './lib/options.js'
import { addWebhookRoute } from './lib/pipeline.js'

export interface AltDentifierOptions extends WebhookOptions {
  /** The server's "signature" or the OAuth client secret. A list while one replaces another, or a resolver function. */
  secret: Secret | SecretResolver
  /** Handler for every event with a known `OP`. The response is 204, regardless of the return value. */
  handleEvent: Callback<[event: AltDentifierEvent, request: VerifiedRequest], unknown>
  /** Policy for the `Signature` header: `require` verifies it in addition to `Digest`. Default `ignore`. */
  httpSignature?: 'ignore' | 'require' | undefined
  /** The only `keyId` accepted in a required `Signature`. Default: any. */
  keyId?: string | undefined
  /**
   * Period in seconds during which a repeated body counts as the same delivery. Off by default, because a resent
   * delivery looks exactly like the same event happening again.
   */
  dedupe?: number | undefined
  /** The path of the route. Default `/altdentifier`. */
  path?: string | undefined
}

const PROVIDER = 'altdentifier'
const DIGEST = 'digest'
const MD5 = /^md5=([0-9a-f]{32})$/i
const SECRET_RULES = { plugin: 'altdentifierPlugin', option: 'secret', algorithm: 'md5', encoding: 'utf8' } as const

/** The scheme that `readMac` reads, described for `diagnose`. */
export const altdentifierScheme: Scheme = {
  algorithm: 'md5', secret: 'utf8', encoding: 'hex', signature: DIGEST, prefix: 'MD5=', prefixInAnyCase: true, separator: ''
}

/** Reads `MD5=` and the HMAC-MD5 of the body in hex. This is not the digest of RFC 3230, which anyone could compute. */
function readMac (headers: IncomingHttpHeaders): ParsedSignature | Rejection {
  const texts = readHeaders(headers, DIGEST)
  if (!Array.isArray(texts)) return texts
  const mac = decodeHex(MD5.exec(texts[0])?.[1] ?? '', 16)
  return mac === undefined ? reject('malformed_header', DIGEST) : { ok: true, macs: [mac], prefix: '' }
}

const cachedKeys = cacheKeys({ ...SECRET_RULES, plugin: 'verifyAltdentifier' })

/**
 * Verifies by `Digest` that a body was signed by AltDentifier. The time of sending is not signed, so it cannot be
 * checked.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If the secret is invalid.
 * @example verifyAltdentifier({ secret, headers: request.headers, body: bytes }) // { ok: true, secretIndex: 0 }
 */
export function verifyAltdentifier (input: VerifyInput & { secret: Secret }): VerifyResult {
  const keys = cachedKeys(input.secret)
  const freshness = readFreshness('verifyAltdentifier', input)
  return verifyPresented('verifyAltdentifier', readMac(input.headers), keys, input.body, freshness)
}

/** Creates the headers that AltDentifier would send with `body`, except `Signature`. */
export function signAltdentifier (input: SignInput) {
  const mac = signMac({ ...SECRET_RULES, plugin: 'signAltdentifier' }, input)
  return { 'content-type': 'application/json', [DIGEST]: `MD5=${mac.toString('hex')}` }
}

async function altdentifier (scope: FastifyInstance, options: AltDentifierOptions): Promise<void> {
  checkWebhookOptions('altdentifierPlugin', options, {
    secret: required(anyValue),
    handleEvent: required(callback),
    httpSignature: oneOf('ignore', 'require'),
    keyId: nonEmptyString,
    dedupe: retention,
    path
  })
  assertAlgorithm('altdentifierPlugin', 'md5') // hardened OpenSSL builds do not provide MD5
  const settings = readSettings(scope, PROVIDER, options)
  const { keyId, dedupe = 0 } = options
  const once = { ...settings.once, replayWindow: dedupe * 1000, exactly: true }
  const rules = { ...SECRET_RULES, allowWeakSecret: options.allowWeakSecret === true }
  const keysFor = createKeyLookup(options.secret, rules, scope.log)
  const checkOp = compileCheck(OpSchema)
  const checks = new Map(AltDentifierEventSchema.anyOf.map((schema) => [
    schema.properties.OP.const as number, compileCheck(schema)
  ]))

  const send = prepareScope(scope, PROVIDER, settings)
  const handleEvent = decorateHandler(scope, 'handleEvent', options.handleEvent)

  const url = options.path ?? '/altdentifier'
  addWebhookRoute<AltDentifierEvent, number>(scope, send, { ...settings, once }, {
    provider: PROVIDER,
    url,
    schema: altdentifierRouteSchema(options.httpSignature === 'require'),
    authenticate: createAuthenticate({
      algorithm: 'md5',
      read: ({ headers }) => readMac(headers),
      keysFor,
      freshness: settings,
      confirm: options.httpSignature === 'require'
        ? (request, key) => checkHttpSignature(request, key, { algorithm: 'md5', keyId, freshness: settings })
        : undefined
    }),
    explain: createExplain(scope, settings, { path: scope.prefix + url, scheme: altdentifierScheme, keysFor }),
    check: (payload) => checkOp(payload) ?? checks.get((payload as AltDentifierEvent).OP)?.(payload),
    kindOf: ({ OP }) => ALTDENTIFIER_KINDS[OP],
    replyContext: ({ OP }) => OP,
    denial: readDenial,
    handle: (event, request) => checks.has(event.OP) ? handleEvent(event, request) : undefined,
    answer: (_result, OP) => checks.has(OP)
      ? NO_CONTENT
      : { ...NO_CONTENT, reason: 'acknowledged', level: 'warn', details: { OP } },
    identify: dedupe > 0 ? (_event, mac) => ({ id: ['mac', mac.toString('hex')] }) : undefined
  })
}

export const altdentifierPlugin: VerificationPlugin<AltDentifierOptions> =
  /* @__PURE__ */ createPlugin(altdentifier, 'altdentifier')
export default altdentifierPlugin
export type * from '../schemas/altdentifier.js'
