import { timingSafeEqual } from 'node:crypto'
import type { TObject, TSchema } from '@sinclair/typebox'
import { deliveryId, namespaceOf } from '../lib/idempotency/delivery-id.js'
import type { DeliveryStore } from '../lib/idempotency/store.js'
import { describeError } from '../lib/errors.js'
import type { JsonClient } from './client.js'
import { jsonDataOf } from '../lib/json-data.js'
import type { Reason } from '../lib/telemetry.js'
import { compileCheck } from '../lib/validation.js'
import { CLOCK_SLACK, parseDateTime, readClock } from '../lib/signature/timestamp.js'

/** What a service says of a genuine token. */
export interface Verdict {
  readonly valid: boolean
  readonly identifier: string
  readonly timestamp: string
  readonly checksum: string
}

/** Why nobody is let in: no token to ask about, not the human who was expected, or nobody to ask. */
export type Refusal = 'token_required' | 'not_human' | 'unavailable'

export interface Refused {
  readonly refusal: Refusal
  readonly reason: Reason
  /** For the log only. */
  readonly details?: object
}

export type Finding<V extends Verdict> = { readonly verdict: V } | Refused

/** What a token must show. */
export interface Inquiry {
  readonly token: unknown
  /** What the token must be about; asked once there is a token. */
  readonly identify: () => unknown
  /** What becomes of a token that is not `valid`, but genuine otherwise. Default `deny`. */
  readonly onBot?: 'deny' | 'flag' | undefined
}

export type Examine<V extends Verdict> = (inquiry: Inquiry) => Promise<Finding<V>>

interface Rules {
  readonly provider: string
  /** The service whose tokens these are: where it is, whichever key it is asked with. */
  readonly tenant: string
  readonly service: JsonClient
  /** Of the service's verdict; what it does not name is dropped. */
  readonly schema: TObject
  /** Of what the service answers with 400 if it does not know a token. Any other 400 is a failure. */
  readonly unknownToken: TSchema
  /** In seconds. */
  readonly maxAge: number
  /** In seconds. */
  readonly skew: number
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number
  /** Where it is kept which verdicts were used. */
  readonly deliveries: DeliveryStore
}

export const MAX_TOKEN_BYTES = 8192 // bytes

/** Asks a service about tokens, and checks what it leaves to the one who asks: whose, how old, and used before. */
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
    if (Number.isNaN(age)) return fail({ problem: 'the clock is broken' }, 'verification_failed')
    if (age > maxAge) return refuse('stale')
    if (age < -skew) return refuse('future')
    // Last, so that only a use that is granted counts. Held for as long as the token is fresh, never to be given back.
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

/** In constant time, and without a conversion that would make different texts the same bytes. */
function isSame (one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one, 'utf16le'), Buffer.from(other, 'utf16le'))
}
