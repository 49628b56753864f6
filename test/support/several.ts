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

// Several example servers behind nginx, and somebody who sends to them. Shared by a suite and `npm run several`.

export type Env = Readonly<Record<string, string>>
type Secrets = Readonly<Partial<Record<string, string>>>

/** An example server, whichever process it is. */
export interface Server {
  readonly port: number
  start: (env: Env) => Promise<void>
  /** SIGTERM, as by whoever restarts it; resolves to its exit status. */
  stop: () => Promise<number | null>
  /** How many deliveries of a provider were signed with each secret, since it was started. */
  matches: (provider: string) => Promise<number[]>
}

/** `lines` is told what all servers have logged. */
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
      const closed = once(child!, 'close') // once all of its log is read, too
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

/** One file of the example server, which is started often, beside the files of its page. */
async function bundleExample (test: Test): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'example-'))
  test.teardown(() => rmSync(folder, { recursive: true }))
  cpSync(new URL('examples/deliveries-page', root), folder, { recursive: true })
  const program = join(folder, 'example-server.mjs')
  await bundle('example-server.ts', program, ['@fastify/swagger-ui', 'bullmq'])
  return program
}

/** Two example servers that listen, on one Redis, behind nginx. */
export async function startSeveral (test: Test, env: Env = {}) {
  const { url } = await startRedis(test)
  const lines: string[] = []
  const program = await bundleExample(test)
  const servers = await Promise.all([1, 2].map(() => createServer(test, program, url, lines)))
  await Promise.all(servers.map((server) => server.start(env)))
  const nginx = await startNginx(test, servers.map(({ port }) => port))
  return { servers, nginx, lines }
}

/** One server after the other is stopped, and started with what it is given now. Resolves to their exit statuses. */
export async function restartAll (servers: readonly Server[], env: Env = {}): Promise<(number | null)[]> {
  const statuses = []
  for (const server of servers) {
    statuses.push(await server.stop())
    await server.start(env)
  }
  return statuses
}

/** What is sent in turn: with a key, without one, and by all providers that sign. */
const KINDS = [
  ['aghanim', 'item.add'], ['identity-validation', 'session'], ['altdentifier', 'passed'], ['aghanim', 'player.verify']
] as const

/** The answer to a delivery; 0 where there was none. */
export interface Answer { readonly provider: string, readonly status: number, readonly milliseconds: number }

/** Sends until it is stopped, `rate` a second, each delivery once. */
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
    /** What follows is signed with these. */
    sign: (next: Secrets) => { current = next },
    async stop () {
      stopped.abort()
      await done
      if (!pool.closed) await pool.close()
    }
  }
}

/** What handlers of the example server say: one line for each time that one of them has run. */
const HANDLED = /"msg":"(?:Aghanim: (?:item\.add|\S+ asks)|Identity validation: session|AltDentifier: \S+ \(\d+\) passed)/

export const runsIn = (lines: readonly string[]): number => lines.filter((line) => HANDLED.test(line)).length

/** How often each status was answered. */
export function statusesOf (answers: readonly Answer[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}
