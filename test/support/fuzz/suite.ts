import fc from 'fast-check'
import type { Test } from 'tap'
import { watchRejections } from '../waiting.js'
import { acceptsHonest } from './honest.js'
import { AT_A_TIME, forgeryProperty, hostileProperty, IMPATIENT, socketProperty } from './properties.js'
import { readSeed, reportOf } from './seed.js'
import { createDistinct, createTally, isSuccess, serverErrors } from './tally.js'
import { openTargets } from './target.js'

/** How many deliveries there have to be of each kind. */
export interface Counts {
  /** By nobody who has the secret. */
  readonly forged: number
  /** Signed bodies that are no event as its provider writes it, no two alike, for each provider. */
  readonly hostile: number
  /** Requests over raw sockets with changed bytes, no two alike. */
  readonly changed: number
}

/** More are drawn than have to be there, as some changes change nothing, and some are drawn twice. */
const DRAWN = 1.25
const DRAWN_OVER_SOCKETS = 1.12

/** Tests with deliveries made by chance: the same ones each time, unless `FUZZ_SEED` is set. */
export function testByChance (t: Test, { forged, hostile, changed }: Counts): void {
  const seed = readSeed()
  t.comment(`FUZZ_SEED=${seed}`)
  const rejections = watchRejections()
  const targets = openTargets(t)

  t.test(`of ${forged} forged deliveries none is accepted, and none reaches handler or store`, async (t) => {
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
    t.test(`${provider.name}: of ${hostile} signed bodies, no two alike, what is valid is handled and all else refused`, async (t) => {
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

  t.test(`of ${changed} requests with changed bytes, those are accepted in which nothing signed was changed`, async (t) => {
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

  t.test('no promise was left to itself', async (t) => t.strictSame(rejections, []))
}
