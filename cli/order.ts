import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { parseJsonObject } from '../plugins/lib/body.js'
import { KEY_ID } from '../plugins/lib/signature/keys.js'
import { endpointRule } from '../plugins/lib/signature/scheme.js'
import { oneOf, readArguments, readCount } from './arguments.js'
import { UsageError, type Env } from './io.js'
import {
  checkProviderOptions, IDENTIFIER, PROVIDERS, variantsOf, type Delivery, type Provider, type Sample
} from './providers.js'
import { changeOf, VARIANTS, type Variant } from './variants.js'

const ORIGIN = 'http://127.0.0.1:3000' // where `npm start` listens
const OPTIONS = {
  provider: { type: 'string' },
  url: { type: 'string' },
  secret: { type: 'string' },
  'api-key': { type: 'string' },
  endpoint: { type: 'string' },
  identifier: { type: 'string' },
  event: { type: 'string' },
  variant: { type: 'string', default: 'valid' },
  body: { type: 'string' },
  times: { type: 'string' },
  rate: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false }
} as const

/** Instructions for `send`: what to send, how often, and how to report it. */
export interface Order {
  readonly provider: string
  readonly event: string
  readonly variant: Variant
  /** Expected results of the event. */
  readonly sample: Pick<Sample, 'again' | 'refused'>
  readonly url: URL
  readonly times: number
  /** Maximum number of deliveries per second; undefined for no limit. */
  readonly rate: number | undefined
  readonly json: boolean
  /** Status of the response to a delivery that is not authentic. */
  readonly refusalStatus: number
  /** Name of a header that holds a secret, which is never printed. */
  readonly secretHeader: string | undefined
  /** Description of the source of the secret. */
  readonly secretFrom: string
  /** Creates a new delivery, signed now. */
  readonly make: () => Delivery
}

/** Parses the arguments of `send`. */
export const readSendArguments = (argv: readonly string[]) => readArguments(argv, OPTIONS)

/** Reads the command line. `own` is the provider of `--provider`. Throws a `UsageError` if it is invalid. */
export function readOrder (
  { values, positionals: [name, ...others] }: ReturnType<typeof readSendArguments>, env: Env, own?: Provider
): Order {
  if (own === undefined ? name === undefined || others.length > 0 : name !== undefined) {
    throw new UsageError('expected exactly one provider')
  }
  const provider = own ?? PROVIDERS[oneOf('provider', Object.keys(PROVIDERS), name!)]!
  const { events, without, refusalStatus, secretHeader } = provider
  checkProviderOptions(provider, values)
  const names = Object.keys(events)
  if (names.length === 0 && values.body === undefined) {
    throw new UsageError('--body is required, since the provider has no sample events')
  }
  const event = names.length === 0 ? 'event' : oneOf(`event of ${provider.name}`, names, values.event ?? names[0]!)
  const variant = oneOf('variant', Object.keys(VARIANTS) as Variant[], values.variant)
  const reason = without[variant]
  if (reason !== undefined) {
    const others = variantsOf(provider).join(', ')
    throw new UsageError(`${provider.name} has no variant "${variant}", since ${reason}: expected one of ${others}`)
  }
  const url = readUrl(values.url ?? ORIGIN + provider.path(event))
  const sample = events[event]
  return {
    provider: provider.name,
    event,
    variant,
    sample: sample ?? UNKNOWN_EVENT,
    url,
    times: readCount('--times', values.times) ?? 1,
    rate: readCount('--rate', values.rate),
    json: values.json,
    refusalStatus,
    secretHeader,
    ...prepare({ provider, event, sample, variant, url, values, env })
  }
}

/** The event of a provider without samples. */
const UNKNOWN_EVENT = { again: 'replayed' } as const

interface Wish extends Pick<Order, 'event' | 'variant' | 'url'> {
  /** Undefined if the body is given. */
  readonly sample: Sample | undefined
  readonly provider: Provider
  readonly values: { readonly [K in 'secret' | 'api-key' | 'endpoint' | 'identifier' | 'body']?: string | undefined }
  readonly env: Env
}

/** Prepares the creation of deliveries. Creates one at once, so that invalid options throw a `UsageError` here. */
function prepare (
  { provider, event, sample, variant, url, values, env }: Wish
): Pick<Order, 'make' | 'secretFrom'> {
  const { scheme, secretName, apiKeyName, demoSecret, demoApiKey, options, make: assemble } = provider
  const { alter = (signed) => signed, shift = 0, otherSecret, otherEndpoint } = changeOf(variant)
  const given = values.secret ?? (env[secretName] || undefined)
  const secret = given ?? demoSecret
  if (secret === undefined) throw new UsageError(`--secret or ${secretName} is required`)
  const secretFrom = values.secret !== undefined ? '--secret' : given !== undefined ? secretName : 'the demo secret'
  const apiKey = values['api-key'] ?? (env[apiKeyName] || demoApiKey)
  if (options.includes('api-key') && !KEY_ID.test(apiKey)) {
    throw new UsageError('the api-key must be visible ASCII without commas, up to 256 characters')
  }
  const endpoint = values.endpoint ?? url.pathname + url.search
  if (scheme !== undefined && options.includes('endpoint') && !endpointRule(scheme).accepts(endpoint)) {
    throw new UsageError(`--endpoint ${endpointRule(scheme).expects}`)
  }
  const body = values.body === undefined ? undefined : readBody(values.body)
  const identifier = options.includes('identifier') ? readIdentifier(values.identifier, body) : undefined

  function make (key = secret!): Delivery {
    const now = Math.floor(Date.now() / 1000)
    const id = randomBytes(8).readBigUInt64BE().toString()
    return assemble({
      body: body ?? Buffer.from(JSON.stringify({ ...sample!.body(id, now), identifier })),
      secret: key,
      timestamp: now + shift,
      id: `msg_${id}`,
      alter,
      endpoint: otherEndpoint ? `${endpoint}-elsewhere` : endpoint,
      apiKey,
      identifier: identifier ?? '',
      human: event !== 'bot'
    })
  }

  try {
    make()
  } catch (error) {
    // The message of the signing function, with the option's name on the command line. It never contains a value.
    throw new UsageError((error as Error).message.replace(/^.*?option "(\w+)"/, (_all, option) =>
      option === 'secret' ? `the secret (${secretFrom})` : `--${option}`))
  }
  return { secretFrom, make: () => make(otherSecret && randomBytes(32).toString('base64')) }
}

function readUrl (text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw new UsageError('--url must be an http: or https: URL')
  if (url.username !== '' || url.password !== '') throw new UsageError('--url must not contain a user name or password')
  return url
}

/** Reads the body: from a file if given as `@` and a file name, otherwise from the string itself. */
function readBody (given: string): Buffer {
  const bytes = given.startsWith('@') ? readFile(given.slice(1)) : Buffer.from(given)
  if (bytes.length === 0) throw new UsageError('--body must not be empty')
  return bytes
}

function readFile (name: string): Buffer {
  try {
    return readFileSync(name)
  } catch (error) {
    throw new UsageError(`--body: cannot read ${JSON.stringify(name)} (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** Returns the identifier for a token: from the option, from a given body, or the default. */
function readIdentifier (given: string | undefined, body: Buffer | undefined): string {
  if (body === undefined) return given ?? IDENTIFIER
  const payload = parseJsonObject(body) as { identifier?: unknown } | undefined
  if (payload === undefined) throw new UsageError('--body must be a JSON object, to which the token is added')
  const identifier = given ?? payload.identifier
  if (typeof identifier !== 'string') throw new UsageError('--identifier is required, since the body has none')
  return identifier
}
