import type { InjectOptions } from 'fastify'
import type { Env } from '../../cli/io.js'
import { readOrder, readSendArguments } from '../../cli/order.js'
import { PROVIDERS, variantsOf, type Provider } from '../../cli/providers.js'
import { changeOf } from '../../cli/variants.js'

/** A test delivery for the server. */
export interface Sample {
  readonly provider: string
  /** Kind of sample: `valid`, `tampered`, ... */
  readonly kind: string
  /** Creates its requests, signed now, in the order of sending. */
  readonly requests: () => InjectOptions[]
}

type Kind = readonly [provider: string, kind: string, options: readonly string[], change?: Partial<InjectOptions>]

/** Samples beyond the variants of `send`. */
const MORE: readonly Kind[] = [
  ['altdentifier', 'unsigned', [], { headers: { 'content-type': 'application/json' } }],
  ['altdentifier', 'unknown OP', ['--body', '{"OP":99}']],
  ['aghanim', 'unknown player', [
    '--body', '{"event_type":"player.verify","event_data":{"player_id":"1"},"event_id":"whevt_1"}'
  ]],
  ['aghanim', 'invalid payload', ['--body', '{"event_type":"player.verify"}']],
  ['altdentifier', 'not JSON', ['--body', 'OP=1']],
  ['humandetect', 'bot', ['--event', 'bot']],
  ['humandetect-api', 'wrong API key', ['--api-key', 'another-key']]
]

/** Returns the options for an event whose copies the plugin recognises, if the provider has such an event. */
function repeatable ({ events }: Provider): string[] {
  const event = Object.entries(events).find(([, { again }]) => again === 'replayed')?.[0]
  return event === undefined ? [] : ['--event', event]
}

/** Creates the request that the command `send` would send to the example server. */
function order (env: Env, provider: string, options: readonly string[]): InjectOptions & { payload: Buffer } {
  const { url, make } = readOrder(readSendArguments([provider, ...options]), env)
  const { headers, body } = make()
  return { method: 'POST', url: url.pathname, headers, payload: body }
}

/** Creates one sample of each kind, for a server with the secrets of this environment. */
export function createSamples (env: Env): Sample[] {
  return Object.values(PROVIDERS).flatMap((one) => {
    const provider = one.name
    const variants = variantsOf(one).map((variant): Sample => {
      const twice = changeOf(variant).twice === true
      const options = ['--variant', variant, ...twice ? repeatable(one) : []]
      return { provider, kind: variant, requests: () => Array(twice ? 2 : 1).fill(order(env, provider, options)) }
    })
    const more = MORE.filter(([of]) => of === provider).map(([, kind, options, change]): Sample =>
      ({ provider, kind, requests: () => [{ ...order(env, provider, options), ...change }] }))
    return [...variants, ...more]
  })
}
