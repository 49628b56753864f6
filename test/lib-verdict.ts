import { Type } from '@sinclair/typebox'
import t from 'tap'
import { memoryDeliveries } from '../plugins/deliveries/memory.js'
import { createExaminer, type Verdict } from '../plugins/lib/verdict.js'

const schema = Type.Object({
  valid: Type.Boolean(), identifier: Type.String(), timestamp: Type.String(), checksum: Type.String()
})
const unknownToken = Type.Object({ code: Type.Literal('unknown') })
const NOW = Date.parse('2026-11-22T12:00:00Z')
const VERDICT: Verdict = { valid: true, identifier: 'ada', timestamp: '2026-11-22T12:00:00Z', checksum: 'a' }

/** Asks a service that says of every token what `answer` says. */
function createExam (answer: (token: string) => object, now: () => unknown = () => NOW) {
  const examine = createExaminer({
    provider: 'test',
    tenant: 'key',
    deliveries: memoryDeliveries({ maxEntries: 1000 }),
    service: {
      post: async (body) => ({ statusCode: 200, body: answer((body as { token: string }).token) }),
      async close () {}
    },
    schema,
    unknownToken,
    maxAge: 300,
    skew: 60,
    now: now as () => number
  })
  return (token: string) => examine({ token, identify: () => 'ada' })
}

t.test('what the schema does not name is dropped', async (t) => {
  const exam = createExam(() => ({ ...VERDICT, more: 1 }))
  t.strictSame(await exam('token'), { verdict: VERDICT })
})

t.test('of two tokens with one checksum the second is refused', async (t) => {
  const exam = createExam(() => VERDICT)
  t.ok('verdict' in await exam('first'))
  t.strictSame(await exam('second'), { refusal: 'not_human', reason: 'used' })
})

t.test('a token that is refused for another reason is not used up', async (t) => {
  let identifier = 'eve'
  const exam = createExam(() => ({ ...VERDICT, identifier }))
  t.strictSame(await exam('token'), { refusal: 'not_human', reason: 'other_identifier' })
  identifier = 'ada'
  t.ok('verdict' in await exam('token'))
})

t.test('a used token stays used where the clock is set back', async (t) => {
  let wall = NOW
  let passed = 0
  t.intercept(performance, 'now', { value: () => passed })
  const exam = createExam(() => VERDICT, () => wall)
  t.ok('verdict' in await exam('token'))
  for (const [elapsed, clock] of [[0, 300], [360, 300], [361, 300], [419, 300]] as const) {
    passed = elapsed * 1000
    wall = NOW + clock * 1000
    t.strictSame(await exam('token'), { refusal: 'not_human', reason: 'used' }, `after ${elapsed} s`)
  }
})

t.test('a clock that is broken lets nobody in, and is told as what it is', async (t) => {
  const values = [Number.NaN, String(NOW), BigInt(NOW), undefined, new Date(NOW)]
  const fail = () => { throw new Error('canary') }
  for (const clock of [fail, ...values.map((value) => () => value)]) {
    const exam = createExam(() => VERDICT, clock)
    t.strictSame(await exam('token'),
      { refusal: 'unavailable', reason: 'verification_failed', details: { problem: 'the clock is broken' } })
  }
  for (const [clock, reason] of [[Infinity, 'stale'], [-Infinity, 'future']] as const) {
    t.strictSame(await createExam(() => VERDICT, () => clock)('token'), { refusal: 'not_human', reason })
  }
})

t.test('with no room to remember more tokens nobody is let in', async (t) => {
  const exam = createExam((token) => ({ ...VERDICT, checksum: token }))
  for (let index = 0; index < 1000; index++) t.ok('verdict' in await exam(`token ${index}`))
  t.match(await exam('one more'), {
    refusal: 'unavailable', reason: 'store_unavailable', details: { failure: { code: 'FST_VERIFICATION_STORE_FULL' } }
  })
  t.strictSame(await exam('token 0'), { refusal: 'not_human', reason: 'used' }, 'what is used stays used')
})
