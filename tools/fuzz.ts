import fc from 'fast-check'
import { forgeryProperty, hostileProperty, IMPATIENT, AT_A_TIME, socketProperty } from '../test/support/fuzz/properties.js'
import { deriveSeed, readSeed, reportOf } from '../test/support/fuzz/seed.js'
import { createTally, serverErrors, type Tally } from '../test/support/fuzz/tally.js'
import { openTargets, type Targets } from '../test/support/fuzz/target.js'

const USAGE = 'usage: npm run fuzz -- [count = 100000] [seed]'
const BATCHES = 20
/** Batches per line of output: one on a terminal, two in a log. */
const BATCHES_A_LINE = process.stdout.isTTY ? 1 : 2

/** Unhandled rejections and exceptions of the servers. */
const strays: unknown[] = []
process.on('unhandledRejection', (reason) => { strays.push(reason) })
process.on('uncaughtException', (error) => { strays.push(error) })

/** Runs its part of a batch; resolves to a description of a broken invariant, or undefined. */
type Attack = (targets: Targets, tally: Tally, seed: number, count: number) => Promise<string | undefined>

const forge: Attack = async (targets, tally, seed, numRuns) =>
  reportOf(await fc.check(forgeryProperty(targets, tally), { seed, numRuns }))

const mutate: Attack = async (targets, tally, seed, count) =>
  reportOf(await fc.check(socketProperty(targets, tally), { seed, numRuns: Math.ceil(count / AT_A_TIME) }))

const sign: Attack = async (targets, tally, seed, count) => {
  for (const target of targets.values()) {
    const problem = reportOf(await fc.check(hostileProperty(target, tally), { seed, numRuns: Math.ceil(count / 3) }))
    if (problem !== undefined) return problem
  }
  return undefined
}

const MIX: readonly (readonly [attack: Attack, share: number])[] = [[forge, 0.8], [mutate, 0.1], [sign, 0.1]]

async function runBatch (tally: Tally, seed: number, count: number): Promise<string | undefined> {
  const teardowns: (() => unknown)[] = []
  const targets = openTargets({ teardown: (tidy) => { teardowns.push(tidy) } }, IMPATIENT)
  try {
    for (const [attack, share] of MIX) {
      const problem = await attack(targets, tally, seed, Math.ceil(count * share))
      if (problem !== undefined) return `batch seed ${seed}: ${problem}`
    }
    await new Promise(setImmediate) // any rejection of this batch has been reported by then
    return strays.length === 0 ? undefined : `batch seed ${seed}: unhandled ${String(strays[0])}`
  } finally {
    for (const tidy of teardowns) await tidy()
  }
}

function table (tally: Tally, seconds: number): string {
  const statuses = [...tally.statuses].sort(([one], [other]) => one - other)
  const rows: [string, string | number][] = [
    ['sent', tally.sent],
    ['forged', tally.forged],
    ...statuses.map(([status, count]): [string, number] => [status === 0 ? 'closed without an answer' : `status ${status}`, count]),
    ['accepted although forged', tally.accepted],
    ['5xx', serverErrors(tally)],
    ['unanswered', tally.unanswered],
    ['unhandled rejections and exceptions', strays.length],
    ['seconds', seconds.toFixed(1)],
    ['a second', Math.round(tally.sent / seconds)],
    ['peak RSS, MiB', Math.round(process.resourceUsage().maxRSS / 1024)]
  ]
  return rows.map(([name, value]) => `${name.padEnd(36)}${String(value).padStart(10)}`).join('\n')
}

async function main (count: number, seed: number): Promise<void> {
  const tally = createTally()
  const start = performance.now()
  let problem: string | undefined
  let seeds: number[] = []
  console.log(`${count} from seed ${seed}`)
  for (let batch = 0; batch < BATCHES && problem === undefined; batch++) {
    const batchSeed = deriveSeed(seed, batch)
    seeds.push(batchSeed)
    problem = await runBatch(tally, batchSeed, Math.ceil(count / BATCHES))
    if ((batch + 1) % BATCHES_A_LINE > 0) continue
    console.log(`${(batch + 1) * 100 / BATCHES} %: ${tally.sent} sent, batch seeds ${seeds.join(' ')}`)
    seeds = []
  }
  console.log(table(tally, (performance.now() - start) / 1000))
  if (problem === undefined) return
  console.error(`${problem}\n(counts include the tries at a smaller case)`)
  process.exitCode = 1
}

const [count = '100000', seed] = process.argv.slice(2)
if (/^[1-9][0-9]{0,8}$/.test(count) && /^-?[0-9]{1,10}$/.test(seed ?? '0')) {
  await main(Number(count), readSeed(seed))
} else {
  console.error(USAGE)
  process.exitCode = 2
}
