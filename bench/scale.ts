import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { redisDeliveries } from '../plugins/index.js'
import { startRedis, type RedisServer } from '../test/fixtures/redis.js'
import { makeBatch } from './deliveries.js'
import { countFor, measure, pinLoad, start, type Entrant, type Figures } from './load.js'
import { svgOf, type Point } from './plot.js'
import { at, BUSY, lineThrough, missOf, needsOf, type Costs, type Line } from './scale-model.js'
import { median, ordered, quantile, spread, tableOf } from './statistics.js'
import { fillMany } from './store.js'

// What docs/scale.md says: measures what a delivery costs, fits a model to some of the points, holds it against those
// that were held back, and says what many need. Then what a Redis that is replaced by its replica has lost.
// `npm run scale -- [rounds = 5]`, on an idle machine with two cores.

const ROUNDS = Number(process.argv[2] ?? 5)
if (!(Number.isSafeInteger(ROUNDS) && ROUNDS > 0)) {
  console.error('usage: npm run scale -- [rounds = 5]')
  process.exit(2)
}
const PLOT = new URL('../../docs/scale.svg', import.meta.url) // seen from where this is compiled to
const SIZES = [330, 1024, 4096, 16_384] as const
const FITTED = [330, 16_384] as const
const ENTRIES = [50_000, 100_000, 200_000] as const // fitted to the first and the last
const RETENTIONS = [1, 24, 96] as const // hours
const HOURLY = [1e6, 1e8] as const

const tidies: (() => unknown)[] = []
const test = { teardown: (tidy: () => unknown) => { tidies.unshift(tidy) } }

interface Reading { readonly cpu: number, readonly calls: number, readonly bytes: number }

/** What Redis has done so far: CPU time in microseconds, calls of scripts, bytes in and out. */
async function readRedis (client: Redis): Promise<Reading> {
  const text = await client.info('cpu') + await client.info('stats') + await client.info('commandstats')
  const figure = (name: string): number => Number(new RegExp(`^${name}([\\d.]+)`, 'm').exec(text)?.[1] ?? 0)
  return {
    cpu: (figure('used_cpu_sys:') + figure('used_cpu_user:')) * 1e6,
    calls: figure('cmdstat_evalsha:calls=') + figure('cmdstat_eval:calls='),
    bytes: figure('total_net_input_bytes:') + figure('total_net_output_bytes:')
  }
}

interface Point2 { readonly bytes: number, readonly server: number, readonly memory: number, readonly redis: Reading }

/** One round at one size: a server with Redis and one with its memory, loaded at the same time. */
async function measureSize (bytes: number, redis: RedisServer, client: Redis): Promise<Point2> {
  const entrantOf = (url?: string): Entrant => ({
    name: url === undefined ? 'memory' : 'Redis',
    server: { kind: 'plugin', provider: 'aghanim', redis: url },
    traffic: { keyed: true, bytes }
  })
  const lanes = [await start(entrantOf(redis.url)), await start(entrantOf())]
  const count = countFor({ bytes })
  await measure(lanes, count) // until the code is compiled
  const before = await readRedis(client)
  const [withRedis, inMemory] = await measure(lanes, count) as [Figures, Figures]
  const after = await readRedis(client)
  for (const lane of lanes) await lane.stop()
  await client.flushall()
  const each = (name: keyof Reading): number => (after[name] - before[name]) / count
  return {
    bytes,
    server: withRedis.cpu,
    memory: inMemory.cpu,
    redis: { cpu: each('cpu'), calls: each('calls'), bytes: each('bytes') }
  }
}

/** Bytes of a request to a server, and of its answer. */
async function exchanged (bytes: number): Promise<number> {
  const entrant: Entrant = { name: 'one', server: { kind: 'plugin', provider: 'aghanim' }, traffic: { keyed: true, bytes } }
  const lane = await start(entrant)
  const [request] = makeBatch(entrant.server, entrant.traffic, 1).requests as [Buffer]
  const socket = connect({ port: lane.port, host: '127.0.0.1' })
  socket.write(request)
  const [answer] = await once(socket, 'data') as [Buffer]
  socket.destroy()
  await lane.stop()
  return request.length + answer.length
}

