import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { createError } from '@fastify/error'
import { memoryDeliveries } from '../../stores/memory.js'
import type { Claim, DeliveryStore, StoredReply } from './store.js'
import { describeError } from '../errors.js'
import { safeLog } from '../log.js'
import type { Awaitable, Rule } from '../rules.js'
import { reportCalls } from './store-report.js'
import { isThenable, toPromise } from '../thenable.js'
import { createTimeLimit } from '../time-limit.js'

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
