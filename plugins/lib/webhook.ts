import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { VerificationPlugin } from './callback.js'
import { checkWebhookOptions, readSettings, type Settings, type WebhookOptions } from './options.js'
import { createPipeline, type WebhookRoute } from './pipeline.js'
import { createPlugin } from './plugin.js'
import type { Rephrase } from './response.js'
import { anyValue, required, type Rules } from './rules.js'
import { decorateHandler } from './scope.js'
import { createAuthenticate, type SignatureReader } from './signature/authenticate.js'
import { PUBLIC_ENDPOINT, type Rejection } from './signature/fields.js'
import { assertAlgorithm, type MacKey } from './signature/hmac.js'
import { createKeyLookup, createKeyRingLookup, type KeyRing, type SecretResolver } from './signature/keys.js'
import type { CompiledScheme } from './signature/scheme.js'
import type { Secret } from './signature/secrets.js'

/** A route of a provider. Its signature is that of the definition. */
export interface SignedRoute<Event, Context> extends Omit<WebhookRoute<Event, Context>, 'authenticate' | 'explain'> {
  /** Public path and query that must be signed, for a scheme with `{endpoint}`. */
  readonly endpoint?: string | undefined
  /** Checks a second proof made with the same key, once the signature is verified. */
  readonly confirm?: ((request: FastifyRequest, key: MacKey) => Rejection | undefined) | undefined
}

/** Names of the options that are handlers. */
type HandlerName<Options> = Extract<keyof Options, `${'handle' | 'verify'}${string}`>
type Handlers<Options> = { readonly [Name in HandlerName<Options>]: Options[Name] }

/** A provider, described once. Everything that all providers have in common is made from it. */
export interface WebhookDefinition<Options extends WebhookOptions, Event, Context> {
  /** Name in reports, metrics and logs. */
  readonly name: string
  /** Name in errors of options. Default: `name`. */
  readonly plugin?: string | undefined
  readonly signature: CompiledScheme | SignatureReader
  /** Name of the option that holds the secrets: a ring for a scheme with `{keyId}`. */
  readonly secretOption: string
  /** Rules of the provider's own options. */
  readonly options: Rules
  /** Names of the options that are handlers. */
  readonly handlers: readonly HandlerName<Options>[]
  /** Default of the option `bodyLimit`, in bytes. Default 65,536. */
  readonly bodyLimit?: number | undefined
  /** Media types of the bodies. Default `['application/json']`. */
  readonly contentTypes?: readonly string[] | undefined
  /** Changes responses into the format that the provider expects. Default: unchanged. */
  readonly rephrase?: Rephrase | undefined
  /** Status of the response to a delivery that is not authentic. Default 403. */
  readonly refusalStatus?: number | undefined
  /** Sample events by name. The first one is the default. Default: none. */
  readonly events?: Readonly<Record<string, SampleEvent>> | undefined
  /** Makes the routes for the options of one registration, whose path begins with `prefix`. */
  readonly routes: (
    registration: { options: Options, prefix: string, settings: Settings, handlers: Handlers<Options> }
  ) => readonly SignedRoute<Event, Context>[]
}

/** An event that a simulated sender can send, for the command line, the deliveries page and tests. */
export interface SampleEvent {
  readonly about: string
  /** Default path of the route that receives it. Default: a slash and the name of the provider. */
  readonly path?: string
  /** Makes a body, different for each `id` (1 to 20 digits). `seconds` is the time of the event in Unix seconds. */
  readonly body: (id: string, seconds: number) => object
  /** True if the plugin recognizes a second copy of the delivery with its default options. */
  readonly once: boolean
}

/** The description of a provider. */
export interface ProviderInfo {
  readonly name: string
  /** Undefined for a provider whose signature no scheme describes. */
  readonly scheme?: CompiledScheme
  /** Status of the response to a delivery that is not authentic. */
  readonly refusalStatus: number
  /** Sample events by name. The first one is the default. */
  readonly events: Readonly<Record<string, SampleEvent>>
}

/** A plugin that carries the description of its provider, for the command line, the deliveries page and tests. */
export type WebhookPlugin<Options> = VerificationPlugin<Options> & { readonly definition: ProviderInfo }

/**
 * Makes the plugin of a provider: option checks, keys, the path of a delivery, and one or more routes. The definition
 * is made by a function, so that a bundler can leave a plugin out that is not used.
 */
export function defineWebhook<Options extends WebhookOptions, Event, Context = unknown> (
  define: () => WebhookDefinition<Options, Event, Context>
): WebhookPlugin<Options> {
  const definition = define()
  const { name, plugin = name, signature, secretOption, bodyLimit, contentTypes, rephrase } = definition
  const { algorithm, key: encoding } = signature
  const isRing = 'parts' in signature && signature.parts.has('keyId')

  async function webhook (scope: FastifyInstance, options: Options): Promise<void> {
    checkWebhookOptions(plugin, options, { [secretOption]: required(anyValue), ...definition.options })
    assertAlgorithm(plugin, algorithm) // some platforms lack MD5
    const settings = readSettings(scope, name, options, bodyLimit)
    const handlers = Object.fromEntries(definition.handlers.flatMap((name) =>
      options[name] === undefined ? [] : [[name, decorateHandler(scope, name, options[name] as Function)]]))
    const routes = definition.routes({
      options, prefix: scope.prefix, settings, handlers: handlers as unknown as Handlers<Options>
    })
    const rules = {
      plugin, option: secretOption, algorithm, encoding, allowWeakSecret: options.allowWeakSecret === true
    }
    const secrets = options[secretOption as keyof Options]
    const keysFor = isRing
      ? createKeyRingLookup(secrets as KeyRing, rules, scope.log)
      : createKeyLookup(secrets as Secret | SecretResolver, rules, scope.log)
    // Loaded only if it is asked for: it is a third of the code, for setup.
    const doctor = settings.diagnose ? await import('./doctor/explain.js') : undefined
    const explainFor = doctor?.createExplain(scope, plugin, signature, keysFor, settings)

    const addRoute = createPipeline(scope, name, settings, { rephrase, contentTypes })
    for (const { endpoint, confirm, ...route } of routes) {
      addRoute({
        ...route,
        authenticate: createAuthenticate({ signature, endpoint, keysFor, freshness: settings, confirm }),
        explain: explainFor?.(scope.prefix + route.url, endpoint)
      })
    }
  }

  return Object.assign(createPlugin(webhook, name), {
    definition: {
      name,
      ...('parts' in signature && { scheme: signature }),
      refusalStatus: definition.refusalStatus ?? 403,
      events: definition.events ?? {}
    }
  })
}

/** Returns the path as clients send it, or undefined if they may send several or have to encode it. */
export function plainPath (prefix: string, url: string): string | undefined {
  const joined = (prefix + url).replace('//', '/') // like Fastify, for a prefix that ends with a slash
  const several = /[:*]/.test(joined) || (prefix !== '' && url === '/')
  return PUBLIC_ENDPOINT.test(joined) && !several ? joined : undefined
}
