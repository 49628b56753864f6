import type { Static, TSchema } from '@sinclair/typebox'
import { JSON_TYPE } from './lib/body.js'
import type { Callback, VerificationPlugin, VerifiedRequest } from './lib/callback.js'
import { CALLER, checkDefinition, compileDefinedScheme, parserOf, rephraseOf, type Refusal } from './lib/definition.js'
import { deny, readDenial } from './lib/deny.js'
import { InvalidOption, NO_CONTENT, UNREADABLE } from './lib/errors.js'
import { checkIdentity, type Identity } from './lib/idempotency/delivery-id.js'
import { NoContentSchema, webhookSchema } from './lib/openapi.js'
import type { WebhookOptions } from './lib/options.js'
import { compileReply, type Reply as ReplyOf } from './lib/reply.js'
import { callback, path, required, type Awaitable } from './lib/rules.js'
import type { SignatureReader } from './lib/signature/authenticate.js'
import {
  decodeBase64, decodeHex, parseUnixSeconds, type Texts, type VerifyResult
} from './lib/signature/fields.js'
import type { MacAlgorithm } from './lib/signature/hmac.js'
import type { KeyRing, SecretResolver } from './lib/signature/keys.js'
import { createReader, type Reading } from './lib/signature/reading.js'
import { endpointRule, list, type CompiledScheme, type ListTemplate, type SignatureScheme } from './lib/signature/scheme.js'
import type { Secret, SecretEncoding } from './lib/signature/secrets.js'
import { createSigner, createVerifier, type SchemeVerifyInput, type SignedInput } from './lib/signature/standalone.js'
import { compileOptionCheck, typesOf } from './lib/validation.js'
import { defineWebhook, plainPath } from './lib/webhook.js'

