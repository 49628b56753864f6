import fc from 'fast-check'
import t from 'tap'
import { IMPATIENT, AT_A_TIME, socketProperty } from '../support/fuzz/properties.js'
import { acceptsHonest } from '../support/fuzz/honest.js'
import { readSeed, reportOf } from '../support/fuzz/seed.js'
import { createDistinct, createTally, isSuccess, serverErrors } from '../support/fuzz/tally.js'
import { openTargets } from '../support/fuzz/target.js'
import { watchRejections } from '../support/waiting.js'

const MUTATED = 5_000
/** More, as some requests are drawn twice, and some changes change nothing. */
const RUNS = MUTATED / AT_A_TIME + 3

const seed = readSeed()
t.comment(`FUZZ_SEED=${seed}`)
const rejections = watchRejections()

t.test('of five thousand requests with changed bytes, those are accepted in which nothing signed was changed', async (t) => {
  const targets = openTargets(t, IMPATIENT)
  const tally = createTally()
  const changed = createDistinct()
  const details = await fc.check(socketProperty(targets, tally, changed), { seed, numRuns: RUNS })
  t.equal(reportOf(details), undefined)
  t.equal(details.numRuns, RUNS)
  t.ok(changed.count() >= MUTATED, `${changed.count()} changed requests, no two alike, of ${tally.sent}`)
  t.equal(tally.accepted, 0)
  t.equal(tally.unanswered, 0)
  t.equal(serverErrors(tally), 0)
  t.ok([...tally.statuses].some(([status, count]) => isSuccess(status) && count > 100), 'and some are accepted')
  for (const target of targets.values()) await acceptsHonest(t, target)
})

t.test('no promise was left to itself', async (t) => t.strictSame(rejections, []))
