import type { FastifyBaseLogger } from 'fastify'
import { createError } from '@fastify/error'
import { randomUUID } from 'node:crypto'
import { CLAIM, COMPLETE, RELEASE, type Script } from './redis-scripts.js'
import type { Claim, DeliveryStore, StoredReply } from '../lib/idempotency/store.js'
import { describeError } from '../lib/errors.js'
import { safeLog } from '../lib/log.js'
import { string, checkOptions, required, retention, integer, type Rule } from '../lib/rules.js'
import { createTimeLimit } from '../lib/time-limit.js'

/** What is used of an `ioredis` client or cluster. */
export interface RedisClient {
  readonly status: string
  eval: (script: string, numkeys: number, ...args: string[]) => Promise<unknown>
  evalsha: (sha1: string, numkeys: number, ...args: string[]) => Promise<unknown>
  info: (section: string) => Promise<string>
  on: (event: 'ready' | 'error', listener: (error?: unknown) => void) => unknown
}

export interface RedisDeliveriesOptions {
  /** An `ioredis` client or cluster, to be closed by whoever made it. */
  client: RedisClient
  /** Put before every key. Default `fastify-verification:`. */
  prefix?: string | undefined
  /** How long a delivery is remembered, in seconds. Default 345,600: 96 hours, longer than senders try. */
  ttl?: number | undefined
  /** How long one call may take, in milliseconds, up to 1,000. Default 250. */
  timeout?: number | undefined
}

/** There is no connection, or nobody answers on it. */
const StoreUnreachable = createError<[]>(
  'FST_VERIFICATION_STORE_UNREACHABLE', 'The delivery store cannot be reached', 503, Error, false)

const DISCONNECTED: ReadonlySet<string> = new Set(['close', 'reconnecting', 'disconnecting', 'end'])
// Calls in a row that were not answered. From then on one claim at a time is sent, to see whether Redis is back: the
// client keeps each of them for as long as it hopes for its answer.
const MAX_UNANSWERED = 100

const redisClient: Rule = {
  accepts: (value) => typeof (value as RedisClient | undefined)?.status === 'string' &&
    ['eval', 'evalsha', 'info', 'on'].every((name) => typeof (value as Record<string, unknown>)[name] === 'function'),
  expects: 'must be an ioredis client'
}

/**
 * Remembers deliveries in Redis, for any number of processes. One round trip a verb; a call that Redis does not answer
 * within `timeout` fails. What it promises holds for as long as Redis keeps what it is given: set
 * `maxmemory-policy noeviction` (it warns of any other), and persistence if deliveries are to survive its restart.
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

  /** `orphaned` is called where Redis may yet carry out what nobody waits for, and once it has. */
  async function run ({ text, sha1 }: Script, key: string, args: string[], orphaned = () => {}): Promise<unknown> {
    const call = client.evalsha(sha1, 1, prefix + key, ...args).catch((error: unknown) => {
      if (!String((error as Error).message).startsWith('NOSCRIPT')) throw error
      return client.eval(text, 1, prefix + key, ...args) // which makes the server remember it
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

  /** In full, since Redis may not know the script; if that fails too, the lease ends the claim. */
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
        if (!down) safeLog(log, 'warn', { failure: describeError(error) }, 'delivery store: Redis cannot be reached')
        down = true // until it is back, each try to connect fails like this one
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
    safeLog(log, 'warn', { policy }, 'delivery store: Redis may drop claims, set its maxmemory-policy to noeviction')
  } catch (error) {
    safeLog(log, 'warn', { failure: describeError(error) }, 'delivery store: the eviction policy of Redis is unknown')
  }
}

/** Whether it is Redis itself that says no, and has done nothing. */
function isReply (error: unknown): boolean {
  return (Object(error) as Error).name === 'ReplyError'
}

/** Whole milliseconds, which is all that Redis takes. */
function duration (ms: number): string {
  return String(Math.ceil(ms))
}
