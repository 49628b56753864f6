import { errorClass } from '../lib/errors.js'
import type { DeliveryStore, StoredReply } from '../lib/idempotency/store.js'
import { callback, checkOptions, integer, retention } from '../lib/rules.js'

export interface MemoryDeliveriesOptions {
  /**
   * Maximum number of remembered deliveries of one tenant, up to 8,388,608. The maximum for all tenants together is a
   * third higher. Default 100,000.
   */
  maxEntries?: number | undefined
  /** Duration in seconds for which a delivery is remembered while there is room. Default 3,600. */
  ttl?: number | undefined
  /** Monotonic clock in milliseconds, for tests. Default `performance.now`. */
  now?: (() => number) | undefined
}

/** Error of a claim when the store is full and may not forget any delivery yet. */
const StoreFull = errorClass('FST_VERIFICATION_STORE_FULL', { hasStack: false })

// Maximum number of deliveries that a tenant may hold for each free place, so that room is left for another tenant. The
// store has a third more places than `maxEntries`, so a single tenant can use all of `maxEntries` (dynamic thresholds:
// Choudhury, Hahne, 1998).
const SHARE = 3

interface Delivery extends Kept {
  readonly key: string
  readonly tenant: string | undefined
  readonly fingerprint: string
  readonly token: string
  /** The stored response. Undefined until the delivery is completed. */
  reply: StoredReply | undefined
  /** True if the delivery is forgotten as soon as `atLeast` is over. */
  exactly: boolean
}

/**
 * Creates a store that remembers deliveries in this process. It never forgets a claim under lease or a delivery that
 * may still be retried; if that leaves no room for another delivery, `claim` throws. Older deliveries are forgotten
 * first-in first-out. No tenant can fill the whole store: the more tenants there are, the smaller the share of each.
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

  let time = 0 // of the current call
  const forgetOld = (delivery: Delivery): void => { if (mustGo(delivery, time)) forget(delivery) }

  function makeRoom (tenant: string | undefined): void {
    // Removes two old deliveries for each new one, so that the store shrinks after a busy hour.
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

  /** Returns the delivery if the token holds its claim. */
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

/** An item of the queues. Only the queues write these fields. */
export interface Kept {
  /** Time of insertion in milliseconds. */
  since: number
  /** Minimum retention in milliseconds. */
  atLeast: number
  previous: Kept | undefined
  next: Kept | undefined
}

export interface RetentionQueues<Item extends Kept> {
  put: (item: Item, atLeast: number, time: number) => void
  take: (item: Item) => void
  /** Calls `visit` with the oldest item of each queue. `visit` may take the item out. */
  eachOldest: (visit: (item: Item) => void) => void
}

/**
 * Creates one queue for each retention period, so that within a queue the oldest item is the first that may be removed.
 * A `Map` would be too slow: the more of its first entries are deleted, the longer it takes to find the first one left.
 */
export function createRetentionQueues<Item extends Kept> (): RetentionQueues<Item> {
  const queues = new Map<number, { first: Item | undefined, last: Item | undefined }>()

  return {
    put (item, atLeast, time) {
      let queue = queues.get(atLeast)
      if (queue === undefined) queues.set(atLeast, queue = { first: undefined, last: undefined })
      item.since = time
      item.atLeast = atLeast
      item.previous = queue.last
      item.next = undefined
      if (queue.last === undefined) queue.first = item
      else queue.last.next = item
      queue.last = item
    },
    take (item) {
      const { atLeast, previous, next } = item
      const queue = queues.get(atLeast)!
      if (previous === undefined) queue.first = next as Item | undefined
      else previous.next = next
      if (next === undefined) queue.last = previous as Item | undefined
      else next.previous = previous
      if (queue.first === undefined) queues.delete(atLeast)
      item.previous = item.next = undefined // a removed item that is still in use must not keep later ones in memory
    },
    eachOldest (visit) {
      for (const { first } of queues.values()) visit(first!)
    }
  }
}
