import Fastify from 'fastify'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Pool } from 'undici'
import { bodyOf, PROVIDERS } from '../test/support/deliveries.js'
import { rawRequest } from '../test/support/host.js'
import { median, ordered, quantile } from '../bench/statistics.js'

// Latency of honest deliveries with and without slow clients on the same server: `npm run slow-clients`. Three
// processes: a server, the slow clients, and this one, which delivers and measures.

const PROVIDER = PROVIDERS[1]!
const SLOW = 500
const ROUNDS = 7
const ROUND_MS = 4000
const WARM_UP_MS = 2000
const CONNECTIONS = 8
const DRIP_MS = 250

async function serve (): Promise<void> {
  const app = Fastify()
  PROVIDER.register(app, [])
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.send!((app.server.address() as AddressInfo).port)
}

/** Keeps 500 requests open whose bodies never end; every second one sends a byte at a time. */
function crawl (port: number): void {
  const body = Buffer.from(bodyOf(PROVIDER))
  const head = rawRequest(PROVIDER.url, [
    ...Object.entries(PROVIDER.sign(body)), ['content-length', String(body.length)]
  ], '')
  let begun = 0

  function begin (drips: boolean): void {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    let sent = 0
    let timer: NodeJS.Timeout | undefined
    socket.on('error', () => {}) // a reset counts as a close
    socket.on('data', () => {})
    socket.on('connect', () => {
      socket.write(head)
      if (drips) timer = setInterval(() => { socket.write(body.subarray(sent, ++sent)) }, DRIP_MS)
      if (++begun === SLOW) process.send!('all of them are there')
    })
    socket.on('close', () => {
      clearInterval(timer)
      begin(drips)
    })
  }
  for (let index = 0; index < SLOW; index++) begin(index % 2 === 0)
}

function start (...args: string[]) {
  const child = fork(fileURLToPath(import.meta.url), args, { execArgv: ['--import', 'tsx'] })
  return { child, message: once(child, 'message').then(([value]) => value as unknown) }
}

/** Returns the duration of each honest delivery in milliseconds, sorted. */
async function deliver (pool: Pool, ms: number): Promise<number[]> {
  const body = bodyOf(PROVIDER)
  const headers = PROVIDER.sign(body)
  const times: number[] = []
  const end = performance.now() + ms
  await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    while (performance.now() < end) {
      const start = performance.now()
      const reply = await pool.request({ path: PROVIDER.url, method: 'POST', headers, body })
      await reply.body.dump()
      if (reply.statusCode !== PROVIDER.success) throw new Error(`an honest delivery got ${reply.statusCode}`)
      times.push(performance.now() - start)
    }
  }))
  return ordered(times)
}

interface Round { readonly p50: number, readonly p99: number, readonly rate: number }

function summarise (times: number[]): Round {
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99), rate: times.length / ROUND_MS * 1000 }
}

async function measure (): Promise<void> {
  const server = start('serve')
  const port = await server.message
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: CONNECTIONS })
  const rounds: Record<'without' | 'with', Round[]> = { without: [], with: [] }
  await deliver(pool, WARM_UP_MS)

  for (let round = 0; round < ROUNDS; round++) {
    rounds.without.push(summarise(await deliver(pool, ROUND_MS)))
    const slow = start('crawl', String(port))
    await slow.message
    await deliver(pool, 500) // lets the server read everything that has arrived
    rounds.with.push(summarise(await deliver(pool, ROUND_MS)))
    const ended = once(slow.child, 'exit')
    slow.child.kill()
    await ended
    await sleep(500) // lets the server notice that they have closed
  }

  for (const [kind, all] of Object.entries(rounds)) {
    const [p50, p99, rate] = (['p50', 'p99', 'rate'] as const).map((name) => median(all.map((round) => round[name])))
    const spread = all.map((round) => round.p99.toFixed(2)).join(' ')
    console.log(`${kind} ${SLOW} slow clients: p50 ${p50!.toFixed(2)} ms, p99 ${p99!.toFixed(2)} ms, ` +
      `${rate!.toFixed(0)} deliveries a second (medians of ${ROUNDS} rounds; p99 of each: ${spread})`)
  }
  const ratio = median(rounds.with.map(({ p99 }) => p99)) / median(rounds.without.map(({ p99 }) => p99))
  console.log(`p99 with them / p99 without: ${ratio.toFixed(2)}`)
  await pool.close()
  server.child.kill()
}

process.once('disconnect', () => process.exit()) // the parent process has ended
const [role, port] = process.argv.slice(2)
if (role === 'serve') await serve()
else if (role === 'crawl') crawl(Number(port))
else await measure()
