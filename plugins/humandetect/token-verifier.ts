import { timingSafeEqual } from 'node:crypto'
import type { TObject, TSchema } from '@sinclair/typebox'
import { deliveryId, namespaceOf } from '../lib/idempotency/delivery-id.js'
import type { DeliveryStore } from '../lib/idempotency/store.js'
import { describeError } from '../lib/errors.js'
import type { JsonClient } from './client.js'
import { jsonDataOf } from '../lib/reply.js'
import type { Reason } from '../lib/telemetry.js'
import { compileCheck } from '../lib/validation.js'
import { CLOCK_SLACK, parseDateTime, readClock } from '../lib/signature/fields.js'
import { MAX_TOKEN_BYTES } from './errors.js'

/** The service's result for a genuine token. */
export interface Verdict {
  readonly valid: boolean
  readonly identifier: string
  readonly timestamp: string
  readonly checksum: string
}

/** Kind of a refusal: no usable token, not the expected human, or verification is unavailable. */
export type Refusal = 'token_required' | 'not_human' | 'unavailable'

export interface Refused {
  readonly refusal: Refusal
  readonly reason: Reason
  /** Details for the log only. */
  readonly details?: object
}

export type Finding<V extends Verdict> = { readonly verdict: V } | Refused

/** A token and the requirements that it must meet. */
export interface Inquiry {
  readonly token: unknown
  /** Returns the expected identifier. Called only if there is a token. */
  readonly identify: () => unknown
  /** Handling of a token that is genuine but not `valid`. Default `deny`. */
  readonly onBot?: 'deny' | 'flag' | undefined
}

export type Examine<V extends Verdict> = (inquiry: Inquiry) => Promise<Finding<V>>

interface Rules {
  readonly provider: string
  /** The URL of the service that issues the tokens, independent of the API key. */
  readonly tenant: string
  readonly service: JsonClient
  /** Schema of the service's verdict. Fields that it does not name are dropped. */
  readonly schema: TObject
  /** Schema of the service's 400 response to an unknown token. Any other 400 is a failure. */
  readonly unknownToken: TSchema
  /** Maximum age of a token in seconds. */
  readonly maxAge: number
  /** Maximum time in seconds that a token may be ahead of the clock. */
  readonly skew: number
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number
  /** The store that remembers used verdicts. */
  readonly deliveries: DeliveryStore
}

/** Creates a verifier that asks the service about a token, then checks its identifier, its age and earlier use. */
export function createExaminer<V extends Verdict> (rules: Rules): Examine<V> {
  const { provider, tenant, service, schema, maxAge, skew, now, deliveries } = rules
  const checkUnknown = compileCheck(rules.unknownToken)
  const check = compileCheck(schema)
  const fields = Object.keys(schema.properties)
  const namespace = namespaceOf(provider, tenant)
  const freshFor = (maxAge + skew + CLOCK_SLACK) * 1000

  return async ({ token, identify, onBot }) => {
    if (!isToken(token)) return { refusal: 'token_required', reason: 'token_required' }
    const expected = await identify()
    if (typeof expected !== 'string' || expected === '') return refuse('no_identifier')

    const answer = await service.post({ token }).catch((error: unknown) => ({ failure: describeError(error) }))
    if ('failure' in answer) return fail(answer)
    const { statusCode, body } = answer
    if (statusCode === 400 && checkUnknown(body) === undefined) return refuse('malformed_token')
    if (statusCode !== 200) return fail({ serviceStatus: statusCode })
    const problem = check(body)
    if (problem !== undefined) return fail({ problem })
    const verdict = jsonDataOf(body, fields).data as V
    const time = parseDateTime(verdict.timestamp)
    if (time === undefined) return fail({ problem: '/timestamp: Expected a date and time with an offset' })

    if (!verdict.valid && onBot !== 'flag') return refuse('bot')
    if (!isSame(verdict.identifier, expected)) return refuse('other_identifier')
    const age = (timeOf(now) - time) / 1000
    if (Number.isNaN(age)) return fail({ problem: 'the clock returned an invalid time' }, 'verification_failed')
    if (age > maxAge) return refuse('stale')
    if (age < -skew) return refuse('future')
    // Claimed last, so that only a granted use counts. The claim lasts while the token is fresh and is never released.
    const { key, fingerprint } = deliveryId(namespace, { id: ['checksum', verdict.checksum] })
    try {
      const { state } = await deliveries.claim(key, fingerprint, freshFor)
      return state === 'claimed' ? { verdict } : refuse('used')
    } catch (error) {
      return fail({ failure: describeError(error) }, 'store_unavailable')
    }
  }
}

const refuse = (reason: Reason): Refused => ({ refusal: 'not_human', reason })
const fail = (details: object, reason: Reason = 'service_unavailable'): Refused =>
  ({ refusal: 'unavailable', reason, details })

function timeOf (now: () => number): number {
  try {
    return readClock(now)
  } catch {
    return Number.NaN
  }
}

export function isToken (token: unknown): token is string {
  return typeof token === 'string' && token !== '' && Buffer.byteLength(token) <= MAX_TOKEN_BYTES
}

/** Compares in constant time, and without a conversion that could map different strings to the same bytes. */
function isSame (one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one, 'utf16le'), Buffer.from(other, 'utf16le'))
}
