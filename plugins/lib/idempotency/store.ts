import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { createError } from '@fastify/error'
import { channel } from 'node:diagnostics_channel'
import type { Awaitable, Rule } from '../rules.js'
import { memoryDeliveries } from '../../stores/memory.js'
import { describeError } from '../errors.js'
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

const InvalidClaim = createError<[]>('FST_VERIFICATION_INVALID_CLAIM', 'The delivery store answered with no claim')
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
    safeLog(log, 'warn', { failure: describeError(error) }, 'delivery store cannot be watched')
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
