import { stat } from 'node:fs/promises'
import t from 'tap'
import { createTimeLimit, TimedOut } from '../plugins/lib/time-limit.js'
import { gateOf, watchRejections } from './fixtures/waiting.js'
import { thenable } from './fixtures/stores.js'

const rejections = watchRejections()
/** For work that is not meant to run out of time. */
const LONG = 100_000
const settled = () => new Promise((resolve) => setImmediate(resolve))
const neverLate = () => t.fail('is not late')
const TIMED_OUT = { code: 'FST_VERIFICATION_TIMED_OUT' }

t.test('work in time is as without a limit, whether it succeeds or fails', async (t) => {
  const inTime = createTimeLimit(LONG)
  for (const value of [1, undefined, null, { a: 1 }]) {
    t.equal(await inTime(Promise.resolve(value), neverLate), value)
    await t.rejects(inTime(Promise.reject(Object.assign(new Error('x'), { value })), neverLate), { message: 'x', value })
    t.strictSame(await Promise.allSettled([inTime(Promise.reject(value))]), [{ status: 'rejected', reason: value }])
  }
  const gate = gateOf<string>()
  const result = inTime(gate.promise, neverLate)
  await settled()
  gate.resolve('a turn later')
  t.equal(await result, 'a turn later')
})

t.test('thenables are work like any other', async (t) => {
  const inTime = createTimeLimit(LONG)
  t.equal(await inTime(thenable((resolve) => resolve(1))), 1)
  t.equal(await inTime(thenable((resolve) => { setImmediate(resolve, 2) })), 2)
  await t.rejects(inTime(thenable((_resolve, reject) => reject(new Error('x')))), { message: 'x' })
  await t.rejects(inTime(thenable(() => { throw new Error('y') })), { message: 'y' })
  await t.rejects(inTime({ get then () { throw new Error('z') } } as never), { message: 'z' })
  await t.rejects(createTimeLimit(1)(thenable(() => {})), TIMED_OUT)
})

t.test('work over its time is rejected, and says after how long', async (t) => {
  const inTime = createTimeLimit(2)
  const error = await inTime(new Promise(() => {})).catch((error: unknown) => error) as Error
  t.type(error, TimedOut)
  t.notMatch(error.stack, / at /, 'where a timer fires is of no interest')
  t.match(error, { ...TIMED_OUT, message: 'No answer within 2 ms' })
})

t.test('what is there once a busy process looks is in time', async (t) => {
  const inTime = createTimeLimit(2)
  const busy = () => { for (const since = performance.now(); performance.now() - since < 100;); }
  await new Promise((resolve) => setImmediate(resolve)) // after which timers come first
  const results = [stat('.').then(() => 'read'), stat('.').then(() => { throw new Error('read') })]
    .map((work) => inTime(work, neverLate))
  busy()
  t.match(await Promise.allSettled(results), [
    { status: 'fulfilled', value: 'read' }, { status: 'rejected', reason: { message: 'read' } }
  ])
})

t.test('what comes too late is given to whoever asked for it, once', async (t) => {
  const inTime = createTimeLimit(2)
  const gate = gateOf<string>()
  const late: string[] = []
  await t.rejects(inTime(gate.promise, (value) => { late.push(value) }), TIMED_OUT)
  await settled()
  t.strictSame(late, [])
  gate.resolve('late')
  await settled()
  t.strictSame(late, ['late'])

  const unheard = gateOf<string>()
  await t.rejects(inTime(unheard.promise), TIMED_OUT)
  unheard.resolve('late')
  await settled()
  t.strictSame(rejections.splice(0), [])
})

t.test('a failure that comes too late is nobody\'s, and not unhandled', async (t) => {
  const inTime = createTimeLimit(2)
  const gate = gateOf<string>()
  await t.rejects(inTime(gate.promise, neverLate), TIMED_OUT)
  gate.reject(new Error('late'))
  await settled()
  t.strictSame(rejections.splice(0), [])
})

t.test('each piece of work has its own time and its own late answer', async (t) => {
  const inTime = createTimeLimit(5)
  const late: string[] = []
  const gates = ['a', 'b', 'c', 'd'].map((name) => ({ name, ...gateOf<string>() }))
  const outcomes = gates.map(({ name, promise }) => inTime(promise, (value) => { late.push(`${name}: ${value}`) }))
  const [, b, , d] = gates
  b!.resolve('in time')
  d!.reject(new Error('in time'))
  t.match(await Promise.allSettled(outcomes), [
    { status: 'rejected', reason: TIMED_OUT }, { status: 'fulfilled', value: 'in time' },
    { status: 'rejected', reason: TIMED_OUT }, { status: 'rejected', reason: { message: 'in time' } }
  ])
  for (const { resolve } of gates.toReversed()) resolve('late')
  await settled()
  t.strictSame(late, ['c: late', 'a: late'])
})

t.test('work that ended in time is not timed any more', async (t) => {
  let timers = 0
  const clock = t.intercept(globalThis, 'setTimeout', {
    value () {
      timers++
      return { ref () { timers++ }, unref () { timers-- } }
    }
  })
  const inTime = createTimeLimit(LONG)
  const first = gateOf<number>()
  const second = gateOf<number>()
  const results = [inTime(first.promise), inTime(second.promise)]
  const during = timers
  first.resolve(1)
  await results[0]
  const between = timers
  second.reject(new Error('x'))
  await Promise.allSettled(results)
  const after = timers
  clock.restore()
  t.strictSame([during, between, after], [1, 1, 0])
})
