import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { redisDeliveries } from '../plugins/index.js'
import { createWorker } from '../plugins/queue.js'
import { startRedis } from '../test/support/redis.js'
import { makeBatch, type Traffic } from './deliveries.js'
import { countFor, measure, pinLoad, start, type Figures } from './load.js'
import { svgOf, type Point, type Series } from './plot.js'
import { at, BUSY, lineThrough, missOf, needsOf, type Costs, type Line } from './scale-model.js'
import type { ServerSettings } from './servers.js'
import { median, ordered, quantile, spread, tableOf } from './statistics.js'
import { fillMany } from './store.js'

// Figures of docs/scale.md: measures the cost of a notification, fits a model to some of the points, compares it with
// the others, and prints the resources for large numbers. Then measures the loss when a replica replaces its Redis.
// `npm run scale -- [rounds = 5] [costs or fail-over: only that]`, on an idle machine with two cores.

const ROUNDS = Number(process.argv[2] ?? 5)
const ONLY = process.argv[3] ?? ''
if (!(Number.isSafeInteger(ROUNDS) && ROUNDS > 0 && ['', 'costs', 'fail-over'].includes(ONLY))) {
  console.error('usage: npm run scale -- [rounds = 5] [costs|fail-over]')
  process.exit(2)
}
const PLOT = new URL('../../docs/scale.svg', import.meta.url) // relative to the compiled file
const QUEUE = 'scale'
const SIZES = [330, 1024, 4096, 16_384]
const FITTED = [330, 16_384] // the others test the model
const ENTRIES = [40_000, 70_000, 100_000] // fitted to the first and the last
const HOURLY = [1e6, 1e8]

const tidies: (() => unknown)[] = []
const test = { teardown: (tidy: () => unknown) => { tidies.unshift(tidy) } }

const settingsOf = (redis?: string, queue?: string): ServerSettings =>
  ({ kind: 'plugin', provider: 'identity', redis, ...(queue !== undefined && { queue }) })
const trafficOf = (bytes: number): Traffic => ({ keyed: true, bytes })

/** Reads the counters of Redis: CPU time in microseconds, script calls, bytes in and out; and the memory it uses. */
async function readRedis (client: Redis) {
  const sections = ['cpu', 'stats', 'commandstats', 'memory']
  const text = (await Promise.all(sections.map((section) => client.info(section)))).join('\n')
  const figure = (name: string): number => Number(new RegExp(`^${name}([\\d.]+)`, 'm').exec(text)?.[1] ?? 0)
  return {
    cpu: (figure('used_cpu_sys:') + figure('used_cpu_user:')) * 1e6,
    calls: figure('cmdstat_evalsha:calls=') + figure('cmdstat_eval:calls='),
    wire: figure('total_net_input_bytes:') + figure('total_net_output_bytes:'),
    held: figure('used_memory:')
  }
}
type Reading = Awaited<ReturnType<typeof readRedis>>

/** Returns the cost of one of `count` operations between two readings. */
function share (before: Reading, after: Reading, count: number): Reading {
  const each = (name: keyof Reading): number => (after[name] - before[name]) / count
  return { cpu: each('cpu'), calls: each('calls'), wire: each('wire'), held: each('held') }
}

/** Microseconds and bytes per delivery. */
interface Sample {
  readonly memory: number
  readonly redis: number
  readonly queued: number
  readonly claim: Reading
  /** Cost of the claim and of adding the job. */
  readonly added: Reading
  readonly worker: number
  readonly worked: Reading
  /** Bytes of a claim and a completed job. */
  readonly kept: number
}