/** Bytes of Redis for so many deliveries that are remembered. */
async function held (client: Redis, entries: number): Promise<number> {
  const used = async (): Promise<number> => Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))![1])
  await client.flushall()
  const empty = await used()
  await fillMany(redisDeliveries({ client }), entries)
  const full = await used()
  await client.flushall()
  return full - empty
}

const pointOf = (x: number, values: readonly number[]): Point => {
  const sorted = ordered(values)
  return { x, y: median(values), low: quantile(sorted, 0.25), high: quantile(sorted, 0.75) }
}
const round = (value: number, digits = 1): string => value.toFixed(digits)
const signed = (value: number): string => `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(1)} %`

/** A line through the medians of two sizes, and how far the others are from it. */
function fit (points: readonly Point2[][], figure: (point: Point2) => number): { line: Line, row: string[] } {
  const medians = points.map((rounds) => median(rounds.map(figure)))
  const [low, high] = FITTED.map((bytes) => [bytes, medians[SIZES.indexOf(bytes)]!] as const)
  const line = lineThrough(low!, high!)
  const row = SIZES.flatMap((bytes, index) => (FITTED as readonly number[]).includes(bytes)
    ? []
    : [`${round(at(line, bytes))}, measured ${round(medians[index]!)}: ${signed(missOf(at(line, bytes), medians[index]!))}`])
  return { line, row }
}

async function costs (): Promise<{ costsAt: (bytes: number) => Promise<Costs>, line: Line, memoryLine: Line }> {
  const redis = await startRedis(test)
  const client = redis.connect()
  pinLoad()
  const points: Point2[][] = []
  for (const bytes of SIZES) {
    const rounds = []
    for (let index = 0; index < ROUNDS; index++) rounds.push(await measureSize(bytes, redis, client))
    points.push(rounds)
  }
  const column = (figure: (point: Point2) => number, digits = 1): string[] =>
    points.map((rounds) => spread(rounds.map(figure), digits))
  const head = ['a delivery, by the bytes of its body', ...SIZES.map((bytes) => bytes.toLocaleString('en'))]
  console.log(`\n${tableOf(head, [
    ['CPU of the server, µs', ...column(({ server }) => server)],
    ['the same with the store in memory', ...column(({ memory }) => memory)],
    ['CPU of Redis, µs', ...column(({ redis }) => redis.cpu)],
    ['calls of Redis', ...column(({ redis }) => redis.calls, 2)],
    ['bytes in and out of Redis', ...column(({ redis }) => redis.bytes, 0)]
  ])}`)

  const server = fit(points, (point) => point.server)
  const memory = fit(points, (point) => point.memory)
  const formula = ({ base, perByte }: Line): string => `${round(base)} + ${round(perByte * 1024, 2)} a KiB`
  const heldBack = SIZES.filter((bytes) => !(FITTED as readonly number[]).includes(bytes))
  console.log(`\n${tableOf([
    `µs, fitted to ${FITTED.join(' and ')} B`, 'line', ...heldBack.map((bytes) => `at ${bytes.toLocaleString('en')} B`)
  ], [['with Redis', formula(server.line), ...server.row], ['in memory', formula(memory.line), ...memory.row]])}`)

  const bytesOf: number[] = []
  for (const entries of ENTRIES) bytesOf.push(await held(client, entries))
  const [few, some, many] = bytesOf as [number, number, number]
  const entryLine = lineThrough([ENTRIES[0], few], [ENTRIES[2], many])
  console.log(`\nRedis memory: ${ENTRIES.map((entries, index) =>
    `${entries.toLocaleString('en')} deliveries ${round(bytesOf[index]! / entries, 0)} B each`).join(', ')}; ` +
    `a line through the first and the last misses the one between by ${signed(missOf(at(entryLine, ENTRIES[1]), some))}`)

  writeFileSync(PLOT, svgOf({
    title: 'CPU time of a server a delivery, and the model fitted to the first and the last point',
    x: 'bytes of the body',
    y: 'µs a delivery',
    even: true,
    series: [
      { name: 'with Redis, measured', points: points.map((rounds, i) => pointOf(SIZES[i]!, rounds.map(({ server }) => server))) },
      { name: 'with Redis, model', points: SIZES.map((bytes) => pointOf(bytes, [at(server.line, bytes)])) },
      { name: 'in memory, measured', points: points.map((rounds, i) => pointOf(SIZES[i]!, rounds.map(({ memory }) => memory))) },
      { name: 'in memory, model', points: SIZES.map((bytes) => pointOf(bytes, [at(memory.line, bytes)])) }
    ]
  }))
  const all = points.flat()
  return {
    line: server.line,
    memoryLine: memory.line,
    costsAt: async (bytes) => ({
      server: at(server.line, bytes),
      redis: median(all.map(({ redis }) => redis.cpu)),
      calls: median(all.map(({ redis }) => redis.calls)),
      entry: Math.max(...bytesOf.map((held, index) => held / ENTRIES[index]!)),
      http: await exchanged(bytes),
      wire: median(all.map(({ redis }) => redis.bytes))
    })
  }
}

