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
}

export type HandleOnce<Event> =
  (id: DeliveryId, event: Event, request: FastifyRequest, answered: (answer: Answer) => void) => void

/**
 * Runs the handler for a delivery that nobody has handled or is handling. What it ends with decides, however late: a
 * 2xx completes the claim before it is sent, anything else gives the claim back for the sender's next try.
 */
export function createOnce<Event> (run: RunHandler<Event>, provider: string, rules: OnceRules): HandleOnce<Event> {
  const { deliveries, lease, replayWindow } = rules

  return (id, event, request, answered) => {
    const { log } = request
    consult(() => deliveries.claim(id.key, id.fingerprint, lease), (claim) => {
      if (claim.state !== 'claimed') return answered(answerTo(claim, log))
      run(event, request, (answer, late) => {
        settle(id.key, claim.token, answer, log, () => { if (!late) answered(answer) })
      }, answered)
    }, (error) => {
      tell(log, 'error', { provider, failure: describeError(error) }, 'delivery store unavailable')
      answered(STORE_UNAVAILABLE)
    })
  }

  function answerTo (claim: Exclude<Claim, { state: 'claimed' }>, log: FastifyBaseLogger): Answer {
    if (claim.state === 'done') {
      tell(log, 'info', { provider }, 'delivery was handled before')
      return { ...claim.reply, replayed: true }
    }
    if (claim.state === 'running') {
      tell(log, 'info', { provider }, 'delivery is being handled')
      return IN_PROGRESS
    }
    tell(log, 'warn', { provider }, 'id of a delivery was used for other content')
    return ID_REUSED
  }

  /** Whatever the store says to it, the work is done or undone: the sender is told so. */
  function settle (key: string, token: string, answer: Answer, log: FastifyBaseLogger, settled: () => void): void {
    const { statusCode, body } = answer
    const done = statusCode < 300
    consult(() => done
      ? deliveries.complete(key, token, { statusCode, body }, replayWindow)
      : deliveries.release(key, token), (held) => {
      if (!held) tell(log, 'warn', { provider, statusCode }, 'delivery was handled for longer than its lease')
      settled()
    }, (error) => {
      const message = done ? 'delivery was handled, but this cannot be stored' : 'claim cannot be given back'
      tell(log, 'error', { provider, statusCode, failure: describeError(error) }, message)
      settled()
    })
  }
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
