import root from 'tap'
import { createTable } from '../support/table.js'
import {
  applies, attempt, CONTROLS, markdownOf, measure, OURS, RECEIVERS, ROWS, type Receiver, type Row
} from '../support/hostile.js'
import { read } from '../support/project.js'

const measured = await measure(root)

for (const { name, needs, attempts } of CONTROLS) {
  root.test(`everyone accepts a delivery: ${name}`, async (t) => {
    const { wrong, same: compare } = createTable()
    for (const receiver of RECEIVERS.filter((receiver) => applies({ needs }, receiver))) {
      for (const delivery of attempts(receiver)) {
        const { accepted, detail } = await attempt(root, receiver, delivery)
        compare(`${receiver.name}: ${detail}`, accepted, true)
        if (receiver.verify) compare(`verify of ${receiver.name}`, receiver.verify(delivery.secret, delivery).ok, true)
      }
    }
    t.strictSame(wrong, [])
  })
}

for (const { row, outcomes } of measured) {
  root.test(`ours refuse: ${row.name}`, async (t) => {
    const { wrong, same: compare } = createTable()
    for (const receiver of OURS.filter((receiver) => applies(row, receiver))) {
      const seen = outcomes[RECEIVERS.indexOf(receiver)]!
      compare(`${receiver.name}: deliveries`, seen.length, row.attempts(receiver).length)
      for (const { accepted, detail } of seen) {
        compare(`${receiver.name}: ${detail}`, accepted, false)
        compare(`${receiver.name}: its answer`, detail.slice(-answerTo(row.ours).length), answerTo(row.ours))
      }
      for (const delivery of row.attempts(receiver)) {
        compare(`verify of ${receiver.name}`, verdictOf(receiver, delivery), verdictOn(row.ours))
      }
    }
    t.strictSame(wrong, [])
    t.ok(OURS.some((receiver) => applies(row, receiver)), 'it applies to one of ours')
  })
}

/** Returns the verdict of the verify function of a plugin. */
function verdictOf ({ verify }: Receiver, delivery: ReturnType<Row['attempts']>[number]): string {
  try {
    const verdict = verify!(delivery.secret, delivery)
    return verdict.ok ? 'ok' : verdict.reason
  } catch (error) {
    return (error as { code: string }).code
  }
}

/** Returns the answer of a plugin, or the code of its registration error. */
function answerTo (refusal: Row['ours']): string {
  if (refusal === 'INVALID_OPTION') return 'FST_VERIFICATION_INVALID_OPTION'
  if (refusal === 'INVALID_JSON') return '400 INVALID_JSON'
  return refusal === 'replayed' ? 'replayed' : '403 FORBIDDEN'
}

/** Returns the expected verdict of the verify function, which sees the signature only. */
function verdictOn (refusal: Row['ours']): string {
  if (refusal === 'INVALID_OPTION') return answerTo(refusal)
  return refusal === 'INVALID_JSON' || refusal === 'replayed' ? 'ok' : refusal
}

root.test('the table in docs/peers.md is the measured one', async (t) => {
  const page = read('docs/peers.md')
  t.equal(page.split('\n').filter((line) => line.startsWith('|')).join('\n'), markdownOf(measured))
  t.match(page, `The same ${ROWS.length} deliveries`)
})

root.test('each row has a unique name', async (t) => {
  t.equal(new Set(ROWS.map(({ name }) => name)).size, ROWS.length)
})
