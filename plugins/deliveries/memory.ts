import createError from '@fastify/error'
import type { DeliveryStore, StoredReply } from '../lib/delivery-store.js'
import { callback, checkOptions, retention, whole } from '../lib/options.js'
import { createRetentionQueues, type Kept } from '../lib/retention-queues.js'

export interface MemoryDeliveriesOptions {
  /** How many deliveries are remembered at most. Default 100,000. */
  maxEntries?: number | undefined
  /** How long a delivery is remembered while there is room, in seconds. Default 3,600. */
  ttl?: number | undefined
  /** A clock that only goes forward, in milliseconds; for tests. Default `performance.now`. */
  now?: (() => number) | undefined
}

/** There is no room for another delivery, and none may be forgotten yet. */
const StoreFull = createError<[]>('FST_VERIFICATION_STORE_FULL', 'The delivery store is full')

interface Delivery {
  readonly key: string
  readonly fingerprint: string
  readonly token: string
  /** Undefined until it is done. */
  readonly reply?: StoredReply
}

/**
 * Remembers deliveries in this process. A claim under lease, or a delivery that may still come again, is never
 * forgotten: where that leaves no room for another, `claim` throws. Older ones go first-in first-out.
 *
 * @example app.register(aghanimPlugin, { secret, verifyPlayer, deliveries: memoryDeliveries({ ttl: 7200 }) })
 */
export function memoryDeliveries (options: MemoryDeliveriesOptions = {}): DeliveryStore {
  checkOptions('memoryDeliveries', options, { maxEntries: whole(2 ** 24), ttl: retention, now: callback })
  const { maxEntries = 100_000, ttl = 3600, now = () => performance.now() } = options
  const deliveries = new Map<string, Kept<Delivery>>()
  const queues = createRetentionQueues<Delivery>()
  let claims = 0

  const mayGo = ({ since, atLeast }: Kept<Delivery>, time: number): boolean => time - since >= atLeast
  const mustGo = ({ since, atLeast }: Kept<Delivery>, time: number): boolean =>
    time - since >= Math.max(atLeast, ttl * 1000)

  function remember (delivery: Delivery, atLeast: number, time: number): void {
    deliveries.set(delivery.key, queues.put(delivery, atLeast, time))
  }

  function forget (kept: Kept<Delivery>): void {
    queues.take(kept)
    deliveries.delete(kept.item.key)
  }

  /** For each new delivery two old ones are forgotten, so that a busy hour does not stay in memory. */
  function makeRoom (time: number): void {
    for (let times = 0; times < 2; times++) {
      for (const kept of queues.oldest()) if (mustGo(kept, time)) forget(kept)
    }
    if (deliveries.size < maxEntries) return
    const [first] = queues.oldest().filter((kept) => mayGo(kept, time)).sort((one, other) => one.since - other.since)
    if (first === undefined) throw new StoreFull()
    forget(first)
  }

  /** The delivery, while its claim is the token's. */
  function claimed (key: string, token: string): Kept<Delivery> | undefined {
    const kept = deliveries.get(key)
    return kept?.item.token === token ? kept : undefined
  }

  return {
    claim (key, fingerprint, leaseMs) {
      const time = now()
      const kept = deliveries.get(key)
      if (kept !== undefined) {
        const { item: { reply, fingerprint: known } } = kept
        const over = reply === undefined ? mayGo(kept, time) : mustGo(kept, time)
        if (over) forget(kept)
        else if (known !== fingerprint) return { state: 'conflict' }
        else return reply === undefined ? { state: 'running' } : { state: 'done', reply }
      }
      makeRoom(time)
      const token = String(++claims)
      remember({ key, fingerprint, token }, leaseMs, time)
      return { state: 'claimed', token }
    },

    complete (key, token, reply, ttlMs) {
      const kept = claimed(key, token)
      if (kept === undefined) return false
      queues.take(kept)
      remember({ ...kept.item, reply }, ttlMs, now())
      return true
    },

    release (key, token) {
      const kept = claimed(key, token)
      if (kept === undefined || kept.item.reply !== undefined) return false
      forget(kept)
      return true
    }
  }
}
