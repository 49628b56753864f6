import fc from 'fast-check'
import t from 'tap'
import { hostileProperty } from '../support/fuzz/properties.js'
import { acceptsHonest } from '../support/fuzz/honest.js'
import { readSeed, reportOf } from '../support/fuzz/seed.js'
import { createDistinct, createTally } from '../support/fuzz/tally.js'
import { openTargets } from '../support/fuzz/target.js'
import { watchRejections } from '../support/waiting.js'

const HOSTILE = 20_000
/** More, as some bodies are drawn twice, and some are honest. */
const RUNS = 24_600

const seed = readSeed()
t.comment(`FUZZ_SEED=${seed}`)
const rejections = watchRejections()

for (const [{ provider }, target] of openTargets(t)) {
  t.test(`${provider.name}: of twenty thousand signed bodies, no two alike, what is valid is handled and all else refused`, async (t) => {
    const tally = createTally()
    const hostile = createDistinct()
    const details = await fc.check(hostileProperty(target, tally, hostile), { seed, numRuns: RUNS })
    t.equal(reportOf(details), undefined)
    t.equal(details.numRuns, RUNS)
    t.ok(hostile.count() >= HOSTILE, `${hostile.count()} hostile bodies of ${tally.sent} deliveries`)
    const statuses = [provider.success, 400, 413]
    t.strictSame([...tally.statuses.keys()].toSorted(), statuses)
    for (const status of statuses) t.ok(tally.statuses.get(status)! > 20, `${status}: ${tally.statuses.get(status)}`)
    await acceptsHonest(t, target)
  })
}

t.test('no promise was left to itself', async (t) => t.strictSame(rejections, []))
