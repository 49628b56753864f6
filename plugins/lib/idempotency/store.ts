import type { FastifyBaseLogger } from 'fastify'
import type { Awaitable } from '../rules.js'

/** What a delivery was answered with: a 2xx and its JSON text, if it has one. */
export interface StoredReply {
  readonly statusCode: number
  readonly body?: string | undefined
}

/**
 * What a store says to a claim: it is yours until the lease ends, and `token` proves it; someone has it; it was done
 * and answered so; or its id was used for something else.
 */
export type Claim =
  { readonly state: 'claimed', readonly token: string } | { readonly state: 'running' } |
  { readonly state: 'done', readonly reply: StoredReply } | { readonly state: 'conflict' }

/**
 * Remembers which deliveries are being handled and which are done. Each verb is atomic, and throws (or rejects) where
 * the store cannot tell; one that takes longer than a second counts as failed.
 */
export interface DeliveryStore {
  /**
   * Takes `key` for `leaseMs` unless it is held or done. `fingerprint` stands for the content: another one under the
   * same key is a conflict. Each claim has a token of its own, so that one whose lease is over can change nothing.
   * `tenant` says whose delivery it is, for a store that divides its room; it is a part of the key already.
   */
  claim: (key: string, fingerprint: string, leaseMs: number, tenant?: string) => Awaitable<Claim>
  /**
   * Remembers the reply for `ttlMs` or longer: until then the same delivery may come again. With `exactly`, for no
   * longer: from then on what looks the same is another delivery. False if `token` does not hold the claim any more.
   */
  complete: (
    key: string, token: string, reply: StoredReply, ttlMs: number, exactly?: boolean
  ) => Awaitable<boolean>
  /** Gives a claim back, to be taken again. False if `token` does not hold it, or it is done. */
  release: (key: string, token: string) => Awaitable<boolean>
  /** Called when a plugin that uses the store is registered: what its operator should know goes to this log. */
  watch?: ((log: FastifyBaseLogger) => Awaitable<void>) | undefined
}
