import fc from 'fast-check'
import t from 'tap'
import { forgeryProperty } from './fixtures/fuzz/attacks.js'
import { acceptsHonest } from './fixtures/fuzz/honest.js'
import { readSeed, reportOf } from './fixtures/fuzz/seed.js'
import { createTally, serverErrors } from './fixtures/fuzz/tally.js'
import { openTargets } from './fixtures/fuzz/target.js'
import { watchRejections } from './fixtures/waiting.js'

const FORGED = 20_000

const seed = readSeed()
t.comment(`FUZZ_SEED=${seed}`)
const rejections = watchRejections()

t.test('of more than twenty thousand forged deliveries none is accepted, and none reaches handler or store', async (t) => {
  const targets = openTargets(t)
  const tally = createTally()
  const details = await fc.check(forgeryProperty(targets, tally), {
    seed, numRuns: FORGED * 1.2, interruptAfterTimeLimit: 90_000
  })
  t.equal(reportOf(details), undefined)
  t.ok(tally.forged >= FORGED, `${tally.forged} forged of ${tally.sent}`)
  t.ok(tally.sent - tally.forged > 500, 'and some are not, which are accepted')
  t.equal(tally.accepted, 0)
  t.equal(serverErrors(tally), 0)
  for (const target of targets.values()) await acceptsHonest(t, target)
})

t.test('no promise was left to itself', async (t) => t.strictSame(rejections, []))
