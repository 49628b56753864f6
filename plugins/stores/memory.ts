import { createError } from '@fastify/error'
import type { DeliveryStore, StoredReply } from '../lib/idempotency/store.js'
import { callback, checkOptions, retention, integer } from '../lib/rules.js'
import { createRetentionQueues, type Kept } from './retention-queues.js'

export interface MemoryDeliveriesOptions {
  /**
   * The most deliveries of one tenant that are remembered, up to 8,388,608; of all tenants, a third more. Default
   * 100,000.
   */
  maxEntries?: number | undefined
  /** How long a delivery is remembered while there is room, in seconds. Default 3,600. */
  ttl?: number | undefined
  /** A clock that only goes forward, in milliseconds; for tests. Default `performance.now`. */
  now?: (() => number) | undefined
}

/** There is no room for another delivery, and none may be forgotten yet. */
const StoreFull = createError<[]>(
  'FST_VERIFICATION_STORE_FULL', 'The delivery store is full', 503, Error, false)

// A tenant may have three deliveries here for each free place, so that there is room for another tenant. With a third
// more places than `maxEntries`, one tenant alone has all of `maxEntries` (dynamic thresholds: Choudhury, Hahne, 1998).
const SHARE = 3

interface Delivery extends Kept {
  readonly key: string
  readonly tenant: string | undefined
  readonly fingerprint: string
  readonly token: string
  /** Undefined until it is done. */
  reply: StoredReply | undefined
  /** Whether it is forgotten as soon as it may be. */
  exactly: boolean
}

/**
 * Remembers deliveries in this process. A claim under lease, or a delivery that may still come again, is never
 * forgotten: where that leaves no room for another, `claim` throws. Older ones go first-in first-out. No tenant takes
 * all of the room: the more tenants there are, the less one alone may fill.
 *
 * @example app.register(aghanimPlugin, { secret, verifyPlayer, deliveries: memoryDeliveries({ ttl: 7200 }) })
 */
export function memoryDeliveries (options: MemoryDeliveriesOptions = {}): DeliveryStore {
  checkOptions('memoryDeliveries', options, { maxEntries: integer(2 ** 23), ttl: retention, now: callback })
  const { maxEntries = 100_000, ttl = 3600, now = () => performance.now() } = options
  const deliveries = new Map<string, Delivery>()
  const queues = createRetentionQueues<Delivery>()
  const counts = new Map<string | undefined, number>() // by tenant
  let claims = 0

  const mayGo = ({ since, atLeast }: Delivery, time: number): boolean => time - since >= atLeast
  const mustGo = ({ since, atLeast, exactly }: Delivery, time: number): boolean =>
    time - since >= (exactly ? atLeast : Math.max(atLeast, ttl * 1000))

  function forget (delivery: Delivery): void {
    queues.take(delivery)
    deliveries.delete(delivery.key)
    count(delivery.tenant, -1)
  }

  function count (tenant: string | undefined, change: 1 | -1): void {
    const others = (counts.get(tenant) ?? 0) + change
    if (others === 0) counts.delete(tenant)
    else counts.set(tenant, others)
  }

  const hasRoom = (tenant: string | undefined): boolean =>
    (counts.get(tenant) ?? 0) < (SHARE + 1) * maxEntries - SHARE * deliveries.size

  let time = 0 // of the call that is under way
  const forgetOld = (delivery: Delivery): void => { if (mustGo(delivery, time)) forget(delivery) }

  function makeRoom (tenant: string | undefined): void {
    // Two old ones for each new one, so that a busy hour does not stay in memory.
    queues.eachOldest(forgetOld)
    queues.eachOldest(forgetOld)
    while (!hasRoom(tenant)) {
      let first: Delivery | undefined
      queues.eachOldest((delivery) => {
        if (mayGo(delivery, time) && (first === undefined || delivery.since < first.since)) first = delivery
      })
      if (first === undefined) throw new StoreFull()
      forget(first)
    }
  }

  /** The delivery, while its claim is the token's. */
  function claimed (key: string, token: string): Delivery | undefined {
    const delivery = deliveries.get(key)
    return delivery?.token === token ? delivery : undefined
  }

  return {
    claim (key, fingerprint, leaseMs, tenant) {
      time = now()
      const known = deliveries.get(key)
      if (known !== undefined) {
        const { reply } = known
        const over = reply === undefined ? mayGo(known, time) : mustGo(known, time)
        if (over) forget(known)
        else if (known.fingerprint !== fingerprint) return { state: 'conflict' }
        else return reply === undefined ? { state: 'running' } : { state: 'done', reply }
      }
      makeRoom(tenant)
      const token = String(++claims)
      const delivery = {
        key,
        tenant,
        fingerprint,
        token,
        reply: undefined,
        exactly: false,
        since: time,
        atLeast: leaseMs,
        previous: undefined,
        next: undefined
      }
      queues.put(delivery, leaseMs, time)
      deliveries.set(key, delivery)
      count(tenant, 1)
      return { state: 'claimed', token }
    },

    complete (key, token, reply, ttlMs, exactly = false) {
      const delivery = claimed(key, token)
      if (delivery === undefined) return false
      queues.take(delivery)
      delivery.reply = reply
      delivery.exactly = exactly
      queues.put(delivery, ttlMs, now())
      return true
    },

    release (key, token) {
      const delivery = claimed(key, token)
      if (delivery === undefined || delivery.reply !== undefined) return false
      forget(delivery)
      return true
    }
  }
}
