import { channel } from 'node:diagnostics_channel'
import type { DeliveryStore } from './store.js'
import type { Awaitable } from '../rules.js'
import { isThenable } from '../thenable.js'

/** What a store said: to a claim; whether a claim was still held; or nothing that counts. */
export type StoreResult = 'claimed' | 'running' | 'done' | 'conflict' | 'held' | 'gone' | 'failed'

/** What is published of each call of a delivery store, on the channel `fastify-verification:store`. */
export interface StoreReport {
  /** The provider's name, as its plugin has it. */
  readonly provider: string
  readonly verb: 'claim' | 'complete' | 'release'
  readonly result: StoreResult
  /** In milliseconds. */
  readonly duration: number
}

const calls = channel('fastify-verification:store')

/** The same store; what it is asked, and how long it takes, is published while anybody listens. */
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
