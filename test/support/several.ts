import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import { DEMO } from '../../cli/demo.js'
import { repeat } from '../../cli/repeat.js'
import { PROVIDERS } from '../../cli/providers.js'
import type { Test } from './host.js'
import { startNginx } from './nginx.js'
import { bundle, PLAIN_NODE } from './programs.js'
import { root } from './project.js'
import { freePort, startRedis } from './redis.js'

// Several example servers behind nginx, and a sender. Shared by a suite and `npm run several`.

export type Env = Readonly<Record<string, string>>
type Secrets = Readonly<Partial<Record<string, string>>>

/** An example server, which each start runs in a new process. */
export interface Server {
  readonly port: number
  start: (env: Env) => Promise<void>
  /** Stops it with SIGTERM, like a restart; resolves to its exit status. */
  stop: () => Promise<number | null>
  /** Number of deliveries of a provider that were signed with each secret since the start. */
  matches: (provider: string) => Promise<number[]>
}

/** Creates a server that adds its log to `lines`. */
async function createServer (test: Test, program: string, redis: string, lines: string[]): Promise<Server> {
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  let child: ChildProcess | undefined
  test.teardown(() => { child?.kill('SIGKILL') })
  return {
    port,
    async start (env) {
      child = spawn('env', [...PLAIN_NODE, program], {
        env: { ...process.env, ...env, PORT: String(port), REDIS_URL: redis },
        stdio: ['ignore', 'pipe', 'inherit']
      })
      createInterface(child.stdout!).on('line', (line) => { lines.push(line) })
      while (!await fetch(`${origin}/ready`).then(({ ok }) => ok, () => false)) {
        if (child.exitCode !== null) throw new Error('the server ended at once')
        await sleep(20)
      }
    },
    async stop () {
      const closed = once(child!, 'close') // after all of its log has been read
      child!.kill('SIGTERM')
      const [code] = await closed as [number | null]
      return code
    },
    async matches (provider) {
      const metrics = await (await fetch(`${origin}/metrics`)).text()
      const counts: number[] = []
      const line = new RegExp(`^fastify_verification_secret_matches_total\\{provider="${provider}",secret="(\\d)"\\} (\\d+)`, 'gm')
      for (const [, secret, count] of metrics.matchAll(line)) counts[Number(secret)] = Number(count)
      return Array.from(counts, (count) => count ?? 0)
    }
  }
}

/** Bundles the example server, which is started often, beside the files of its page. */
async function bundleExample (test: Test): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'example-'))
  test.teardown(() => rmSync(folder, { recursive: true }))
  cpSync(new URL('examples/deliveries-page', root), folder, { recursive: true })
  const program = join(folder, 'example-server.mjs')
  await bundle('example-server.ts', program, ['@fastify/swagger-ui', 'bullmq'])
  return program
}

/** Starts two example servers on one Redis, behind nginx. */
export async function startSeveral (test: Test, env: Env = {}) {
  const { url } = await startRedis(test)
  const lines: string[] = []
  const program = await bundleExample(test)
  const servers = await Promise.all([1, 2].map(() => createServer(test, program, url, lines)))
  await Promise.all(servers.map((server) => server.start(env)))
  const nginx = await startNginx(test, servers.map(({ port }) => port))
  return { servers, nginx, lines }
}

/** Restarts servers one after the other, with a new environment. Resolves to their exit statuses. */
export async function restartAll (servers: readonly Server[], env: Env = {}): Promise<(number | null)[]> {
  const statuses = []
  for (const server of servers) {
    statuses.push(await server.stop())
    await server.start(env)
  }
  return statuses
}

/** Deliveries that are sent in turn: with a key, without one, and from all providers that sign. */
const KINDS = [
  ['aghanim', 'item.add'], ['identity-validation', 'session'], ['altdentifier', 'passed'], ['aghanim', 'player.verify']
] as const

/** The answer to a delivery; 0 where there was none. */
export interface Answer { readonly provider: string, readonly status: number, readonly milliseconds: number }

/** Sends `rate` deliveries per second, each once, until it is stopped. */
export function startLoad (origin: string, rate: number, secrets: Secrets = {}) {
  const pool = new Pool(origin, { connections: 8 })
  const stopped = new AbortController()
  const answers: Answer[] = []
  let current = secrets
  const done = repeat({ times: Infinity, rate, signal: stopped.signal }, async (number) => {
    const [provider, event] = KINDS[number % KINDS.length]!
    const { path, demoSecret, make } = PROVIDERS[provider]!
    const timestamp = Math.floor(Date.now() / 1000)
    const { headers, body } = make({
      secret: current[provider] ?? demoSecret!,
      body: Buffer.from(JSON.stringify(PROVIDERS[provider]!.events[event]!.body(String(number), timestamp))),
      timestamp,
      id: String(number),
      endpoint: path(event),
      apiKey: DEMO.IDENTITY_API_KEY,
      alter: (signed) => signed,
      identifier: '',
      human: true
    })
    const began = performance.now()
    const status = await pool.request({ path: path(event), method: 'POST', headers, body })
      .then(async (reply) => { await reply.body.dump(); return reply.statusCode }, () => 0)
    answers.push({ provider, status, milliseconds: performance.now() - began })
  })
  return {
    answers,
    /** Sets the secrets of the following deliveries. */
    sign: (next: Secrets) => { current = next },
    async stop () {
      stopped.abort()
      await done
      if (!pool.closed) await pool.close()
    }
  }
}

/** Log lines of the example server's handlers: one for each run. */
const HANDLED = /"msg":"(?:Aghanim: (?:item\.add|player \S+ requested)|Identity validation: session|AltDentifier: \S+ \(\d+\) passed)/

export const runsIn = (lines: readonly string[]): number => lines.filter((line) => HANDLED.test(line)).length

/** Counts answers by status. */
export function statusesOf (answers: readonly Answer[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}
