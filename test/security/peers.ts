import t from 'tap'
import { applies, attempt, CONTROLS, markdownOf, measure, OURS, RECEIVERS, ROWS } from '../support/hostile.js'
import { read } from '../support/project.js'

const measured = await measure(t)

for (const { name, needs, attempts } of CONTROLS) {
  t.test(`everyone accepts a delivery: ${name}`, async (t) => {
    for (const receiver of RECEIVERS.filter((receiver) => applies({ needs }, receiver))) {
      for (const delivery of attempts(receiver)) {
        const { accepted, detail } = await attempt(t, receiver, delivery)
        t.ok(accepted, `${receiver.name}: ${detail}`)
        if (receiver.verify) t.match(receiver.verify(delivery.secret, delivery), { ok: true }, receiver.name)
      }
    }
  })
}

for (const { row, outcomes } of measured) {
  t.test(`ours refuse: ${row.name}`, async (t) => {
    const seen = OURS.flatMap((receiver) => outcomes[RECEIVERS.indexOf(receiver)] ?? [])
    t.ok(seen.length > 0)
    for (const { accepted, detail } of seen) {
      t.notOk(accepted, 'the handler did not run')
      t.ok(detail.endsWith(answerTo(row.ours)), `${detail} is ${answerTo(row.ours)}`)
    }
    for (const receiver of OURS.filter((receiver) => applies(row, receiver))) {
      for (const delivery of row.attempts(receiver)) {
        const verify = () => receiver.verify!(delivery.secret, delivery)
        if (row.ours === 'INVALID_OPTION') t.throws(verify, { code: answerTo(row.ours) }, receiver.name)
        else t.match(verify(), verdictOn(row.ours), receiver.name)
      }
    }
  })
}

/** What a plugin answers, or says at registration. */
function answerTo (refusal: typeof ROWS[number]['ours']): string {
  if (refusal === 'INVALID_OPTION') return 'FST_VERIFICATION_INVALID_OPTION'
  if (refusal === 'INVALID_JSON') return '400 INVALID_JSON'
  return refusal === 'replayed' ? 'replayed' : '403 FORBIDDEN'
}

/** What the function beside it says, which sees the signature only. */
function verdictOn (refusal: typeof ROWS[number]['ours']) {
  return refusal === 'INVALID_JSON' || refusal === 'replayed' ? { ok: true } : { ok: false, reason: refusal }
}

t.test('the table in docs/peers.md is what is measured', async (t) => {
  const page = read('docs/peers.md')
  t.equal(page.split('\n').filter((line) => line.startsWith('|')).join('\n'), markdownOf(measured))
  t.match(page, `The same ${ROWS.length} deliveries`)
})

t.test('each row has a name of its own', async (t) => {
  t.equal(new Set(ROWS.map(({ name }) => name)).size, ROWS.length)
})
