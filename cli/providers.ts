import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { issueToken } from '../plugins/humandetect-api.js'
import * as plugins from '../plugins/index.js'
import { createSigner } from '../plugins/lib/signature/standalone.js'
import type { CompiledScheme } from '../plugins/lib/signature/scheme.js'
import type { ProviderInfo, SampleEvent } from '../plugins/lib/webhook.js'
import { DEMO, DEMO_TOKEN_SECRET } from './demo.js'
import { UsageError } from './io.js'
import { VARIANTS, type Variant } from './variants.js'

/** The values from which a delivery is made. */
export interface Ingredients {
  readonly body: Buffer
  readonly secret: string
  /** Time of signing in Unix seconds. */
  readonly timestamp: number
  /** Id of the delivery, for schemes with ids. */
  readonly id: string
  /** Changes the signed data after signing. */
  readonly alter: (signed: Buffer) => Buffer
  /** The public path and query, for providers with this option. */
  readonly endpoint: string
  /** The id of the secret, for providers with this option. */
  readonly apiKey: string
  /** The subject of a token. */
  readonly identifier: string
  /** True for the token of a human, false for a bot. */
  readonly human: boolean
}

/** A request, ready to be sent. */
export interface Delivery {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

const PROVIDER_OPTIONS = ['api-key', 'endpoint', 'identifier'] as const
/** A command line option that only some providers support. */
export type ProviderOption = typeof PROVIDER_OPTIONS[number]

/** An event as a provider sends it. */
export interface Sample extends Pick<SampleEvent, 'about' | 'body'> {
  /** Set if the receiver refuses even a valid delivery of this event. */
  readonly refused?: true
  /** Expected result of sending the same delivery a second time. */
  readonly again: 'accepted' | 'replayed' | 'refused'
}

/** A provider whose deliveries can be sent and, if it has a scheme, examined. */
export interface Provider {
  readonly name: string
  /** Name of the environment variable of its secret. */
  readonly secretName: string
  /** Name of the environment variable of the id of its secret, for providers with the option `api-key`. */
  readonly apiKeyName: string
  /** The secret that the example server uses by default. Undefined for a provider that it does not have. */
  readonly demoSecret: string | undefined
  /** The id of that secret. Empty for a provider without ids. */
  readonly demoApiKey: string
  /** The command line options that it supports, of those that only some providers support. */
  readonly options: readonly ProviderOption[]
  /** Samples by the names of their events. The first one is the default. Empty for a provider without samples. */
  readonly events: Readonly<Record<string, Sample>>
  /** Returns the path on which the example server receives an event. */
  readonly path: (event: string) => string
  /** The variants that it does not support, each with the reason. */
  readonly without: Readonly<Partial<Record<Variant, string>>>
  /** Status of the response to a delivery that is not authentic. */
  readonly refusalStatus: number
  /** Name of a header that holds a secret, which is never printed. */
  readonly secretHeader?: string
  readonly scheme?: CompiledScheme
  readonly make: (ingredients: Ingredients) => Delivery
}

const DEMO_SECRETS: Readonly<Record<string, string>> = DEMO
/** Environment variables whose names do not follow from the name of the provider. */
const SECRET_NAMES: Readonly<Record<string, string>> = { 'identity-validation': 'IDENTITY_API_SECRET' }
const NO_ENDPOINT = { 'wrong-endpoint': 'it signs no endpoint' }
const OWN_FORMAT = { 'wrong-key': 'its secrets have a format of their own' }
const NO_AGE = 'the backend checks the age'
const NO_TIME = { expired: 'it signs no time', future: 'it signs no time' }

type SchemeInfo = ProviderInfo & { readonly scheme: CompiledScheme }

/** Makes a provider from the description that its plugin carries. `prefix` is that of the route. */
function providerOf ({ name, scheme, refusalStatus, events }: SchemeInfo, prefix: string): Provider {
  const secretName = SECRET_NAMES[name] ?? `${name.toUpperCase().replaceAll('-', '_')}_SECRET`
  const apiKeyName = secretName.replace(/SECRET$/, 'KEY')
  const sign = createSigner(name, scheme)
  const { parts } = scheme
  return {
    name,
    scheme,
    secretName,
    apiKeyName,
    demoSecret: DEMO_SECRETS[secretName],
    demoApiKey: DEMO_SECRETS[apiKeyName] ?? '',
    options: [...parts.has('keyId') ? ['api-key'] as const : [], ...parts.has('endpoint') ? ['endpoint'] as const : []],
    events: Object.fromEntries(Object.entries(events).map(([event, { about, body, once }]) =>
      [event, { about, body, again: once ? 'replayed' : 'accepted' }])),
    path: (event) => prefix + (events[event]?.path ?? `/${name}`),
    without: {
      ...!parts.has('timestamp') && NO_TIME,
      ...!parts.has('endpoint') && NO_ENDPOINT,
      ...typeof scheme.key === 'function' && OWN_FORMAT
    },
    refusalStatus,
    make: ({ apiKey, body, alter, ...values }) =>
      ({ headers: sign({ ...values, body, keyId: apiKey }), body: alter(body) })
  }
}

/** Default identifier in HumanDetect's tokens. */
export const IDENTIFIER = 'ada@example.com'

/** HumanDetect, whose SDK sends a token instead of a signature. */
const humandetect: Provider = {
  name: 'humandetect',
  secretName: 'HUMANDETECT_TOKEN_SECRET',
  apiKeyName: '',
  demoSecret: DEMO_TOKEN_SECRET,
  demoApiKey: '',
  options: ['identifier'],
  events: {
    human: { about: 'a valid token of a human', body: () => ({ identifier: IDENTIFIER }), again: 'refused' },
    bot: {
      about: 'a genuine token of a bot, which must be rejected',
      body: () => ({ identifier: IDENTIFIER }),
      refused: true,
      again: 'refused'
    }
  },
  path: () => '/humandetect',
  without: NO_ENDPOINT,
  refusalStatus: 403,
  make ({ secret, identifier, human, timestamp, body, alter }) {
    const token = issueToken({ secret, identifier, human, timestamp: new Date(timestamp * 1000) })
    const payload = { ...JSON.parse(body.toString()), token: alter(Buffer.from(token)).toString() }
    return { headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(payload)) }
  }
}

