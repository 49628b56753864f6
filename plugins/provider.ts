import type { FastifyInstance } from 'fastify'
import type { Static, TSchema } from '@sinclair/typebox'
import { providerRouteSchema } from '../schemas/provider.js'
import { createAuthenticate } from './lib/signature/authenticate.js'
import type { Callback, VerificationPlugin, VerifiedRequest } from './lib/callback.js'
import { decodeBase64, decodeHex } from './lib/signature/decode.js'
import { CALLER, checkDefinition, parserOf, rephraseOf, type Refusal } from './lib/definition.js'
import { checkIdentity, type Identity } from './lib/idempotency/delivery-id.js'
import { deny, readDenial } from './lib/deny.js'
import { createExplain } from './lib/doctor/explain.js'
import type { Scheme } from './lib/doctor/scheme.js'
import { InvalidOption, NO_CONTENT, UNREADABLE } from './lib/errors.js'
import type { Work } from './lib/handler.js'
import type { Texts } from './lib/signature/fields.js'
import { createKeyLookup, type SecretResolver } from './lib/signature/keys.js'
import { assertAlgorithm, type MacAlgorithm } from './lib/signature/hmac.js'
import { anyValue, callback, path, required, type Awaitable } from './lib/rules.js'
import { createPlugin } from './lib/plugin.js'
import { JSON_TYPE } from './lib/body.js'
import { createReader, type Reading } from './lib/signature/reading.js'
import { compileReply, type Reply as ReplyOf } from './lib/reply.js'
import { compileOptionCheck, typesOf } from './lib/validation.js'
import { decorateHandler, prepareScope } from './lib/scope.js'
import type { Secret, SecretEncoding } from './lib/signature/secrets.js'
import { checkWebhookOptions, readSettings, type WebhookOptions } from './lib/options.js'
import { parseUnixSeconds } from './lib/signature/timestamp.js'
import { addWebhookRoute } from './lib/pipeline.js'

/** What tells one provider from another. */
export interface ProviderDefinition<
  Headers extends readonly string[], Body extends TSchema, Reply extends TSchema | undefined
> {
  /** What reports, metrics, logs and errors call it, and, after a slash, its path: small letters, digits, hyphens. */
  name: string
  /** What comes, in a line for API pages. */
  summary: string
  /** The headers that `read` needs, in small letters. A delivery that lacks one, or repeats it, is refused. */
  headers: Headers
  /**
   * Reads the headers' texts, in that order. It verifies nothing, so it has to be strict: a text that is not written as
   * the provider writes it gives undefined, in part or as a whole. What it throws is answered 500.
   */
  read: (texts: Texts<Headers>) => Reading | undefined
  /** The HMAC's hash. */
  algorithm: MacAlgorithm
  /** How the text of a secret stands for the bytes of the key; a function gives undefined for a text that is none. */
  secretEncoding: SecretEncoding
  /** The TypeBox schema of the events: objects or, where it says so, arrays. */
  body: Body
  /** The TypeBox schema of what `handleEvent` returns, which is answered 200. Without it: 204, whatever it returns. */
  reply?: Reply | undefined
  /**
   * What makes two deliveries the same, of what is signed: `id`, and the `content` that must not differ under that id;
   * undefined for a delivery that is to be handled as often as it comes. Default: `read`'s id, with the whole event, or
   * else the MAC, in hex.
   */
  identify?: ((event: Static<Body>, signed: Signed) => Identity | undefined) | undefined
  /**
   * The media types of its bodies: `application/json` and others that end with `+json`, or
   * `application/x-www-form-urlencoded`, whose fields become strings, or lists of strings where they are repeated.
   * Default `['application/json']`.
   */
  contentTypes?: readonly string[] | undefined
  /**
   * The answer to every delivery that is not authentic, the same for all reasons. Default: 403 and an error
   * with the code `FST_VERIFICATION_FORBIDDEN`. `body` is sent as JSON.
   */
  refusal?: Refusal | undefined
  /** For `diagnose`: how the signature is written, where it is one MAC over, at most, a timestamp and the body. */
  scheme?: Pick<Scheme, 'signature' | 'prefix' | 'encoding' | 'timestamp' | 'separator'> | undefined
}

