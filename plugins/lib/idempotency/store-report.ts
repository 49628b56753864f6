import { channel } from 'node:diagnostics_channel'
import type { DeliveryStore } from './store.js'
import type { Awaitable } from '../rules.js'
import { isThenable } from '../thenable.js'

/**
 * The result of a store call: the state of a claim, or `held` or `gone` depending on whether a claim was still held, or
 * `failed`.
 */
export type StoreResult = 'claimed' | 'running' | 'done' | 'conflict' | 'held' | 'gone' | 'failed'

/** The report of one call of a delivery store, published on the channel `fastify-verification:store`. */
export interface StoreReport {
  /** Name of the provider, as its plugin has it. */
  readonly provider: string
  readonly verb: 'claim' | 'complete' | 'release'
  readonly result: StoreResult
  /** Duration of the call in milliseconds. */
  readonly duration: number
}

const calls = channel('fastify-verification:store')

/** Wraps a store so that each call, its result and its duration are published while the channel has subscribers. */
export function reportCalls (provider: string, store: DeliveryStore): DeliveryStore {
  function timed<T> (
    verb: StoreReport['verb'], ask: () => Awaitable<T>, resultOf: (value: T) => StoreResult
  ): Awaitable<T> {
    const since = performance.now()
    const tell = (result: StoreResult): void => {
      calls.publish({ provider, verb, result, duration: performance.now() - since } satisfies StoreReport)
    }
    const told = (value: T): T => {
      tell(resultOf(value))
      return value
    }
    const failed = (error: unknown): never => {
      tell('failed')
      throw error
    }
    let value
    try {
      value = ask()
    } catch (error) {
      return failed(error)
    }
    return isThenable(value) ? value.then(told, failed) : told(value)
  }
  const heldOf = (held: boolean): StoreResult => held ? 'held' : 'gone'

  return {
    claim: (...args) => calls.hasSubscribers
      ? timed('claim', () => store.claim(...args), ({ state }) => state)
      : store.claim(...args),
    complete: (...args) => calls.hasSubscribers
      ? timed('complete', () => store.complete(...args), heldOf)
      : store.complete(...args),
    release: (...args) => calls.hasSubscribers
      ? timed('release', () => store.release(...args), heldOf)
      : store.release(...args)
  }
}
