import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { channel } from 'node:diagnostics_channel'
import type { Awaitable, Rule } from '../rules.js'
import { memoryDeliveries } from '../../stores/memory.js'
import { describeError, errorClass, ID_REUSED, IN_PROGRESS, type Answer } from '../errors.js'
import type { DeliveryId } from './delivery-id.js'
import { safeLog } from '../telemetry.js'
import { createTimeLimit, isThenable, toPromise } from '../timers.js'

/** The stored response to a delivery: a 2xx status and its JSON string, if it has one. */
export interface StoredReply {
  readonly statusCode: number
  readonly body?: string | undefined
}

/**
 * The result of claiming a delivery. `claimed`: the caller holds it until the lease ends, and `token` proves it.
 * `running`: another caller holds it. `done`: it was handled, with this response. `conflict`: its id was used for
 * something else.
 */
export type Claim =
  { readonly state: 'claimed', readonly token: string } | { readonly state: 'running' } |
  { readonly state: 'done', readonly reply: StoredReply } | { readonly state: 'conflict' }

/**
 * Records which deliveries are being handled and which are done. Each method is atomic, and throws or rejects if the
 * store cannot tell. A call that takes longer than 1 second counts as failed.
 */
export interface DeliveryStore {
  /**
   * Claims `key` for `leaseMs` milliseconds unless it is held or done. `fingerprint` stands for the content: a
   * different one under the same key is a conflict. Each claim has its own token, so that a claim whose lease has ended
   * can change nothing. `tenant` is the owner of the delivery, for a store that divides its capacity; it is already
   * part of the key.
   */
  claim: (key: string, fingerprint: string, leaseMs: number, tenant?: string) => Awaitable<Claim>
  /**
   * Stores the response for `ttlMs` milliseconds or longer, during which the same delivery may be sent again. With
   * `exactly`, for no longer: after that, a delivery that looks the same is another one. Returns false if `token` no
   * longer holds the claim.
   */
  complete: (
    key: string, token: string, reply: StoredReply, ttlMs: number, exactly?: boolean
  ) => Awaitable<boolean>
  /** Releases a claim, so that it can be claimed again. Returns false if `token` does not hold it, or it is done. */
  release: (key: string, token: string) => Awaitable<boolean>
  /** Logs what the operator should know about the store. Called when a plugin that uses the store is registered. */
  watch?: ((log: FastifyBaseLogger) => Awaitable<void>) | undefined
}

const InvalidClaim = errorClass('FST_VERIFICATION_INVALID_CLAIM')
const STORE_TIMEOUT = 1000

export const deliveryStore: Rule = {
  accepts: (value) => ['claim', 'complete', 'release'].every((verb) => typeof Object(value)[verb] === 'function'),
  expects: 'must be a delivery store'
}

/**
 * Wraps the store of a plugin, by default an in-memory store of its own, so that the plugin can rely on it. No call
 * takes longer than 1 second, and a claim is valid or an error. A claim that arrives after that time is released.
 */
export function guardStore (
  scope: FastifyInstance, provider: string, store: DeliveryStore = memoryDeliveries()
): DeliveryStore {
  const inTime = createTimeLimit(STORE_TIMEOUT)
  const wait = <T>(result: Awaitable<T>): Awaitable<T> => isThenable(result) ? inTime(result) : result

  // Not in an onReady hook: if a hook of the host application hung, Fastify would name ours, the last of an inner
  // scope.
  if (store.watch !== undefined) scope.after(() => { watch(store, scope.log) })

  async function giveBack (key: string, token: string): Promise<void> {
    try {
      await store.release(key, token)
    } catch {} // the claim ends with its lease
  }

  return reportCalls(provider, {
    claim (key, fingerprint, leaseMs, tenant) {
      const claim = store.claim(key, fingerprint, leaseMs, tenant)
      if (!isThenable(claim)) return readClaim(claim)
      return inTime(toPromise(claim).then(readClaim), (late) => {
        if (late.state === 'claimed') giveBack(key, late.token)
      })
    },
    complete: (key, token, reply, ttlMs, exactly) => wait(store.complete(key, token, reply, ttlMs, exactly)),
    release: (key, token) => wait(store.release(key, token))
  })
}

async function watch (store: DeliveryStore, log: FastifyBaseLogger): Promise<void> {
  try {
    await store.watch?.(log)
  } catch (error) {
    safeLog(log, 'warn', { failure: describeError(error) }, 'cannot observe the delivery store')
  }
}

function readClaim (claim: unknown): Claim {
  const { state, token, reply } = Object(claim) as { state?: unknown, token?: unknown, reply?: unknown }
  const valid = state === 'running' || state === 'conflict' ||
    (state === 'claimed' && typeof token === 'string') || (state === 'done' && isReply(reply))
  if (!valid) throw new InvalidClaim()
  return claim as Claim
}

