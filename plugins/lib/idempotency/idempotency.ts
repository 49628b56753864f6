import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { DeliveryId } from './delivery-id.js'
import type { Claim, DeliveryStore } from './store.js'
import { describeError, ID_REUSED, IN_PROGRESS, STORE_UNAVAILABLE, type Answer } from '../errors.js'
import type { RunHandler } from '../handler.js'
import { safeLog } from '../telemetry.js'
import type { Awaitable } from '../rules.js'
import { isThenable } from '../timers.js'

export interface IdempotencyRules {
  readonly deliveries: DeliveryStore
  /** Duration in milliseconds for which a claim is held if its handler does not end. */
  readonly lease: number
  /** Duration in milliseconds for which the same delivery may be sent again. */
  readonly replayWindow: number
  /** True if a delivery after that time counts as another one, even if it looks the same. */
  readonly exactly?: boolean
}

/** The ids by which a store knows a delivery, and its tenant. */
export interface Known {
  /**
   * Ids of the delivery, several if several secrets may have signed it. It is handled only if it is new under all of
   * them.
   */
  readonly ids: readonly DeliveryId[]
  readonly tenant: string
}

export type IdempotentHandler<Event> =
  (known: Known, event: Event, request: FastifyRequest, answered: (answer: Answer) => void) => void

interface About { readonly provider: string, readonly delivery: string }
interface Held { readonly key: string, readonly token: string }
interface Claimed { readonly held: readonly Held[] }

/**
 * Makes a function that runs the handler for a delivery that is neither handled nor being handled. The outcome decides,
 * however late: a 2xx completes the claim before the response is sent, anything else releases it for the sender's
 * retry.
 */
export function createIdempotentHandler<Event> (
  run: RunHandler<Event>, provider: string, rules: IdempotencyRules
): IdempotentHandler<Event> {
  const { deliveries, lease, replayWindow, exactly } = rules

  return (known, event, request, answered) => {
    const { log } = request
    const about = { provider, delivery: known.ids[0]!.key }
    consult(() => claimAll(known), (claim) => {
      if (!('held' in claim)) return answered(answerTo(claim))
      run(event, request, (answer, late) => {
        settle(claim.held, answer, about, log, () => { if (!late) answered(answer) })
      }, answered)
    }, (error) => {
      answered({ ...STORE_UNAVAILABLE, details: { failure: describeError(error) }, thrown: { value: error } })
    })
  }

  function claimAll ({ ids, tenant }: Known): Awaitable<Refused | Claimed> {
    if (ids.length > 1) return claimEach(ids, tenant)
    const { key, fingerprint } = ids[0]!
    const claim = deliveries.claim(key, fingerprint, lease, tenant)
    const read = (claim: Claim) => claim.state === 'claimed' ? { held: [{ key, token: claim.token }] } : claim
    return isThenable(claim) ? claim.then(read) : read(claim)
  }

  async function claimEach (ids: readonly DeliveryId[], tenant: string): Promise<Refused | Claimed> {
    const held: Held[] = []
    try {
      for (const { key, fingerprint } of ids) {
        const claim = await deliveries.claim(key, fingerprint, lease, tenant)
        if (claim.state !== 'claimed') {
          await giveBack(held)
          return claim
        }
        held.push({ key, token: claim.token })
      }
      return { held }
    } catch (error) {
      await giveBack(held)
      throw error
    }
  }

  async function giveBack (held: readonly Held[]): Promise<void> {
    for (const { key, token } of held) {
      try {
        await deliveries.release(key, token)
      } catch {} // the claim ends with its lease
    }
  }

  /**
   * Completes or releases the claims. The sender gets the outcome of the handler whatever the store answers, since the
   * work is done or it is not.
   */
  function settle (
    held: readonly Held[], answer: Answer, about: About, log: FastifyBaseLogger, settled: () => void
  ): void {
    const { statusCode, body } = answer
    const done = statusCode < 300
    consult(() => each(held, ({ key, token }) => done
      ? deliveries.complete(key, token, { statusCode, body }, replayWindow, exactly)
      : deliveries.release(key, token)), (all) => {
      if (!all) safeLog(log, 'warn', { ...about, statusCode }, 'delivery was handled, but its claim was gone')
      settled()
    }, (error) => {
      const message = done ? 'delivery was handled, but its store does not confirm it' : 'claim cannot be given back'
      safeLog(log, 'error', { ...about, statusCode, failure: describeError(error) }, message)
      settled()
    })
  }
}

type Refused = Exclude<Claim, { state: 'claimed' }>
const ANSWERS = { running: IN_PROGRESS, conflict: ID_REUSED }

function answerTo (claim: Refused): Answer {
  return claim.state === 'done' ? { ...claim.reply, outcome: 'duplicate', reason: 'replayed' } : ANSWERS[claim.state]
}

/**
 * Calls a store method for each claim and returns true if all were held. Needs no promise for one claim of a
 * synchronous store.
 */
function each (held: readonly Held[], verb: (one: Held) => Awaitable<boolean>): Awaitable<boolean> {
  if (held.length === 1) return verb(held[0]!)
  return Promise.all(held.map(async (one) => verb(one))).then((all) => all.every(Boolean))
}

/** Calls a store and passes on its result, synchronously if the store is synchronous. */
function consult<T> (ask: () => Awaitable<T>, answered: (value: T) => void, failed: (error: unknown) => void): void {
  let value: Awaitable<T>
  try {
    value = ask()
  } catch (error) {
    return failed(error)
  }
  if (isThenable(value)) value.then(answered, failed)
  else answered(value)
}