/** HumanDetect's Token Verification API, which a backend asks with its API key. */
const humandetectApi: Provider = {
  ...humandetect,
  name: 'humandetect-api',
  apiKeyName: 'HUMANDETECT_API_KEY',
  demoApiKey: DEMO.HUMANDETECT_API_KEY,
  options: ['api-key', 'identifier'],
  events: {
    human: { about: 'a valid token of a human', body: () => ({}), again: 'accepted' },
    bot: { about: 'a genuine token of a bot', body: () => ({}), again: 'accepted' }
  },
  path: () => '/v1/humandetect/verify',
  without: { ...NO_ENDPOINT, expired: NO_AGE, future: NO_AGE },
  refusalStatus: 400,
  secretHeader: 'x-api-key',
  make ({ apiKey, ...ingredients }) {
    const { headers, body } = humandetect.make({ ...ingredients, apiKey })
    return { headers: { ...headers, 'x-api-key': apiKey }, body }
  }
}

/** Lists the providers of the plugins that a module exports, each once. */
function providersIn (module: object, prefix: string): Provider[] {
  const definitions = new Set(Object.values(module).flatMap((value) => {
    const { definition } = Object(value) as { definition?: ProviderInfo }
    return definition?.scheme === undefined ? [] : [definition as SchemeInfo]
  }))
  return [...definitions].map((definition) => providerOf(definition, prefix))
}

/** The providers of this package, by name. */
export const PROVIDERS: Readonly<Record<string, Provider>> = Object.fromEntries(
  [...providersIn(plugins, '/webhooks'), humandetect, humandetectApi].map((provider) => [provider.name, provider]))

/**
 * Loads the provider that a module exports. `file` is the name of its file, followed by `#` and the name of a provider
 * if the module exports several.
 */
export async function loadProvider (file: string): Promise<Provider> {
  const [, path, name] = /^(.*?)(?:#([^#/]*))?$/.exec(file)!
  let module
  try {
    module = await import(pathToFileURL(resolve(path!)).href) as object
  } catch (error) {
    const { code, name } = error as NodeJS.ErrnoException
    throw new UsageError(`--provider: cannot load ${JSON.stringify(path)} (${code ?? name})`)
  }
  const all = providersIn(module, '')
  const found = name === undefined ? all : all.filter((provider) => provider.name === name)
  const names = all.map((provider) => provider.name).join(', ')
  if (found.length === 1) return found[0]!
  if (all.length === 0) throw new UsageError('--provider: the file exports no plugin of createProvider with a scheme')
  throw new UsageError(`--provider: expected "#" and one of ${names} after the file name`)
}

/** Throws a `UsageError` if an option is given that the provider does not support. */
export function checkProviderOptions (
  { options }: Provider, values: Readonly<Partial<Record<ProviderOption, unknown>>>
): void {
  const foreign = PROVIDER_OPTIONS.find((option) => values[option] !== undefined && !options.includes(option))
  if (foreign === undefined) return
  const owners = Object.values(PROVIDERS).filter(({ options }) => options.includes(foreign)).map(({ name }) => name)
  throw new UsageError(`--${foreign} is for ${owners.join(', ')} only`)
}

/** Returns the variants that a provider supports. */
export function variantsOf ({ without }: Provider): Variant[] {
  return (Object.keys(VARIANTS) as Variant[]).filter((variant) => without[variant] === undefined)
}
