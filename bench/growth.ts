import { writeFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { memoryDeliveries, redisDeliveries } from '../plugins/index.js'
import { startRedis } from '../test/support/redis.js'
import type { Traffic } from './deliveries.js'
import { countFor, measure, pinLoad, start, type Entrant, type Figures } from './load.js'
import { svgOf, type Plot, type Point } from './plot.js'
import type { ServerKind, ServerSettings } from './servers.js'
import { median, ordered, quantile, spread, tableOf } from './statistics.js'
import { fill, remembers } from './store.js'

// Growth of the cost of a delivery, as tables and as plots in this folder: `npm run bench:growth -- [rounds = 5]`. All
// servers of a plot are loaded at the same time, in lock step; each round starts new processes.

const ROUNDS = Number(process.argv[2] ?? 5)
const ONLY = process.argv[3] ?? ''
if (!(Number.isSafeInteger(ROUNDS) && ROUNDS > 0)) {
  console.error('usage: npm run bench:growth -- [rounds = 5] [only what has this in its name]')
  process.exit(2)
}
const FOLDER = new URL('../../bench/', import.meta.url) // relative to the compiled file
const CPU = 'CPU time of the server a delivery, µs'

function ours (server: Partial<ServerSettings> = {}, traffic: Traffic = {}): Entrant {
  return {
    name: 'aghanim, keyed', server: { kind: 'plugin', provider: 'aghanim', ...server }, traffic: { keyed: true, ...traffic }
  }
}

/** Runs rounds, and returns the figures of each entrant. */
async function run (entrants: readonly Entrant[]): Promise<Figures[][]> {
  const rounds: Figures[][] = []
  const count = countFor(entrants[0]!.traffic)
  const several = entrants.some(({ server: { instances = 1 } }) => instances > 1) // each gets only a part
  for (let round = 0; round < ROUNDS; round++) {
    const lanes = []
    for (const entrant of entrants) lanes.push(await start(entrant))
    await measure(lanes, several ? 5 * count : count) // warms up until the code is compiled
    rounds.push(await measure(lanes, count))
    for (const lane of lanes) await lane.stop()
  }
  return rounds
}

function pointOf (x: number, values: readonly number[]): Point {
  const sorted = ordered(values)
  return { x, y: median(values), low: quantile(sorted, 0.25), high: quantile(sorted, 0.75) }
}

function publish (file: string, plot: Plot, head: readonly string[], rows: readonly (readonly string[])[]): void {
  writeFileSync(new URL(file, FOLDER), svgOf(plot))
  console.log(`\n${plot.title}\n\n${tableOf(head, rows)}`)
}

/** Measures points that differ in one value only, and their costs as multiples of the first one. */
async function grow (
  file: string, title: string, x: string, values: readonly number[],
  settingsOf: (value: number) => Partial<ServerSettings>
): Promise<void> {
  const rounds = await run(values.map((value) => ours(settingsOf(value))))
  const costs = values.map((_, index) => rounds.map((figures) => figures[index]!.cpu))
  const points = costs.map((cost, index) => pointOf(values[index]!, cost))
  publish(file, { title, x, y: CPU, even: true, series: [{ name: 'aghanim, keyed', points }] },
    [x, 'CPU, µs', `times that of ${values[0]}`],
    values.map((value, index) => [
      value.toLocaleString('en'), spread(costs[index]!, 1),
      spread(costs[index]!.map((cost, round) => cost / costs[0]![round]!), 3)
    ]))
}

async function bodySize (): Promise<void> {
  const sizes = [330, 4096, 16_384, 61_440]
  const kinds: readonly [ServerKind, string, Traffic?][] = [
    ['bare', 'bare Fastify'], ['floor', 'the floor'], ['plugin', 'aghanim', { keyed: false }], ['plugin', 'aghanim, keyed'],
    ['raw-body', 'fastify-raw-body'], ['standardwebhooks', 'standardwebhooks'], ['octokit', '@octokit/webhooks'],
    ['express', 'Express 5']
  ]
  const bySize: Figures[][][] = []
  for (const bytes of sizes) {
    bySize.push(await run(kinds.map(([kind, name, traffic]) => ({ ...ours({ kind }, { bytes, ...traffic }), name }))))
  }
  const costs = (kind: number, size: number): number[] => bySize[size]!.map((figures) => figures[kind]!.cpu)
  publish('body-size.svg', {
    title: 'A delivery by the size of its body',
    x: 'bytes of the body',
    y: CPU,
    even: true,
    series: kinds.map(([, name], kind) => ({
      name, points: sizes.map((bytes, size) => pointOf(bytes, costs(kind, size)))
    }))
  }, ['CPU, µs', ...sizes.map((bytes) => `${bytes.toLocaleString('en')} B`)],
  kinds.map(([, name], kind) => [name, ...sizes.map((_, size) => spread(costs(kind, size), 0))]))
}

/** Measures several processes on one Redis, on any core: the process that is always busy sets the limit. */
async function redisInstances (): Promise<void> {
  const tidies: (() => unknown)[] = []
  const { url } = await startRedis({ teardown: (tidy) => { tidies.push(tidy) } })
  const client = new Redis(url)
  const used = async (): Promise<number> => {
    const text = await client.info('cpu')
    return ['sys', 'user'].reduce((sum, kind) =>
      sum + Number(new RegExp(`^used_cpu_${kind}:([\\d.]+)`, 'm').exec(text)![1]) * 1e6, 0)
  }
  const counts = [1, 2, 4]
  const rows: string[][] = []
  const points: Point[] = []
  for (const count of counts) {
    const rates: number[] = []
    const shares: Record<'server' | 'redis' | 'load', number>[] = []
    let calls = 0
    for (let round = 0; round < ROUNDS; round++) {
      const lanes = []
      for (let index = 0; index < count; index++) lanes.push(await start(ours({ redis: url }), '0,1'))
      const each = Math.ceil(countFor({}) / count)
      await measure(lanes, each)
      await client.config('RESETSTAT')
      const [redisBefore, loadBefore] = [await used(), process.cpuUsage()]
      const figures = await measure(lanes, each)
      const load = process.cpuUsage(loadBefore)
      const all = each * count
      rates.push(figures[0]!.rate * count)
      shares.push({
        server: figures.reduce((sum, { cpu }) => sum + cpu, 0) / count,
        redis: (await used() - redisBefore) / all,
        load: (load.user + load.system) / all // includes signing
      })
      calls = Number(/^cmdstat_evalsha:calls=(\d+)/m.exec(await client.info('commandstats'))![1]) / all
      for (const lane of lanes) await lane.stop()
    }
    points.push(pointOf(count, rates))
    rows.push([
      String(count), spread(rates, 0), ...(['server', 'redis', 'load'] as const).map((part) =>
        spread(shares.map((share) => share[part]), 1)), calls.toFixed(2)
    ])
  }
  client.disconnect()
  for (const tidy of tidies) await tidy()
  publish('redis-instances.svg', {
    title: 'Several instances on one Redis, two cores for all, load included',
    x: 'instances',
    y: 'deliveries a second, all together',
    even: true,
    series: [{ name: 'aghanim, keyed, Redis', points }]
  }, ['instances', 'deliveries a second', 'server, µs', 'Redis, µs', 'load, µs', 'calls of Redis'], rows)
}

/** Measures the bytes that a remembered delivery takes. */
async function memory (): Promise<void> {
  const entries = 200_000
  const store = memoryDeliveries({ maxEntries: entries })
  const heap = (): number => {
    global.gc!()
    return process.memoryUsage().heapUsed
  }
  const before = heap()
  await fill(store, entries)
  const inMemory = (heap() - before) / entries
  if (!await remembers(store, entries)) throw new Error('the store has forgotten what was measured')

  const tidies: (() => unknown)[] = []
  const { url } = await startRedis({ teardown: (tidy) => { tidies.push(tidy) } })
  const client = new Redis(url)
  const used = async (): Promise<number> => Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))![1])
  const empty = await used()
  await fill(redisDeliveries({ client }), entries / 10)
  const inRedis = (await used() - empty) / (entries / 10)
  client.disconnect()
  for (const tidy of tidies) await tidy()
  console.log(`\n${tableOf(['store', 'bytes a delivery'], [['memory', inMemory.toFixed(0)], ['Redis', inRedis.toFixed(0)]])}`)
}

const PARTS: Readonly<Record<string, () => Promise<void>>> = {
  memory,
  redis: redisInstances, // runs before this process is pinned
  secrets: () => grow('secrets.svg', 'A delivery by the number of live secrets', 'secrets', [1, 2, 3, 4],
    (secrets) => ({ secrets })),
  plugins: () => grow('plugins.svg', 'A delivery by the number of plugins on the server, each in turn', 'plugins',
    [1, 10, 25, 50], (instances) => ({ instances })),
  entries: () => grow('entries.svg', 'A delivery by what the store in memory holds', 'deliveries in the store',
    [0, 1000, 10_000, 100_000, 1_000_000], (entries) => ({ entries })),
  body: bodySize
}
for (const [name, part] of Object.entries(PARTS)) {
  if (!name.includes(ONLY)) continue
  if (name !== 'memory' && name !== 'redis') pinLoad()
  await part()
}
