import { startRedis } from '../test/support/redis.js'
import type { Provider, Traffic } from './deliveries.js'
import { countFor, measure, pinLoad, start, type Entrant, type Figures } from './load.js'
import type { ServerKind, ServerSettings } from './servers.js'
import { median, spread, tableOf } from './statistics.js'

// Two servers on one core, loaded at the same time from the other core, in lock step: what does a delivery cost each?
// `npm run bench -- [rounds = 5] [only pairs with this in their title]`. Each round starts both servers anew. Bodies
// have 330 bytes: growth.ts has larger ones. A third argument, the folder `.built` of another clone where
// `npm run bench:compile` ran, has Aghanim's plugin there and here for the pairs: does a change pay?

const ROUNDS = Number(process.argv[2] ?? 5)
const ONLY = process.argv[3] ?? ''
const OTHER = process.argv[4]
if (!(Number.isSafeInteger(ROUNDS) && ROUNDS > 0)) {
  console.error('usage: npm run bench -- [rounds = 5] [only pairs with this in their title] [.built of another clone]')
  process.exit(2)
}

const NAMES: Readonly<Record<ServerKind, string>> = {
  bare: 'bare Fastify',
  floor: 'the floor',
  plugin: 'plugin',
  'raw-body': 'by hand on fastify-raw-body',
  standardwebhooks: 'standardwebhooks on Fastify',
  octokit: '@octokit/webhooks on node:http',
  express: 'by hand on Express 5'
}

function entrant (
  kind: ServerKind, provider: Provider, traffic: Traffic = {}, more: Partial<ServerSettings> = {}
): Entrant {
  const { keyed = false, forged = false } = traffic
  const marks = [
    kind === 'plugin' ? provider : `${NAMES[kind]}, ${provider}`,
    ...(keyed && kind === 'plugin' ? ['keyed'] : []),
    ...(more.redis === undefined ? [] : ['Redis']),
    ...(more.log === true ? ['log at info'] : []),
    ...(forged ? ['forged'] : [])
  ]
  return { name: marks.join(', '), server: { kind, provider, ...more }, traffic }
}

/** Pairs another server with ours, with the same deliveries. */
const beside = (kind: ServerKind, ours: Entrant): [Entrant, Entrant] => {
  const { provider, log = false } = ours.server
  return [entrant(kind, provider, ours.traffic, { log }), ours]
}

const tidies: (() => unknown)[] = []
pinLoad()
const { url: redis } = await startRedis({ teardown: (tidy) => { tidies.push(tidy) } })

const OTHERS = ['raw-body', 'standardwebhooks', 'octokit', 'express'] as const
const plain = entrant('plugin', 'aghanim')
const keyed = entrant('plugin', 'aghanim', { keyed: true })
const logged = entrant('plugin', 'aghanim', { keyed: true }, { log: true })
const identity = entrant('plugin', 'identity', { keyed: true })
const forged = entrant('plugin', 'aghanim', { keyed: true, forged: true })
const PAIRS: readonly (readonly [Entrant, Entrant])[] = [
  [keyed, keyed],
  beside('bare', entrant('floor', 'aghanim')),
  ...[plain, keyed, entrant('plugin', 'altdentifier'), identity].flatMap((ours) =>
    [beside('bare', ours), beside('floor', ours)]),
  beside('bare', entrant('plugin', 'humandetect-api')),
  ...[plain, keyed].flatMap((ours) => OTHERS.map((kind) => beside(kind, ours))),
  ...['aghanim', 'identity'].map((provider) =>
    beside('floor', entrant('plugin', provider as Provider, { keyed: true }, { redis }))),
  beside('bare', logged),
  [keyed, forged],
  [logged, entrant('plugin', 'aghanim', { keyed: true, forged: true }, { log: true })],
  [entrant('raw-body', 'aghanim', { forged: true }), forged]
]

/** The same server of another clone beside ours. */
const across = (built: string, ours: Entrant): [Entrant, Entrant] =>
  [{ ...ours, name: `${ours.name}, the other clone`, built }, ours]
const asked = OTHER === undefined ? PAIRS : [across(OTHER, plain), across(OTHER, keyed)]

interface Round { readonly together: readonly Figures[], readonly alone: readonly Figures[] }

async function run (pair: readonly [Entrant, Entrant], round: number): Promise<Round> {
  const count = countFor(pair[0].traffic)
  // Alternates the server that starts first.
  const order = round % 2 === 0 ? pair : [pair[1], pair[0]]
  const lanes = [await start(order[0]!), await start(order[1]!)]
  if (round % 2 === 1) lanes.reverse()
  await measure(lanes, count) // warms up until the code is compiled
  const together = await measure(lanes, count)
  const alone = [...await measure([lanes[0]!], count / 2), ...await measure([lanes[1]!], count / 2)]
  for (const lane of lanes) await lane.stop()
  return { together, alone }
}

const head = ['a / b', 'CPU a, µs', 'CPU b, µs', 'a / b', 'alone: a a second', 'b', 'p50, p99 of a, ms', 'of b']
const rows: string[][] = []
for (const pair of asked) {
  const title = `${pair[0].name} / ${pair[1].name}`
  if (!title.includes(ONLY)) continue
  const rounds: Round[] = []
  for (let round = 0; round < ROUNDS; round++) rounds.push(await run(pair, round))
  const cpu = [0, 1].map((lane) => rounds.map(({ together }) => together[lane]!.cpu))
  const alone = (lane: number, figure: 'rate' | 'p50' | 'p99'): number =>
    median(rounds.map((round) => round.alone[lane]![figure]))
  rows.push([
    title,
    ...cpu.map((values) => spread(values, 1)),
    spread(cpu[0]!.map((value, round) => value / cpu[1]![round]!), 2),
    ...[0, 1].map((lane) => alone(lane, 'rate').toFixed(0)),
    ...[0, 1].map((lane) => `${alone(lane, 'p50').toFixed(2)}, ${alone(lane, 'p99').toFixed(2)}`)
  ])
  console.error(rows.at(-1)!.join('  '))
}
for (const tidy of tidies) await tidy()
console.log(tableOf(head, rows))
