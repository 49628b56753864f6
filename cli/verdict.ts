import type { Outcome } from './connection.js'
import type { Order } from './order.js'
import type { Delivery } from './senders.js'
import { changeOf } from './variants.js'

/** What a delivery should be answered with. */
export type Expectation = 'accepted' | 'replayed' | 'refused'

export const WORDS: Readonly<Record<Expectation, string>> = {
  accepted: '2xx',
  replayed: '2xx with idempotency-replayed: true',
  refused: '403'
}

/** One delivery that was sent, and what came of it. */
export interface Result {
  /** Counted from 1. */
  readonly number: number
  /** 2 for the second time that a duplicate is sent. */
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

export function isExpected (expectation: Expectation, outcome: Outcome): boolean {
  if ('failure' in outcome) return false
  const { status, headers } = outcome
  if (expectation === 'refused') return status === 403
  return status >= 200 && status < 300 && (expectation === 'accepted' || headers['idempotency-replayed'] === 'true')
}