/** What of the headers may identify a delivery. */
export interface Signed { id: string | undefined, mac: string }

export interface ProviderOptions<
  Body extends TSchema = TSchema, Reply extends TSchema | undefined = undefined
> extends WebhookOptions {
  /** The webhook's secret; several while one replaces another; or a function that finds it. */
  secret: Secret | SecretResolver
  /** Called with every event. A thrown `deny()` refuses it. */
  handleEvent: Callback<
    [event: Static<Body>, request: VerifiedRequest],
    Reply extends TSchema ? Awaitable<ReplyOf<Static<Reply>>> : unknown
  >
  /** Where the route is. Default: a slash and the provider's name. */
  path?: string | undefined
}

function identifyBySigned (event: unknown, { id, mac }: Signed): Identity {
  return id ? { id: ['id', id], content: event } : { id: ['mac', mac] }
}

/**
 * A plugin for a provider of your own, with all that the built-in ones have. Throws `FST_VERIFICATION_INVALID_OPTION`
 * for a definition it cannot work with.
 *
 * @example app.register(githubPlugin, { secret, handleEvent: (event) => app.log.info(event.action) })
 */
export function createProvider<
  const Headers extends readonly string[], Body extends TSchema, Reply extends TSchema | undefined = undefined
> (definition: ProviderDefinition<Headers, Body, Reply>): VerificationPlugin<ProviderOptions<Body, Reply>> {
  checkDefinition(definition)
  const { name, headers, read, algorithm, secretEncoding, body, reply, scheme } = definition
  const { identify = identifyBySigned, contentTypes = [JSON_TYPE], refusal } = definition
  const secretText = secretEncoding === 'base64' ? 'base64' : 'utf8'
  const check = compileOptionCheck(CALLER, 'body', body)
  const parse = parserOf(contentTypes, typesOf(body))
  const rephrase = refusal && rephraseOf(refusal)
  const writeReply = reply && compileReply(reply, undefined, compileOptionCheck(CALLER, 'reply', reply))

  async function provider (scope: FastifyInstance, options: ProviderOptions<Body, Reply>): Promise<void> {
    checkWebhookOptions(name, options, { secret: required(anyValue), handleEvent: required(callback), path })
    if (options.diagnose && scheme === undefined) throw new InvalidOption(name, 'diagnose', 'needs a "scheme"')
    assertAlgorithm(name, algorithm)
    const settings = readSettings(scope, name, options)
    const { secret, allowWeakSecret = false } = options
    const rules = { plugin: name, option: 'secret', algorithm, encoding: secretEncoding, allowWeakSecret }
    const keysFor = createKeyLookup(secret, rules, scope.log)
    const send = prepareScope(scope, name, settings, { rephrase, contentTypes })
    const url = options.path ?? `/${name}`

    addWebhookRoute<Static<Body>>(scope, send, settings, {
      provider: name,
      url,
      schema: providerRouteSchema({ ...definition, headers, contentTypes }),
      authenticate: createAuthenticate({
        algorithm,
        read: createReader(headers, (texts) => read(texts as Texts<Headers>)),
        keysFor,
        freshness: settings
      }),
      explain: scheme && createExplain(scope, settings, {
        path: scope.prefix + url, scheme: { ...scheme, algorithm, secret: secretText }, keysFor
      }),
      parse,
      ...(definition.contentTypes !== undefined && { unreadable: UNREADABLE }),
      check,
      handle: decorateHandler(scope, 'handleEvent', options.handleEvent as Work<Static<Body>>['handle']),
      denial: readDenial,
      identify: (event, mac, id) => checkIdentity(identify(event, { id, mac: mac.toString('hex') })),
      answer: (result) => writeReply === undefined ? NO_CONTENT : writeReply(result, undefined)
    })
  }

  return createPlugin(provider, name)
}

export { FormatRegistry, Type } from '@sinclair/typebox'
export type * from '@sinclair/typebox'
export { decodeBase64, decodeHex, deny, parseUnixSeconds }
export type { Identity, Reading, VerificationPlugin, VerifiedRequest }