/** Runs one round at one size, on three servers at the same time: in memory, on a Redis, on another with a queue. */
async function measureSize (
  bytes: number, [one, other]: readonly [Redis, Redis], urls: readonly string[]
): Promise<Sample> {
  const entrants = [settingsOf(), settingsOf(urls[0]), settingsOf(urls[1], QUEUE)]
    .map((server, index) => ({ name: ['memory', 'Redis', 'queue'][index]!, server, traffic: trafficOf(bytes) }))
  const count = countFor({ bytes })
  await Promise.all([one.flushall(), other.flushall()])
  const lanes = []
  for (const entrant of entrants) lanes.push(await start(entrant))
  const empty = await readRedis(other)
  await measure(lanes, count) // warms up until the code is compiled
  const before = await Promise.all([one, other].map(readRedis)) as [Reading, Reading]
  const [memory, redis, queued] = await measure(lanes, count) as [Figures, Figures, Figures]
  const after = await Promise.all([one, other].map(readRedis)) as [Reading, Reading]
  for (const lane of lanes) await lane.stop()

  const jobs = 2 * count
  const begun = process.cpuUsage()
  const worker = createWorker(QUEUE, () => {}, { connection: { url: urls[1]! }, concurrency: 50 })
  while (await other.zcard(`bull:${QUEUE}:completed`) < jobs) await sleep(50)
  const { user, system } = process.cpuUsage(begun)
  await worker.close()
  const end = await readRedis(other)
  return {
    memory: memory.cpu,
    redis: redis.cpu,
    queued: queued.cpu,
    claim: share(before[0], after[0], count),
    added: share(before[1], after[1], count),
    worker: (user + system) / jobs,
    worked: share(after[1], end, jobs),
    kept: (end.held - empty.held) / jobs
  }
}

/** Returns the bytes of a request to a server and of its answer. */
async function exchanged (bytes: number): Promise<number> {
  const entrant = { name: 'one', server: settingsOf(), traffic: trafficOf(bytes) }
  const lane = await start(entrant)
  const [request] = makeBatch(entrant.server, entrant.traffic, 1).requests as [Buffer]
  const socket = connect({ port: lane.port, host: '127.0.0.1' })
  socket.write(request)
  const [answer] = await once(socket, 'data') as [Buffer]
  socket.destroy()
  await lane.stop()
  return request.length + answer.length
}

/** Returns the bytes in Redis of this many remembered deliveries. */
async function heldFor (client: Redis, entries: number): Promise<number> {
  await client.flushall()
  const { held: empty } = await readRedis(client)
  await fillMany(redisDeliveries({ client }), entries, { statusCode: 204 })
  return (await readRedis(client)).held - empty
}

const pointOf = (x: number, values: readonly number[]): Point => {
  const sorted = ordered(values)
  return { x, y: median(values), low: quantile(sorted, 0.25), high: quantile(sorted, 0.75) }
}
const written = (value: number, digits = 1): string =>
  value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
const signed = (value: number): string => `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(1)} %`

type Rounds = readonly (readonly Sample[])[] // indexed by size
type Figure = (sample: Sample) => number

function fit (rounds: Rounds, figure: Figure): Line {
  const [low, high] = FITTED.map((bytes) => [bytes, median(rounds[SIZES.indexOf(bytes)]!.map(figure))] as const)
  return lineThrough(low!, high!)
}

const FIGURES: readonly (readonly [name: string, figure: Figure, digits: number])[] = [
  ['server, store in memory, µs', ({ memory }) => memory, 1],
  ['server, store in Redis, µs', ({ redis }) => redis, 1],
  ['server, and a queue, µs', ({ queued }) => queued, 1],
  ['worker, µs', ({ worker }) => worker, 1],
  ['Redis, a claim, µs', ({ claim }) => claim.cpu, 1],
  ['Redis, claim and adding the job, µs', ({ added }) => added.cpu, 1],
  ['Redis, working on the job, µs', ({ worked }) => worked.cpu, 1],
  ['bytes in and out of Redis, claim', ({ claim }) => claim.wire, 0],
  ['the same, with the job from end to end', ({ added, worked }) => added.wire + worked.wire, 0],
  ['bytes kept of claim and job', ({ kept }) => kept, 0]
]

