import type { Outcome } from './connection.js'
import type { Order } from './order.js'
import type { Delivery } from './providers.js'
import { changeOf } from './variants.js'

/** The expected response to a delivery. */
export type Expectation = 'accepted' | 'replayed' | 'refused'

/** Describes an expectation of an order. */
export function wordsFor ({ refusalStatus }: Pick<Order, 'refusalStatus'>, expectation: Expectation): string {
  if (expectation === 'refused') return String(refusalStatus)
  return expectation === 'accepted' ? '2xx' : '2xx with idempotency-replayed: true'
}

/** A delivery that was sent, with its outcome. */
export interface Result {
  /** Number of the delivery, counted from 1. */
  readonly number: number
  /** Number of the attempt: 2 for the second request of a duplicate. */
  readonly attempt: 1 | 2
  readonly delivery: Delivery
  readonly outcome: Outcome
  readonly expectation: Expectation
  readonly expected: boolean
}

export function expectationOf ({ variant, sample }: Pick<Order, 'variant' | 'sample'>, attempt: 1 | 2): Expectation {
  const { twice } = changeOf(variant)
  if (sample.refused || (variant !== 'valid' && !twice)) return 'refused'
  return attempt === 1 ? 'accepted' : sample.again
}

export function isExpected (
  { refusalStatus }: Pick<Order, 'refusalStatus'>, expectation: Expectation, outcome: Outcome
): boolean {
  if ('failure' in outcome) return false
  const { status, headers } = outcome
  if (expectation === 'refused') return status === refusalStatus
  return status >= 200 && status < 300 && (expectation === 'accepted' || headers['idempotency-replayed'] === 'true')
}
