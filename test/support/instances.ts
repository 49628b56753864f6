import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import type { Pool } from 'undici'
import { API_KEY, API_SECRET, PROVIDERS, SECRET, VERIFY_EVENT, type ProviderCase } from './deliveries.js'
import { bundle, PLAIN_NODE } from './programs.js'

/** What the program in `instance.ts` is told, beside where its Redis is. */
export interface InstanceOptions {
  /** Also the name of its connection to Redis. */
  readonly name: string
  /** The file to which it adds `begin <id>` and `done <id>`. */
  readonly ledger: string
  readonly secret: string
  readonly apiKeys: Record<string, string>
  /** How long its handlers take, from and to, in milliseconds. */
  readonly work: readonly [number, number]
  /** What its keys in Redis begin with, before `:aghanim:` or `:identity:`. */
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

/** The kinds of delivery that an instance takes. */
export const KINDS = [
  { name: 'aghanim', provider: AGHANIM, event: VERIFY_EVENT },
  { name: 'identity', provider: IDENTITY, event: IDENTITY.event }
] as const

/** A delivery of that kind, to be sent by an undici pool, as often as one likes. */
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

/** Makes one file of the program. It and its ledger are gone after the test. */
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

/** How often each line is in a ledger. */
export function readLedger (ledger: string): (line: string) => number {
  const counts = new Map<string, number>()
  const lines = existsSync(ledger) ? readFileSync(ledger, 'utf8').split('\n') : []
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1)
  return (line) => counts.get(line) ?? 0
}