interface CommonDefinition<Body extends TSchema, Reply extends TSchema | undefined> {
  /** The name in reports, metrics, logs and errors and, after a slash, the path: small letters, digits, hyphens. */
  name: string
  /** One-line description of the deliveries, for API documentation. */
  summary: string
  /** TypeBox schema of the events: objects or, if the schema allows them, arrays. */
  body: Body
  /** TypeBox schema of the return value of `handleEvent`, which becomes the body of a 200. Default: none, and 204. */
  reply?: Reply | undefined
  /**
   * Returns what makes two deliveries the same, from signed material: `id`, and the `content` that must not differ
   * under that id; undefined for a delivery that is handled each time. Default: the signed id, with the whole event,
   * or else the MAC, in hex.
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
}

/** The definition of a provider by the way it signs. */
export interface ProviderDefinition<
  Scheme extends SignatureScheme = SignatureScheme, Body extends TSchema = TSchema,
  Reply extends TSchema | undefined = TSchema | undefined
> extends CommonDefinition<Body, Reply> {
  scheme: Scheme
}

/** The definition of a provider whose headers no scheme can describe. */
export interface ReaderDefinition<
  Headers extends readonly string[], Body extends TSchema, Reply extends TSchema | undefined
> extends CommonDefinition<Body, Reply> {
  /** Names of the headers that `read` needs, in lowercase. A delivery is rejected if one is missing or repeated. */
  headers: Headers
  /**
   * Parses the values of `headers`, given in that order. It verifies nothing, so it must be strict: for a value that is
   * not in the provider's exact format, it must return `undefined`, for the whole result or for the field concerned. If
   * it throws, the response is a 500.
   */
  read: (texts: Texts<Headers>) => Reading | undefined
  /** Hash function of the HMAC. */
  algorithm: MacAlgorithm
  /** Encoding of the key in a secret string. A function must return `undefined` for a string that it cannot decode. */
  secretEncoding: SecretEncoding
}

/** Signed material, beside the body, that may identify a delivery. */
export interface Signed { id: string | undefined, mac: string }

interface CommonOptions<Body extends TSchema, Reply extends TSchema | undefined> extends WebhookOptions {
  /** Called with every event. A thrown `deny()` refuses it. */
  handleEvent: Callback<
    [event: Static<Body>, request: VerifiedRequest],
    Reply extends TSchema ? Awaitable<ReplyOf<Static<Reply>>> : unknown
  >
  /** The path of the route. Default: a slash and the name of the provider. */
  path?: string | undefined
}

export interface ProviderOptions<
  Body extends TSchema = TSchema, Reply extends TSchema | undefined = undefined
> extends CommonOptions<Body, Reply> {
  /** The webhook's secret; several while one replaces another; or a function that finds it. */
  secret: Secret | SecretResolver
}

/** True for a scheme with a header that has the part. */
type Has<Scheme extends SignatureScheme, Part extends string> =
  Extract<Scheme['headers'][keyof Scheme['headers']], `${string}{${Part}}${string}`> extends never ? false : true

interface RingOptions {
  /** Secrets by the ids under which the sender names them; or a function that finds the secret of an id. */
  secrets: KeyRing
}
interface EndpointOptions {
  /**
   * The public path and query that the sender signs, or the whole URL if it signs that. Default: prefix and path. A
   * URL is possible only if no header carries it.
   */
  endpoint?: string | undefined
}

/** The options of a provider that is defined by its scheme. */
export type SchemeOptions<
  Scheme extends SignatureScheme, Body extends TSchema, Reply extends TSchema | undefined
> = (Has<Scheme, 'keyId'> extends true ? CommonOptions<Body, Reply> & RingOptions : ProviderOptions<Body, Reply>) &
  EndpointOptions

/** A plugin that also signs and verifies, without a server. */
export type SchemePlugin<Options> = VerificationPlugin<Options> & {
  /** Returns the headers that the provider would send with a body: for tests and scripts. */
  readonly sign: (input: SignedInput) => Record<string, string>
  /** Verifies the headers and bytes of a delivery. */
  readonly verify: (input: SchemeVerifyInput) => VerifyResult
}

type AnyReaderDefinition = ReaderDefinition<readonly string[], TSchema, TSchema | undefined>
type AnyDefinition = ProviderDefinition | AnyReaderDefinition
type AnyOptions = CommonOptions<TSchema, undefined> & EndpointOptions &
  { secret?: Secret | SecretResolver | undefined, secrets?: KeyRing | undefined }

function signatureOf (definition: AnyDefinition): CompiledScheme | SignatureReader {
  if ('scheme' in definition && definition.scheme !== undefined) return compileDefinedScheme(definition.scheme)
  const { algorithm, secretEncoding, headers, read } = definition as AnyReaderDefinition
  return { algorithm, key: secretEncoding, headers, read: createReader(headers, read) }
}

function identifyBySigned (event: unknown, { id, mac }: Signed): Identity {
  return id ? { id: ['id', id], content: event } : { id: ['mac', mac] }
}

/**
 * Makes a plugin for a provider of one's own, with all that the built-in ones have.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} for a definition that is incomplete or ambiguous
 * @example app.register(githubPlugin, { secret, handleEvent: (event) => app.log.info(event.action) })
 */
export function createProvider<
  const Scheme extends SignatureScheme, Body extends TSchema, Reply extends TSchema | undefined = undefined
> (definition: ProviderDefinition<Scheme, Body, Reply>): SchemePlugin<SchemeOptions<Scheme, Body, Reply>>
export function createProvider<
  const Headers extends readonly string[], Body extends TSchema, Reply extends TSchema | undefined = undefined
> (definition: ReaderDefinition<Headers, Body, Reply>): VerificationPlugin<ProviderOptions<Body, Reply>>
export function createProvider (definition: AnyDefinition): VerificationPlugin<never> {
  checkDefinition(definition)
  const { name, body, reply, identify = identifyBySigned, contentTypes = [JSON_TYPE], refusal } = definition
  const signature = signatureOf(definition)
  const compiled = 'parts' in signature ? signature : undefined
  const hasEndpoint = compiled?.parts.has('endpoint') === true
  const check = compileOptionCheck(CALLER, 'body', body)
  const parse = parserOf(contentTypes, typesOf(body))
  const writeReply = reply && compileReply(reply, undefined, compileOptionCheck(CALLER, 'reply', reply))
  const { algorithm, headers } = signature
  const schema = webhookSchema({
    tag: name,
    summary: definition.summary,
    description: `The bytes of the body must be signed with HMAC-${algorithm.toUpperCase()}, with the signature in ` +
      `${headers.map((header) => `\`${header}\``).join(', ')}. The signature is verified before the ` +
      'body is parsed. Retries of the same delivery are handled only once.',
    signature,
    contentTypes,
    body,
    accepted: reply === undefined ? { 204: NoContentSchema } : { 200: { description: 'Accepted', ...reply } },
    problem: '/id: Expected required property',
    errors: ['FST_VERIFICATION_ID_REUSED', 'FST_VERIFICATION_INVALID_REPLY'],
    refusal
  })

  const plugin = defineWebhook<AnyOptions, unknown>(() => ({
    name,
    signature,
    secretOption: compiled?.parts.has('keyId') ? 'secrets' : 'secret',
    options: { handleEvent: required(callback), path, ...(hasEndpoint && { endpoint: endpointRule(compiled) }) },
    handlers: ['handleEvent'],
    contentTypes,
    rephrase: refusal && rephraseOf(refusal),
    refusalStatus: refusal?.statusCode,
    routes ({ options, prefix, handlers: { handleEvent } }) {
      const url = options.path ?? `/${name}`
      const endpoint = hasEndpoint ? options.endpoint ?? plainPath(prefix, url) : undefined
      if (hasEndpoint && endpoint === undefined) throw new InvalidOption(name, 'endpoint', 'is required')
      return [{
        url,
        endpoint,
        schema,
        parse,
        unreadable: definition.contentTypes && UNREADABLE,
        check,
        identify: (event, mac, id) => checkIdentity(identify(event, { id, mac: mac.toString('hex') })),
        handle: handleEvent,
        denial: readDenial,
        answer: (result) => writeReply === undefined ? NO_CONTENT : writeReply(result, undefined)
      }]
    }
  }))
  if (compiled === undefined) return plugin
  return Object.assign(plugin, {
    sign: createSigner(`${name}.sign`, compiled), verify: createVerifier(`${name}.verify`, compiled)
  })
}

export { FormatRegistry, Type } from '@sinclair/typebox'
export type * from '@sinclair/typebox'
export { decodeBase64, decodeHex, deny, list, parseUnixSeconds }
export type { Identity, ListTemplate, Reading, SignatureScheme, VerificationPlugin, VerifiedRequest }
