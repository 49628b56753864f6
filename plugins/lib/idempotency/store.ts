import type { FastifyBaseLogger } from 'fastify'
import type { Awaitable } from '../rules.js'

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
