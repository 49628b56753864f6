import t from 'tap'
import { createSingleUse } from '../plugins/lib/single-use.js'

/** Takes on a clock that moves only when told. */
function onFakeClock (ttl: number, mostEntries?: number) {
  const clock = { now: 1_000 }
  return { clock, take: createSingleUse(ttl, mostEntries, () => clock.now) }
}

t.test('a value is taken once, however often it is tried', async (t) => {
  const { take } = onFakeClock(100)
  t.equal(take('a'), true)
  for (let again = 0; again < 5; again++) t.equal(take('a'), false)
  t.equal(take('b'), true, 'another is not concerned')
  t.equal(take('a'), false)
  t.equal(take('b'), false)
})

t.test('a value is forgotten once its time is over, and not a moment before', async (t) => {
  const { clock, take } = onFakeClock(100)
  t.equal(take('a'), true)
  clock.now += 99
  t.equal(take('a'), false)
  clock.now += 0.999
  t.equal(take('a'), false, 'just before its end')
  clock.now = 1_100
  t.equal(take('a'), true, 'at its end')
  clock.now += 99
  t.equal(take('a'), false, 'and then it lives as long again')
  clock.now += 1
  t.equal(take('a'), true)
})

t.test('another try does not make a value live longer', async (t) => {
  const { clock, take } = onFakeClock(100)
  t.equal(take('a'), true)
  for (let step = 0; step < 9; step++) {
    clock.now += 11
    t.equal(take('a'), false, `after ${clock.now - 1_000} ms`)
  }
  clock.now += 1
  t.equal(take('a'), true)
})

t.test('each value is forgotten in its own time', async (t) => {
  const { clock, take } = onFakeClock(100)
  for (const value of ['a', 'b', 'c']) {
    t.equal(take(value), true)
    clock.now += 10
  }
  clock.now = 1_110 // the end of "b"
  t.equal(take('c'), false)
  t.equal(take('b'), true)
  t.equal(take('a'), true)
  clock.now = 1_120
  t.equal(take('c'), true)
  t.equal(take('b'), false, 'taken anew')
  t.equal(take('a'), false, 'taken anew')
})

t.test('without room nothing new is taken, nothing is forgotten early, and what is known stays known', async (t) => {
  const { clock, take } = onFakeClock(100, 3)
  for (const value of ['a', 'b', 'c']) {
    t.equal(take(value), true)
    clock.now += 10
  }
  for (let again = 0; again < 3; again++) {
    t.equal(take('d'), undefined)
    t.equal(take('e'), undefined)
    for (const value of ['a', 'b', 'c']) t.equal(take(value), false, value)
  }
  clock.now = 1_099
  t.equal(take('d'), undefined, 'a moment before there is room')
  t.equal(take('a'), false)
  clock.now = 1_100
  t.equal(take('d'), true, 'room for one')
  t.equal(take('e'), undefined)
  t.equal(take('a'), undefined, 'forgotten, but there is no room to take it again')
  t.strictSame(['b', 'c', 'd'].map(take), [false, false, false])
  clock.now = 1_110
  t.equal(take('e'), true)
  t.equal(take('b'), undefined)
  clock.now = 10_000
  t.strictSame(['a', 'b', 'c', 'd'].map(take), [true, true, true, undefined], 'all room is back')
})

t.test('a value that found no room leaves no trace', async (t) => {
  const { clock, take } = onFakeClock(100, 1)
  t.equal(take('a'), true)
  t.equal(take('b'), undefined)
  clock.now += 100
  t.equal(take('b'), true)
  t.equal(take('b'), false)
})

t.test('values that are nearly the same are not', async (t) => {
  const { take } = onFakeClock(100)
  const values = [
    '', ' ', '\0', '\0\0', 'a', 'A', 'a ', ' a', 'a\0', 'a\n', '\u00e9', 'e\u0301', '\u00c3\u00a9', '\ufffd', '?',
    '\ud800', '\ud801', '\udbff', '\udc00', '\udfff', '\ud800\udc00', '\udc00\ud800', 'x\ud800', 'x\ud801', 'x\ufffd',
    '__proto__', 'constructor', 'toString', 'undefined', 'null', '0', '00', 'a'.repeat(100_000), 'a'.repeat(100_001)
  ]
  for (const value of values) t.equal(take(value), true, JSON.stringify(value.slice(0, 20)))
  for (const value of values) t.equal(take(value), false, JSON.stringify(value.slice(0, 20)))
})

t.test('two memories know nothing of each other', async (t) => {
  const { take } = onFakeClock(100)
  const other = onFakeClock(100)
  t.equal(take('a'), true)
  t.equal(other.take('a'), true)
  t.equal(take('a'), false)
})

t.test('100,000 values fit by default, and then every try is as quick as the first', async (t) => {
  const { clock, take } = onFakeClock(100)
  for (let index = 0; index < 100_000; index++) {
    if (take(`value ${index}`) !== true) t.fail(`value ${index} must be taken`)
  }
  t.equal(take('one more'), undefined)
  const start = performance.now()
  for (let index = 0; index < 10_000; index++) {
    if (take(`value ${index}`) !== false) t.fail(`value ${index} must be known`)
    if (take(`other ${index}`) !== undefined) t.fail(`other ${index} must find no room`)
  }
  t.ok(performance.now() - start < 2_000, '20,000 tries of a full memory do not look through it')
  clock.now += 100
  t.equal(take('one more'), true)
  t.equal(take('value 0'), true, 'all are forgotten at once')
})

t.test('by default the clock is one that only goes forward', async (t) => {
  const clock = { now: 500 }
  t.intercept(performance, 'now', { value: () => clock.now })
  t.intercept(Date, 'now', { value: () => { throw new Error('the time of day can be set back') } })
  const take = createSingleUse(100)
  t.equal(take('a'), true)
  clock.now = 599
  t.equal(take('a'), false)
  clock.now = 600
  t.equal(take('a'), true)
})
