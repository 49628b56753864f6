import fc from 'fast-check'
import type { Test } from 'tap'
import { watchRejections } from '../waiting.js'
import { acceptsHonest } from './honest.js'
import { AT_A_TIME, forgeryProperty, hostileProperty, IMPATIENT, socketProperty } from './properties.js'
import { readSeed, reportOf } from './seed.js'
import { createDistinct, createTally, isSuccess, serverErrors } from './tally.js'
import { openTargets } from './target.js'

/** Minimum number of deliveries of each kind. */
export interface Counts {
  /** Deliveries that no owner of the secret signed. */
  readonly forged: number
  /** Distinct signed bodies per provider that are not an event as the provider writes it. */
  readonly hostile: number
  /** Distinct requests over raw sockets with changed bytes. */
  readonly changed: number
}

/** Factor of cases to draw: some changes have no effect, and some cases are drawn twice. */
const DRAWN = 1.25
const DRAWN_OVER_SOCKETS = 1.12

/** Tests with random deliveries: the same ones each time, unless `FUZZ_SEED` is set. */
export function testByChance (t: Test, { forged, hostile, changed }: Counts): void {
  const seed = readSeed()
  t.comment(`FUZZ_SEED=${seed}`)
  const rejections = watchRejections()
  const targets = openTargets(t)

  t.test(`none of ${forged} forged deliveries is accepted, or reaches handler or store`, async (t) => {
    const tally = createTally()
    const numRuns = forged * DRAWN
    const details = await fc.check(forgeryProperty(targets, tally), { seed, numRuns })
    t.equal(reportOf(details), undefined)
    t.equal(details.numRuns, numRuns)
    t.ok(tally.forged >= forged, `${tally.forged} forged of ${tally.sent}`)
    t.ok(tally.sent - tally.forged > forged / 40, 'and some are not, which are accepted')
    t.equal(tally.accepted, 0)
    t.equal(serverErrors(tally), 0)
    for (const target of targets.values()) await acceptsHonest(t, target)
  })

  for (const [{ provider }, target] of targets) {
    t.test(`${provider.name}: of ${hostile} signed bodies, no two alike, valid ones are handled and all others refused`, async (t) => {
      const tally = createTally()
      const distinct = createDistinct()
      const numRuns = hostile * DRAWN
      const details = await fc.check(hostileProperty(target, tally, distinct), { seed, numRuns })
      t.equal(reportOf(details), undefined)
      t.equal(details.numRuns, numRuns)
      t.ok(distinct.count() >= hostile, `${distinct.count()} hostile bodies of ${tally.sent} deliveries`)
      const statuses = [provider.success, 400, 413]
      t.strictSame([...tally.statuses.keys()].toSorted(), statuses)
      for (const status of statuses) {
        const count = tally.statuses.get(status)!
        t.ok(count > hostile / 1000, `${status}: ${count}`)
      }
      await acceptsHonest(t, target)
    })
  }

  t.test(`of ${changed} requests with changed bytes, only those without a changed signed byte are accepted`, async (t) => {
    const targets = openTargets(t, IMPATIENT)
    const tally = createTally()
    const distinct = createDistinct()
    const numRuns = Math.ceil(changed * DRAWN_OVER_SOCKETS / AT_A_TIME)
    const details = await fc.check(socketProperty(targets, tally, distinct), { seed, numRuns })
    t.equal(reportOf(details), undefined)
    t.equal(details.numRuns, numRuns)
    t.ok(distinct.count() >= changed, `${distinct.count()} changed requests, no two alike, of ${tally.sent}`)
    t.equal(tally.accepted, 0)
    t.equal(tally.unanswered, 0)
    t.equal(serverErrors(tally), 0)
    t.ok([...tally.statuses].some(([status, count]) => isSuccess(status) && count > changed / 50), 'and some are accepted')
    for (const target of targets.values()) await acceptsHonest(t, target)
  })

  t.test('no promise was rejected without being handled', async (t) => t.strictSame(rejections, []))
}