/** Prints the figures of all sizes, with the prediction of the model for those it was not fitted to. */
function tellFigures (rounds: Rounds): void {
  const rows = FIGURES.map(([name, figure, digits]) => {
    const line = fit(rounds, figure)
    return [name, ...SIZES.map((bytes, index) => {
      const measured = spread(rounds[index]!.map(figure), digits)
      if (FITTED.includes(bytes)) return measured
      return `${measured}; ${signed(missOf(at(line, bytes), median(rounds[index]!.map(figure))))}`
    }), `${written(line.base, digits)} + ${written(line.perByte * 1024, digits)} a KiB`]
  })
  const head = ['a delivery, by the bytes of its body', ...SIZES.map((bytes) => bytes.toLocaleString('en')), 'model']
  console.log(`\n${tableOf(head, rows)}\n`)
  console.log(`Behind a semicolon: by how much the model, fitted to ${FITTED.join(' and ')} B, misses.`)
  const calls = (figure: Figure): string => median(rounds.flat().map(figure)).toFixed(2)
  console.log(`Calls of Redis: ${calls(({ claim }) => claim.calls)} for a claim, ${calls(({ added }) => added.calls)} with ` +
    `the job, ${calls(({ worked }) => worked.calls)} to work on it.`)
}

function draw (rounds: Rounds): void {
  const series = FIGURES.slice(0, 3).flatMap(([name, figure]): Series[] => {
    const line = fit(rounds, figure)
    const short = name.replace(', µs', '')
    return [
      { name: short, points: SIZES.map((bytes, index) => pointOf(bytes, rounds[index]!.map(figure))) },
      { name: `${short}: model`, points: SIZES.map((bytes) => pointOf(bytes, [at(line, bytes)])) }
    ]
  })
  writeFileSync(PLOT, svgOf({
    title: 'CPU time a delivery, measured, and the model that was fitted to the first and last point',
    x: 'bytes of the body',
    y: 'µs a delivery',
    even: true,
    series
  }))
}

async function measureAll (): Promise<{ rounds: Rounds, entry: number }> {
  const servers = [await startRedis(test), await startRedis(test)] as const
  const clients = [servers[0].connect(), servers[1].connect()] as const
  const urls = servers.map(({ url }) => url)
  pinLoad()
  const rounds: Sample[][] = []
  for (const bytes of SIZES) {
    const samples = []
    for (let round = 0; round < ROUNDS; round++) samples.push(await measureSize(bytes, clients, urls))
    rounds.push(samples)
    console.error(`${bytes} B: ${ROUNDS} rounds`)
  }
  const held: number[] = []
  for (const entries of ENTRIES) held.push(await heldFor(clients[0], entries))
  const line = lineThrough([ENTRIES[0]!, held[0]!], [ENTRIES[2]!, held[2]!])
  const each = held.map((bytes, index) => bytes / ENTRIES[index]!)
  tellFigures(rounds)
  const told = ENTRIES.map((entries, index) => `${written(each[index]!, 0)} of ${entries.toLocaleString('en')}`)
  console.log(`Bytes of Redis a claim: ${told.join(', ')}; the line through the first and the last misses the one between ` +
    `by ${signed(missOf(at(line, ENTRIES[1]!), held[1]!))}.`)
  draw(rounds)
  for (const server of servers) await server.stop()
  return { rounds, entry: Math.max(...each) }
}

/** Prints the resources for large numbers of deliveries per hour, by the model. */
async function tellNeeds (rounds: Rounds, entry: number): Promise<void> {
  const rows: string[][] = []
  for (const bytes of [330, 4096]) {
    const of = (figure: Figure): number => at(fit(rounds, figure), bytes)
    const claim = of((sample) => sample.claim.cpu)
    const costs: Costs = {
      server: of(({ queued }) => queued),
      claim,
      job: of(({ added, worked }) => added.cpu + worked.cpu) - claim,
      worker: of(({ worker }) => worker),
      entry,
      kept: of(({ kept }) => kept) - entry,
      wire: of(({ added, worked }) => added.wire + worked.wire),
      http: await exchanged(bytes)
    }
    for (const perHour of HOURLY) {
      const { rate, servers, workers, claims, jobs, entries, kept, http, wire } = needsOf(perHour, costs)
      rows.push([
        `${written(perHour / 1e6, 0)} million of ${bytes.toLocaleString('en')} B`, written(rate, 0),
        written(servers), written(workers), written(claims, 2), written(jobs, 2),
        written(96 * entries, 0), written(24 * kept, 0), written(http), written(wire)
      ])
    }
  }
  console.log(`\n${tableOf([
    'an hour', 'a second', 'cores of servers', 'of workers', 'of Redis for claims', 'for jobs',
    'GB of claims, 96 h', 'GB of jobs, 24 h', 'HTTP, Mbit/s', 'Redis, Mbit/s'
  ], rows)}\n\nCores are ${BUSY * 100} % busy.`)
}