function isReply (reply: unknown): reply is StoredReply {
  const { statusCode, body } = Object(reply) as Record<string, unknown>
  return Number.isInteger(statusCode) && (statusCode as number) >= 200 && (statusCode as number) < 300 &&
    (body === undefined || typeof body === 'string')
}

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
function reportCalls (provider: string, store: DeliveryStore): DeliveryStore {
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
    return value instanceof Promise ? value.then(told, failed) : told(value)
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

export interface IdempotencyRules {
  readonly deliveries: DeliveryStore
  /** Duration in milliseconds for which a claim is held if its handler does not end. */
  readonly lease: number
  /** Duration in milliseconds for which the same delivery may be sent again. */
  readonly replayWindow: number
  /** True if a delivery after that time counts as another one, even if it looks the same. */
  readonly exactly?: boolean
}

/** The claims that are held of one delivery, one for each of its ids. */
export interface HeldClaim {
  readonly state: 'claimed'
  readonly claims: readonly { readonly key: string, readonly token: string }[]
}

type RefusedClaim = Exclude<Claim, { state: 'claimed' }>

/** The claims of a provider's deliveries. */
export interface Claims {
  /**
   * Claims a delivery under all of its ids, several if several secrets may have signed it. It is handled only if it is
   * new under all of them. Throws or rejects if the store does.
   */
  readonly claim: (ids: readonly DeliveryId[], tenant: string) => Awaitable<HeldClaim | RefusedClaim>
  /**
   * Completes the claims of a delivery with a 2xx response, and releases those of any other. Neither throws nor
   * rejects: the sender gets the outcome of the handler whatever the store answers, since the work is done or not.
   */
  readonly settle: (held: HeldClaim, answer: Answer, log: FastifyBaseLogger) => Awaitable<void>
}

export function createClaims (provider: string, rules: IdempotencyRules): Claims {
  const { deliveries, lease, replayWindow, exactly } = rules

  async function claimEach (ids: readonly DeliveryId[], tenant: string): Promise<HeldClaim | RefusedClaim> {
    const claims: { key: string, token: string }[] = []
    try {
      for (const { key, fingerprint } of ids) {
        const claim = await deliveries.claim(key, fingerprint, lease, tenant)
        if (claim.state !== 'claimed') {
          await releaseEach(claims)
          return claim
        }
        claims.push({ key, token: claim.token })
      }
      return { state: 'claimed', claims }
    } catch (error) {
      await releaseEach(claims)
      throw error
    }
  }

  async function releaseEach (claims: HeldClaim['claims']): Promise<void> {
    for (const { key, token } of claims) {
      try {
        await deliveries.release(key, token)
      } catch {} // the claim ends with its lease
    }
  }

  return {
    claim (ids, tenant) {
      if (ids.length > 1) return claimEach(ids, tenant)
      const { key, fingerprint } = ids[0]!
      const claim = deliveries.claim(key, fingerprint, lease, tenant)
      return claim instanceof Promise ? claim.then((claim) => heldBy(key, claim)) : heldBy(key, claim)
    },
    settle ({ claims }, { statusCode, body }, log) {
      const done = statusCode < 300
      const about = { provider, delivery: claims[0]!.key, statusCode }
      const settled = (held: boolean): void => {
        if (!held) safeLog(log, 'warn', about, 'delivery was handled, but its claim was lost')
      }
      const failed = (error: unknown): void => {
        const message = done ? 'delivery was handled, but its store did not confirm it' : 'cannot release the claim'
        safeLog(log, 'error', { ...about, failure: describeError(error) }, message)
      }
      try {
        const held = forEachClaim(claims, ({ key, token }) => done
          ? deliveries.complete(key, token, { statusCode, body }, replayWindow, exactly)
          : deliveries.release(key, token))
        return held instanceof Promise ? held.then(settled, failed) : settled(held)
      } catch (error) {
        failed(error)
      }
    }
  }
}

function heldBy (key: string, claim: Claim): HeldClaim | RefusedClaim {
  return claim.state === 'claimed' ? { state: 'claimed', claims: [{ key, token: claim.token }] } : claim
}

/**
 * Calls a store method for each claim and returns true if all were held. Needs no promise for one claim of a
 * synchronous store.
 */
function forEachClaim (
  claims: HeldClaim['claims'], method: (claim: HeldClaim['claims'][number]) => Awaitable<boolean>
): Awaitable<boolean> {
  if (claims.length === 1) return method(claims[0]!)
  return Promise.all(claims.map(async (claim) => method(claim))).then((all) => all.every(Boolean))
}

/** Returns the response to a delivery that is not handled: it is being handled, was handled, or reuses an id. */
export function answerToClaim (claim: RefusedClaim): Answer {
  if (claim.state === 'done') return { ...claim.reply, outcome: 'duplicate', reason: 'replayed' }
  return claim.state === 'running' ? IN_PROGRESS : ID_REUSED
}
