import fc from 'fast-check'
import t from 'tap'
import { hostileProperty } from './fixtures/fuzz/attacks.js'
import { acceptsHonest } from './fixtures/fuzz/honest.js'
import { readSeed, reportOf } from './fixtures/fuzz/seed.js'
import { createTally } from './fixtures/fuzz/tally.js'
import { openTargets } from './fixtures/fuzz/target.js'
import { watchRejections } from './fixtures/waiting.js'

const HOSTILE = 20_000

const seed = readSeed()
t.comment(`FUZZ_SEED=${seed}`)
const rejections = watchRejections()

for (const [{ provider }, target] of openTargets(t)) {
  t.test(`${provider.name}: of twenty thousand signed bodies, what is valid is handled and all else refused`, async (t) => {
    const tally = createTally()
    const details = await fc.check(hostileProperty(target, tally), {
      seed, numRuns: HOSTILE, interruptAfterTimeLimit: 30_000
    })
    t.equal(reportOf(details), undefined)
    t.ok(tally.sent >= HOSTILE, `${tally.sent} sent`)
    const statuses = [provider.success, 400, 413]
    t.strictSame([...tally.statuses.keys()].toSorted(), statuses)
    for (const status of statuses) t.ok(tally.statuses.get(status)! > 20, `${status}: ${tally.statuses.get(status)}`)
    await acceptsHonest(t, target)
  })
}

t.test('no promise was left to itself', async (t) => t.strictSame(rejections, []))
