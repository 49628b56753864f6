import fc from 'fast-check'
import t from 'tap'
import { forgeryProperty } from '../support/fuzz/properties.js'
import { acceptsHonest } from '../support/fuzz/honest.js'
import { readSeed, reportOf } from '../support/fuzz/seed.js'
import { createTally, serverErrors } from '../support/fuzz/tally.js'
import { openTargets } from '../support/fuzz/target.js'
import { watchRejections } from '../support/waiting.js'

const FORGED = 20_000
/** More, as some changes leave a delivery as authentic as it was. */
const RUNS = FORGED * 1.25

const seed = readSeed()
t.comment(`FUZZ_SEED=${seed}`)
const rejections = watchRejections()

t.test('of more than twenty thousand forged deliveries none is accepted, and none reaches handler or store', async (t) => {
  const targets = openTargets(t)
  const tally = createTally()
  const details = await fc.check(forgeryProperty(targets, tally), { seed, numRuns: RUNS })
  t.equal(reportOf(details), undefined)
  t.equal(details.numRuns, RUNS)
  t.ok(tally.forged >= FORGED, `${tally.forged} forged of ${tally.sent}`)
  t.ok(tally.sent - tally.forged > 500, 'and some are not, which are accepted')
  t.equal(tally.accepted, 0)
  t.equal(serverErrors(tally), 0)
  for (const target of targets.values()) await acceptsHonest(t, target)
})

t.test('no promise was left to itself', async (t) => t.strictSame(rejections, []))
