import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import type { Pool } from 'undici'
import { API_KEY, API_SECRET, PROVIDERS, SECRET, VERIFY_EVENT, type ProviderCase } from './deliveries.js'
import { bundle, PLAIN_NODE } from './programs.js'

/** Settings of the program in `instance.ts`, in addition to the URL of its Redis. */
export interface InstanceOptions {
  /** Name of the server, and of its connection to Redis. */
  readonly name: string
  /** File to which it appends `begin <id>` and `done <id>`. */
  readonly ledger: string
  readonly secret: string
  readonly apiKeys: Record<string, string>
  /** Minimum and maximum duration of its handlers in milliseconds. */
  readonly work: readonly [number, number]
  /** Prefix of its keys in Redis, before `:aghanim:` or `:identity:`. */
  readonly prefix: string
  readonly lease?: number
  readonly handlerTimeout?: number
}

export interface Instance {
  readonly process: ChildProcess
  readonly origin: string
  readonly exit: Promise<[code: number | null, signal: string | null]>
}

const [, AGHANIM, IDENTITY] = PROVIDERS as [ProviderCase, ProviderCase, ProviderCase]

export interface Answer {
  readonly status: number
  readonly retryAfter: unknown
  readonly replayed: boolean
  readonly text: string
}

/** Kinds of delivery that an instance accepts. */
export const KINDS = [
  { name: 'aghanim', provider: AGHANIM, event: VERIFY_EVENT },
  { name: 'identity', provider: IDENTITY, event: IDENTITY.event }
] as const

/** Returns a delivery of that kind as a function that sends it with an undici pool, any number of times. */
export function deliveryOf (kind: typeof KINDS[number], id: string): (pool: Pool) => Promise<Answer> {
  const { provider: { url, sign }, event } = kind
  const body = JSON.stringify({ ...event, idempotency_key: id })
  const headers = sign(body, Math.floor(Date.now() / 1000))
  return async (pool) => {
    const reply = await pool.request({ path: url, method: 'POST', headers, body })
    const { 'retry-after': retryAfter, 'idempotency-replayed': replayed } = reply.headers
    return { status: reply.statusCode, retryAfter, replayed: replayed === 'true', text: await reply.body.text() }
  }
}

/** Bundles the program into one file. It and its ledger are removed after the test. */
export async function bundleInstance (t: Test): Promise<{ program: string, ledger: string }> {
  const dir = t.testdir()
  const program = join(dir, 'instance.mjs')
  await bundle('test/support/instance.ts', program)
  return { program, ledger: join(dir, 'ledger') }
}

/** Starts the program; resolves once it listens. */
export async function startInstance (
  t: Test, program: string, redis: string, options: Omit<InstanceOptions, 'secret' | 'apiKeys'>
): Promise<Instance> {
  const settings: InstanceOptions = { ...options, secret: SECRET, apiKeys: { [API_KEY]: API_SECRET } }
  const child = spawn('env', [...PLAIN_NODE, program], {
    env: { ...process.env, REDIS_URL: redis, INSTANCE: JSON.stringify(settings) },
    stdio: ['pipe', 'pipe', 'inherit']
  })
  const exit = once(child, 'exit') as Instance['exit']
  t.teardown(() => { child.kill('SIGKILL') })
  const [port] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    exit.then(() => { throw new Error('the instance ended at once') })
  ])
  return { process: child, origin: `http://127.0.0.1:${port}`, exit }
}

/** Reads a ledger, and returns a function that counts a line in it. */
export function readLedger (ledger: string): (line: string) => number {
  const counts = new Map<string, number>()
  const lines = existsSync(ledger) ? readFileSync(ledger, 'utf8').split('\n') : []
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1)
  return (line) => counts.get(line) ?? 0
}
