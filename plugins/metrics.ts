import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Counter, Histogram, register, type Registry } from 'prom-client'
import { InvalidOption } from './lib/errors.js'
import { checkOptions, type Rule } from './lib/rules.js'
import type { DeliveryReport } from './lib/telemetry.js'
import type { StoreReport } from './lib/idempotency/store.js'

export interface MetricsOptions {
  /** The registry for the metrics. Default: `register`, the default registry of `prom-client`. */
  registry?: Registry | undefined
}

const NAMES = {
  deliveries: 'fastify_verification_deliveries_total',
  matches: 'fastify_verification_secret_matches_total',
  duration: 'fastify_verification_delivery_duration_seconds',
  store: 'fastify_verification_store_duration_seconds'
}
/** A running collection. `stop` ends it; `isWhole` returns true if all its metrics are still in the registry. */
interface Collection { readonly stop: () => void, readonly isWhole: () => boolean }

const collections = new WeakMap<Registry, Collection>()
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const registryRule: Rule = {
  accepts: (value) => typeof (value as Registry | undefined)?.registerMetric === 'function',
  expects: 'must be a prom-client Registry'
}

/**
 * Collects Prometheus metrics about the deliveries of all plugins in this process. Every label has a bounded set of
 * values, and no value comes from a request. Returns a function that stops the collection. After a registry was
 * cleared, it may be called again for that registry.
 *
 * - `fastify_verification_deliveries_total` by `provider`, `outcome` and `reason`
 * - `fastify_verification_secret_matches_total` by `provider` and `secret`, the index of the secret that matched
 * - `fastify_verification_delivery_duration_seconds` by `provider` and `outcome`
 * - `fastify_verification_store_duration_seconds` by `provider`, `verb` and `result`
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If the registry is invalid, is already in use by another call, or already
 *   has a metric with one of these names.
 * @example const stop = collectMetrics(); app.get('/metrics', () => register.metrics())
 */
export function collectMetrics (options: MetricsOptions = {}): () => void {
  checkOptions('collectMetrics', options, { registry: registryRule })
  const { registry = register } = options
  const previous = collections.get(registry)
  if (previous?.isWhole()) throw new InvalidOption('collectMetrics', 'registry', 'is in use')
  previous?.stop()
  const taken = Object.values(NAMES).find((name) => registry.getSingleMetric(name) !== undefined)
  if (taken !== undefined) throw new InvalidOption('collectMetrics', 'registry', `already has a metric named "${taken}"`)
  const registers = [registry]
  const deliveries = new Counter({
    name: NAMES.deliveries,
    help: 'Number of deliveries by outcome and reason',
    labelNames: ['provider', 'outcome', 'reason'] as const,
    registers
  })
  const matches = new Counter({
    name: NAMES.matches,
    help: 'Number of authentic deliveries by index of the matching secret',
    labelNames: ['provider', 'secret'] as const,
    registers
  })
  const duration = new Histogram({
    name: NAMES.duration,
    help: 'Duration from the arrival of a request to the response',
    labelNames: ['provider', 'outcome'] as const,
    buckets: SECONDS,
    registers
  })
  const store = new Histogram({
    name: NAMES.store,
    help: 'Duration of the calls of delivery stores',
    labelNames: ['provider', 'verb', 'result'] as const,
    buckets: SECONDS,
    registers
  })

  const count = (message: unknown): void => {
    const { provider, outcome, reason, secretIndex, duration: ms } = message as DeliveryReport
    deliveries.inc({ provider, outcome, reason })
    if (secretIndex !== undefined) matches.inc({ provider, secret: secretIndex })
    duration.observe({ provider, outcome }, ms / 1000)
  }
  const time = (message: unknown): void => {
    const { provider, verb, result, duration: ms } = message as StoreReport
    store.observe({ provider, verb, result }, ms / 1000)
  }
  subscribe('fastify-verification:delivery', count)
  subscribe('fastify-verification:store', time)
  const own = new Map<string, unknown>([
    [NAMES.deliveries, deliveries], [NAMES.matches, matches], [NAMES.duration, duration], [NAMES.store, store]
  ])
  const isThere = (name: string): boolean => registry.getSingleMetric(name) === own.get(name)
  const collection = {
    stop () {
      unsubscribe('fastify-verification:delivery', count)
      unsubscribe('fastify-verification:store', time)
      for (const name of own.keys()) if (isThere(name)) registry.removeSingleMetric(name)
      if (collections.get(registry) === collection) collections.delete(registry)
    },
    isWhole: () => [...own.keys()].every(isThere)
  }
  collections.set(registry, collection)
  return collection.stop
}