/** Starts a relay between a replica and its master; after `hold` the master's data no longer arrives. */
async function relayTo (port: number): Promise<{ port: number, hold: () => void, close: () => void }> {
  const sockets: Socket[] = []
  const server = createServer({ noDelay: true }, (socket) => {
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true })
    sockets.push(socket, upstream)
    for (const each of [socket, upstream]) each.on('error', () => {})
    socket.pipe(upstream).pipe(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    hold () { for (const socket of sockets) socket.unpipe().pause() },
    close () {
      server.close()
      for (const socket of sockets) socket.destroy()
    }
  }
}

/** Completes deliveries on a Redis that then dies, and counts those that its replica knows. */
async function failOver (lag: number, settings: readonly string[], wait: boolean): Promise<string[]> {
  const master = await startRedis(test, '--repl-diskless-sync-delay', '0', ...settings)
  const relay = await relayTo(master.port)
  const replicaOf = ['--replicaof', '127.0.0.1', String(relay.port)]
  const replica = await startRedis(test, '--repl-diskless-load', 'swapdb', ...replicaOf)
  const client = master.connect({ maxRetriesPerRequest: 1 })
  const other = replica.connect()
  while (!/^master_link_status:up/m.test(await other.info('replication'))) await sleep(20)
  // A replica receives nothing, and does not count, before it has announced that it listens.
  while (await client.set('first', '').then(() => client.wait(1, 1000), () => 0) < 1) await sleep(20)
  const store = redisDeliveries({ client, prefix: '' })
  const [acknowledged, refused]: [string[], string[]] = [[], []]
  const ended = new AbortController()
  const sending = (async () => {
    for (let index = 0; !ended.signal.aborted; index++) {
      const key = `delivery ${index}`
      try {
        const claim = await store.claim(key, '', 60_000)
        const done = claim.state === 'claimed' && await store.complete(key, claim.token, { statusCode: 204 }, 60_000)
        const safe = !wait || await client.wait(1, 100) >= 1
        ;(done && safe ? acknowledged : refused).push(key)
      } catch {
        refused.push(key)
      }
      await sleep(1)
    }
  })()
  await sleep(500)
  if (lag > 0) relay.hold()
  await sleep(lag)
  await master.stop()
  ended.abort()
  await sending
  relay.close()
  await other.replicaof('NO', 'ONE')
  const kept = await Promise.all(acknowledged.map(async (key) => (await other.get(key))?.endsWith('}') === true))
  const lost = kept.filter((is) => !is).length
  await replica.stop()
  const how = wait ? 'WAIT 1 100 after each completion' : settings.join(' ').replaceAll('--', '')
  return [
    how || 'as they come', `${lag} ms`, String(acknowledged.length), String(lost), String(refused.length)
  ]
}

async function tellFailOvers (): Promise<void> {
  const rows = []
  for (const lag of [0, 200, 4000]) rows.push(await failOver(lag, [], false))
  rows.push(await failOver(200, [], true))
  rows.push(await failOver(4000, ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '1'], false))
  const head = ['a Redis dies, its replica takes over', 'silent before', 'acknowledged', 'of them lost', 'refused']
  console.log(`\n${tableOf(head, rows)}`)
}

try {
  if (ONLY !== 'fail-over') {
    const { rounds, entry } = await measureAll()
    await tellNeeds(rounds, entry)
  }
  if (ONLY !== 'costs') await tellFailOvers()
} finally {
  for (const tidy of tidies) await tidy()
}
