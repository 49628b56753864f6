import type { FastifyBaseLogger } from 'fastify'
import { randomUUID } from 'node:crypto'
import { CLAIM, COMPLETE, RELEASE, type Script } from './redis-scripts.js'
import type { Claim, DeliveryStore, StoredReply } from '../lib/idempotency/store.js'
import { describeError, errorClass } from '../lib/errors.js'
import { safeLog } from '../lib/telemetry.js'
import { string, checkOptions, required, retention, integer, type Rule } from '../lib/rules.js'
import { createTimeLimit } from '../lib/timers.js'

/** The members of an `ioredis` client or cluster that the store uses. */
export interface RedisClient {
  readonly status: string
  eval: (script: string, numkeys: number, ...args: string[]) => Promise<unknown>
  evalsha: (sha1: string, numkeys: number, ...args: string[]) => Promise<unknown>
  info: (section: string) => Promise<string>
  on: (event: 'ready' | 'error', listener: (error?: unknown) => void) => unknown
}

export interface RedisDeliveriesOptions {
  /** An `ioredis` client or cluster. The store does not close it. */
  client: RedisClient
  /** Prefix of every key. Default `fastify-verification:`. */
  prefix?: string | undefined
  /** Duration in seconds for which a delivery is remembered. Default 345,600: 96 hours, longer than senders retry. */
  ttl?: number | undefined
  /** Maximum time in milliseconds for one call to Redis, up to 1,000. Default 250. */
  timeout?: number | undefined
}

/** Error of a claim when Redis is not connected or does not respond. */
const StoreUnreachable = errorClass('FST_VERIFICATION_STORE_UNREACHABLE', { hasStack: false })

const DISCONNECTED: ReadonlySet<string> = new Set(['close', 'reconnecting', 'disconnecting', 'end'])
// Number of consecutive unanswered calls after which only one claim at a time is sent, to probe whether Redis is back.
// The client keeps every call in memory for as long as it waits for the reply.
const MAX_UNANSWERED = 100

const redisClient: Rule = {
  accepts: (value) => typeof (value as RedisClient | undefined)?.status === 'string' &&
    ['eval', 'evalsha', 'info', 'on'].every((name) => typeof (value as Record<string, unknown>)[name] === 'function'),
  expects: 'must be an ioredis client'
}

/**
 * Creates a store that remembers deliveries in Redis, shared by any number of processes. Each operation takes one round
 * trip and fails if Redis does not respond within `timeout`. Its guarantees hold only while Redis keeps the data: set
 * `maxmemory-policy noeviction` (the store logs a warning for any other policy), and enable persistence if deliveries
 * must survive a restart of Redis.
 *
 * @example app.register(altdentifierPlugin, { secret, handleEvent, deliveries: redisDeliveries({ client }) })
 */
export function redisDeliveries (options: RedisDeliveriesOptions): DeliveryStore {
  checkOptions('redisDeliveries', options, {
    client: required(redisClient),
    prefix: string,
    ttl: retention,
    timeout: integer(1000)
  })
  const { client, prefix = 'fastify-verification:', ttl = 96 * 3600, timeout = 250 } = options
  const inTime = createTimeLimit(timeout)
  let unanswered = 0
  let probing = false
  let watched = false

  /** Runs a script. Calls `orphaned` if Redis may still run it after the caller gave up, and once Redis has run it. */
  async function run ({ text, sha1 }: Script, key: string, args: string[], orphaned = () => {}): Promise<unknown> {
    const call = client.evalsha(sha1, 1, prefix + key, ...args).catch((error: unknown) => {
      if (!String((error as Error).message).startsWith('NOSCRIPT')) throw error
      return client.eval(text, 1, prefix + key, ...args) // which also makes the server cache the script
    })
    try {
      const reply = await inTime(call, () => {
        unanswered = 0
        orphaned()
      })
      unanswered = 0
      return reply
    } catch (error) {
      unanswered = isReply(error) ? 0 : unanswered + 1
      if (!isReply(error)) orphaned()
      throw error
    }
  }

  /**
   * Releases a claim that nobody waits for. Sends the full script, since Redis may not have it cached. If this fails
   * too, the claim ends with its lease.
   */
  async function giveBack (key: string, token: string): Promise<void> {
    try {
      await client.eval(RELEASE.text, 1, prefix + key, token)
    } catch {}
  }

  async function claim (key: string, fingerprint: string, leaseMs: number): Promise<Claim> {
    const token = JSON.stringify(randomUUID())
    const args = [token, JSON.stringify(fingerprint), duration(leaseMs)]
    const [state, stored] = await run(CLAIM, key, args, () => giveBack(key, token)) as [Claim['state'], string]
    if (state === 'claimed') return { state, token }
    return state === 'done' ? { state, reply: JSON.parse(stored) as StoredReply } : { state }
  }

  return {
    async claim (key, fingerprint, leaseMs) {
      const doubtful = unanswered >= MAX_UNANSWERED
      if (DISCONNECTED.has(client.status) || (doubtful && probing)) throw new StoreUnreachable()
      probing = doubtful
      try {
        return await claim(key, fingerprint, leaseMs)
      } finally {
        if (doubtful) probing = false
      }
    },

    async complete (key, token, reply, ttlMs, exactly = false) {
      const keep = exactly ? ttlMs : Math.max(ttlMs, ttl * 1000)
      return Number(await run(COMPLETE, key, [token, JSON.stringify(reply), duration(keep)])) === 1
    },

    async release (key, token) {
      return Number(await run(RELEASE, key, [token])) === 1
    },

    watch (log) {
      if (watched) return
      watched = true
      let down = false
      client.on('error', (error) => {
        if (!down) safeLog(log, 'warn', { failure: describeError(error) }, 'delivery store: Redis is unreachable')
        down = true // until Redis is back, every attempt to connect fails in the same way
      })
      client.on('ready', () => {
        down = false
        warnOfEviction(client, log)
      })
      if (client.status === 'ready') warnOfEviction(client, log)
    }
  }
}

async function warnOfEviction (client: RedisClient, log: FastifyBaseLogger): Promise<void> {
  try {
    const policy = /^maxmemory_policy:(\S+)/m.exec(await client.info('memory'))?.[1]
    if (policy === undefined || policy === 'noeviction') return
    safeLog(log, 'warn', { policy }, 'delivery store: Redis may evict claims: set its maxmemory-policy to noeviction')
  } catch (error) {
    safeLog(log, 'warn', { failure: describeError(error) }, 'delivery store: cannot read the eviction policy of Redis')
  }
}

/** Returns true for an error reply from Redis itself, which means that it has changed nothing. */
function isReply (error: unknown): boolean {
  return (Object(error) as Error).name === 'ReplyError'
}

/** Rounds up to whole milliseconds, since Redis accepts only integers. */
function duration (ms: number): string {
  return String(Math.ceil(ms))
}
