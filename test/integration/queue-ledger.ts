import t from 'tap'
import { runLedger } from '../support/ledger/run.js'
import { noRedis } from '../support/redis.js'

// A small run of `npm run ledger`.

t.test('each acknowledged delivery is processed, whatever is killed', { skip: noRedis }, async (t) => {
  const count = 400
  const result = await runLedger(t, { count, kills: 2, again: 10, copies: 5, folder: t.testdir() })
  const { sends, answers, acknowledged, processed, lost, doubles, cutShort, dead, seconds } = result
  t.comment({ sends, answers: Object.fromEntries(answers), doubles, cutShort, seconds: Math.round(seconds) })
  t.equal(acknowledged, count)
  t.strictSame(lost, [])
  t.equal(processed, count)
  t.equal(dead, 0)
  t.notOk('not explained' in doubles)
  t.ok(sends > count * 1.14, 'some were repeated')
  t.ok((answers.get('503') ?? 0) + (answers.get('cut') ?? 0) > 0, 'Redis was down, and a server')
})