/** What so many deliveries an hour need, by the model. */
async function needs (costsAt: (bytes: number) => Promise<Costs>): Promise<void> {
  const rows: string[][] = []
  for (const bytes of [330, 4096]) {
    const cost = await costsAt(bytes)
    for (const perHour of HOURLY) {
      const each = RETENTIONS.map((hours) => needsOf(perHour, hours, cost))
      const [{ rate, serverCores, redisCores, calls, http, wire }] = each as [ReturnType<typeof needsOf>]
      rows.push([
        `${(perHour / 1e6).toLocaleString('en')} million, ${bytes.toLocaleString('en')} B`, Math.round(rate).toLocaleString('en'),
        round(serverCores, 2), Math.round(calls).toLocaleString('en'), round(redisCores, 3),
        ...each.map(({ gigabytes }) => gigabytes.toLocaleString('en', { maximumSignificantDigits: 2 })),
        http.toLocaleString('en', { maximumSignificantDigits: 2 }), wire.toLocaleString('en', { maximumSignificantDigits: 2 })
      ])
    }
  }
  console.log(`\n${tableOf([
    'an hour, body', 'a second', `server cores, ${BUSY * 100} % busy`, 'calls of Redis a second', `Redis cores, ${BUSY * 100} % busy`,
    ...RETENTIONS.map((hours) => `GB for ${hours} h`), 'HTTP, Mbit/s', 'Redis, Mbit/s'
  ], rows)}`)
}

/** Between a replica and its master: from `hold` on, what the master sends does not get through. */
async function relayTo (port: number): Promise<{ port: number, hold: () => void, close: () => void }> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    const upstream = connect(port, '127.0.0.1')
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

/** Deliveries completed on a Redis that then dies, and how many of them its replica knows. */
async function failOver (lag: number, settings: readonly string[], wait: boolean): Promise<string[]> {
  const master = await startRedis(test, '--repl-diskless-sync-delay', '0', ...settings)
  const relay = await relayTo(master.port)
  const replica = await startRedis(test, '--repl-diskless-load', 'swapdb', '--replicaof', '127.0.0.1', String(relay.port))
  const client = master.connect({ maxRetriesPerRequest: 1 })
  const other = replica.connect()
  while (!/^master_link_status:up/m.test(await other.info('replication'))) await sleep(20)
  while (!/^connected_slaves:1/m.test(await client.info('replication'))) await sleep(20)
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
  return [
    wait ? 'WAIT 1 100 after each completion' : settings.length > 0 ? settings.join(' ').replaceAll('--', '') : 'as they come',
    `${lag} ms`, String(acknowledged.length), String(lost), String(refused.length)
  ]
}

try {
  const { costsAt } = await costs()
  await needs(costsAt)
  const rows = []
  for (const lag of [0, 200, 4000]) rows.push(await failOver(lag, [], false))
  rows.push(await failOver(200, [], true))
  rows.push(await failOver(4000, ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '1'], false))
  console.log(`\n${tableOf(['a Redis dies, its replica takes over', 'the replica is behind by', 'acknowledged', 'of them lost', 'refused'], rows)}`)
} finally {
  for (const tidy of tidies) await tidy()
}
