import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { DeliveryId } from './delivery-id.js'
import type { Claim, DeliveryStore } from './delivery-store.js'
import { describeError, ID_REUSED, IN_PROGRESS, STORE_UNAVAILABLE, type Answer } from './errors.js'
import type { RunHandler } from './handler.js'
import { tell } from './log.js'
import type { Awaitable } from './options.js'
import { isThenable } from './thenable.js'

export interface OnceRules {
  readonly deliveries: DeliveryStore
  /** How long a claim is held for a handler that does not end, in milliseconds. */
  readonly lease: number
  /** How long the same delivery may come again, in milliseconds. */
  readonly replayWindow: number
  /** Whether what comes after that is another one, even if it looks the same. */
  readonly exactly?: boolean
}

interface About { readonly provider: string, readonly delivery: string }

export type HandleOnce<Event> =
  (id: DeliveryId, event: Event, request: FastifyRequest, answered: (answer: Answer) => void) => void

/**
 * Runs the handler for a delivery that nobody has handled or is handling. What it ends with decides, however late: a
 * 2xx completes the claim before it is sent, anything else gives the claim back for the sender's next try.
 */
export function createOnce<Event> (run: RunHandler<Event>, provider: string, rules: OnceRules): HandleOnce<Event> {
  const { deliveries, lease, replayWindow, exactly } = rules

  return ({ key, fingerprint }, event, request, answered) => {
    const { log } = request
    const about = { provider, delivery: key }
    consult(() => deliveries.claim(key, fingerprint, lease), (claim) => {
      if (claim.state !== 'claimed') return answered(answerTo(claim))
      run(event, request, (answer, late) => {
        settle(claim.token, answer, about, log, () => { if (!late) answered(answer) })
      }, answered)
    }, (error) => {
      answered({ ...STORE_UNAVAILABLE, details: { failure: describeError(error) }, thrown: { value: error } })
    })
  }

  /** Whatever the store says to it, the work is done or it is not, and that is what the sender is told. */
  function settle (token: string, answer: Answer, about: About, log: FastifyBaseLogger, settled: () => void): void {
    const { statusCode, body } = answer
    const done = statusCode < 300
    consult(() => done
      ? deliveries.complete(about.delivery, token, { statusCode, body }, replayWindow, exactly)
      : deliveries.release(about.delivery, token), (held) => {
      if (!held) tell(log, 'warn', { ...about, statusCode }, 'delivery was handled, but its claim was gone')
      settled()
    }, (error) => {
      const message = done ? 'delivery was handled, but its store does not confirm it' : 'claim cannot be given back'
      tell(log, 'error', { ...about, statusCode, failure: describeError(error) }, message)
      settled()
    })
  }
}

const ANSWERS = { running: IN_PROGRESS, conflict: ID_REUSED }

function answerTo (claim: Exclude<Claim, { state: 'claimed' }>): Answer {
  return claim.state === 'done' ? { ...claim.reply, outcome: 'duplicate', reason: 'replayed' } : ANSWERS[claim.state]
}

/** Goes on at once where the store answers at once. */
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
