import { EventEmitter, once } from 'node:events'
import { stat } from 'node:fs/promises'
import t from 'tap'
import { createDeadlines, createTimeLimit, isThenable, TimedOut, toPromise } from '../../plugins/lib/timers.js'
import { createSemaphore } from '../../plugins/humandetect/semaphore.js'
import { thenable } from '../support/stores.js'
import { gateOf, watchRejections } from '../support/waiting.js'

interface Timer { at: number, run: () => void, ref: () => void, unref: () => void, kept: boolean }

/** Creates a clock that advances only on request. Its first timer fires `early` ms too early, as Node's may. */
function fakeClock (test: Pick<typeof t, 'intercept'>, early = 0) {
  const timers: Timer[] = []
  const clock = {
    now: 0,
    timers,
    started: 0,
    advance (ms: number) {
      const end = clock.now + ms
      for (;;) {
        const next = timers.toSorted((a, b) => a.at - b.at).find(({ at }) => at <= end)
        if (next === undefined) break
        timers.splice(timers.indexOf(next), 1)
        clock.now = Math.max(clock.now, next.at)
        next.run()
      }
      clock.now = end
    },
    restore () {
      for (const { restore } of intercepted) restore()
    }
  }
  const intercepted = [
    test.intercept(performance, 'now', { value: () => clock.now }),
    test.intercept(globalThis, 'setTimeout', {
      value (run: () => void, ms: number) {
        const at = clock.now + ms - (clock.started++ === 0 ? early : 0)
        const timer: Timer = {
          at, run, kept: true, ref: () => { timer.kept = true }, unref: () => { timer.kept = false }
        }
        timers.push(timer)
        return timer
      }
    })
  ]
  return clock
}

/** Runs `work` on a fake clock, which is removed before the test goes on. */
function onFakeClock<Result> (
  test: Pick<typeof t, 'intercept'>, work: (clock: ReturnType<typeof fakeClock>) => Result, early = 0
): Result {
  const clock = fakeClock(test, early)
  try {
    return work(clock)
  } finally {
    clock.restore()
  }
}

t.test('deadlines expire when they are due, in the order in which they started', async (t) => {
  const seen = onFakeClock(t, (clock) => {
    const expired: string[] = []
    const deadlines = createDeadlines<string>(100, (item) => { expired.push(`${item} at ${clock.now}`) })
    deadlines.start('a')
    deadlines.start('b')
    clock.advance(40)
    deadlines.start('c')
    clock.advance(59)
    const before = [...expired]
    clock.advance(1)
    const at100 = [...expired]
    clock.advance(39)
    const at139 = [...expired]
    clock.advance(500)
    return { before, at100, at139, expired, timers: clock.timers.length, started: clock.started }
  })
  t.strictSame(seen, {
    before: [],
    at100: ['a at 100', 'b at 100'],
    at139: ['a at 100', 'b at 100'],
    expired: ['a at 100', 'b at 100', 'c at 140'],
    timers: 0,
    started: 2
  })
})

t.test('a stopped deadline does not expire, and its neighbours do', async (t) => {
  for (const stopped of ['a', 'b', 'c']) {
    const expired = onFakeClock(t, (clock) => {
      const expired: string[] = []
      const deadlines = createDeadlines<string>(100, (item) => { expired.push(item) })
      const started = ['a', 'b', 'c'].map((item) => {
        clock.advance(10)
        return deadlines.start(item)
      })
      for (const deadline of started) if (deadline.item === stopped) deadlines.stop(deadline)
      clock.advance(1000)
      return expired
    })
    t.strictSame(expired, ['a', 'b', 'c'].filter((item) => item !== stopped))
  }
})

t.test('the same item may have several independent deadlines', async (t) => {
  const expired = onFakeClock(t, (clock) => {
    const expired: number[] = []
    const deadlines = createDeadlines<string>(100, () => { expired.push(clock.now) })
    const first = deadlines.start('x')
    clock.advance(10)
    deadlines.start('x')
    deadlines.stop(first)
    deadlines.stop(first)
    clock.advance(1000)
    return expired
  })
  t.strictSame(expired, [110])
})

t.test('stopping an expired deadline has no effect', async (t) => {
  const expired = onFakeClock(t, (clock) => {
    const expired: string[] = []
    const deadlines = createDeadlines<string>(100, (item) => { expired.push(item) })
    const first = deadlines.start('a')
    clock.advance(100)
    deadlines.stop(first)
    deadlines.start('b')
    clock.advance(100)
    return expired
  })
  t.strictSame(expired, ['a', 'b'])
})

t.test('one deadline may stop another that is due as well', async (t) => {
  const expired = onFakeClock(t, (clock) => {
    const expired: string[] = []
    const deadlines = createDeadlines<string>(100, (item) => {
      expired.push(item)
      if (item === 'a') deadlines.stop(second)
    })
    deadlines.start('a')
    const second = deadlines.start('b')
    deadlines.start('c')
    clock.advance(1000)
    return expired
  })
  t.strictSame(expired, ['a', 'c'])
})

t.test('a deadline started while another expires uses the same timer', async (t) => {
  const seen = onFakeClock(t, (clock) => {
    const expired: number[] = []
    const deadlines = createDeadlines<number>(100, (left) => {
      expired.push(clock.now)
      if (left > 0) deadlines.start(left - 1)
    })
    deadlines.start(3)
    clock.advance(1000)
    return { expired, started: clock.started }
  })
  t.strictSame(seen, { expired: [100, 200, 300, 400], started: 4 })
})

t.test('a deadline whose callback throws does not affect the others', async (t) => {
  const expired = onFakeClock(t, (clock) => {
    const expired: string[] = []
    const deadlines = createDeadlines<string>(100, (item) => {
      if (item === 'a') throw new Error('a')
      expired.push(item)
    })
    deadlines.start('a')
    deadlines.start('b')
    t.throws(() => clock.advance(100), { message: 'a' })
    clock.advance(100)
    return expired
  })
  t.strictSame(expired, ['b'])
})

t.test('after all deadlines have ended, the next one is timed again', async (t) => {
  const seen = onFakeClock(t, (clock) => {
    const expired: number[] = []
    const deadlines = createDeadlines<string>(100, () => { expired.push(clock.now) })
    for (const wait of [0, 5000, 1]) {
      clock.advance(wait)
      deadlines.start('x')
      clock.advance(100)
    }
    clock.advance(1)
    deadlines.stop(deadlines.start('never'))
    clock.advance(70)
    deadlines.start('y')
    clock.advance(99)
    const before = expired.length
    clock.advance(1)
    return { expired, before, timers: clock.timers.length }
  })
  t.strictSame(seen, { expired: [100, 5200, 5301, 5472], before: 3, timers: 0 })
})

t.test('a timer that fires early expires no deadline early', async (t) => {
  for (const [early, expected] of [[0.4, 100.6], [1, 100], [7, 100]] as const) {
    const seen = onFakeClock(t, (clock) => {
      const expired: number[] = []
      const deadlines = createDeadlines<string>(100, () => { expired.push(clock.now) })
      deadlines.start('x')
      clock.advance(200)
      return { expired, started: clock.started }
    }, early)
    t.strictSame(seen, { expired: [expected], started: 2 }, `${early} ms early`)
  }
})

t.test('ten thousand deadlines share one timer, which keeps a process alive while one of them runs', async (t) => {
  const seen = onFakeClock(t, (clock) => {
    let expired = 0
    const deadlines = createDeadlines<number>(100, () => { expired++ })
    const started = Array.from({ length: 10_000 }, (_, item) => {
      if (item % 1000 === 0) clock.advance(1)
      return deadlines.start(item)
    })
    const { length } = clock.timers
    const kept = clock.timers.some((timer) => timer.kept)
    for (const deadline of started.slice(0, 9000)) deadlines.stop(deadline)
    const keptForSome = clock.timers.some((timer) => timer.kept)
    clock.advance(1000)
    return { length, kept, keptForSome, expired, left: clock.timers.length, started: clock.started <= 11 }
  })
  t.strictSame(seen, { length: 1, kept: true, keptForSome: true, expired: 1000, left: 0, started: true })
})

t.test('a timer keeps no process alive once no deadline runs, and does so again for the next one', async (t) => {
  const kept = onFakeClock(t, (clock) => {
    const isKept = () => clock.timers.map((timer) => timer.kept)
    const deadlines = createDeadlines<string>(100, () => {})
    const first = deadlines.start('a')
    const second = deadlines.start('b')
    deadlines.stop(first)
    const whileOneRuns = isKept()
    deadlines.stop(second)
    const afterAll = isKept()
    clock.advance(50)
    const third = deadlines.start('c')
    const withAnother = isKept()
    clock.advance(50)
    const rearmed = isKept()
    deadlines.stop(third)
    return [whileOneRuns, afterAll, withAnother, rearmed, isKept()]
  })
  t.strictSame(kept, [[true], [false], [true], [true], [false]])
})

t.test('real timers: in order, and not before their time', async (t) => {
  const events = new EventEmitter()
  const expired: string[] = []
  const ms = 20
  const deadlines = createDeadlines<{ name: string, since: number }>(ms, ({ name, since }) => {
    if (performance.now() - since >= ms) expired.push(name)
    events.emit(name)
  })
  const start = (name: string) => deadlines.start({ name, since: performance.now() })
  start('a')
  deadlines.stop(start('b'))
  start('c')
  await once(events, 'a').then(() => start('d'))
  await once(events, 'd')
  t.strictSame(expired, ['a', 'c', 'd'])
})

const rejections = watchRejections()
/** Time limit in milliseconds, for work that must not reach it. */
const LONG = 100_000
const allSettled = () => new Promise((resolve) => setImmediate(resolve))
const neverLate = () => t.fail('is not late')
const TIMED_OUT = { code: 'FST_VERIFICATION_CALL_TIMEOUT' }

t.test('work in time is returned as without a limit, both successes and failures', async (t) => {
  const inTime = createTimeLimit(LONG)
  for (const value of [1, undefined, null, { a: 1 }]) {
    t.equal(await inTime(Promise.resolve(value), neverLate), value)
    await t.rejects(inTime(Promise.reject(Object.assign(new Error('x'), { value })), neverLate), { message: 'x', value })
    t.strictSame(await Promise.allSettled([inTime(Promise.reject(value))]), [{ status: 'rejected', reason: value }])
  }
  const gate = gateOf<string>()
  const result = inTime(gate.promise, neverLate)
  await allSettled()
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

t.test('work over its time is rejected, with the limit in the message', async (t) => {
  const inTime = createTimeLimit(2)
  const error = await inTime(new Promise(() => {})).catch((error: unknown) => error) as Error
  t.type(error, TimedOut)
  t.notMatch(error.stack, / at /, 'where a timer fires is of no interest')
  t.match(error, { ...TIMED_OUT, message: 'No result within 2 ms' })
})

t.test('work that is done when a busy process checks is in time', async (t) => {
  const inTime = createTimeLimit(2)
  const busy = () => { for (const since = performance.now(); performance.now() - since < 100;); }
  await new Promise((resolve) => setImmediate(resolve)) // timers run first after this
  const results = [stat('.').then(() => 'read'), stat('.').then(() => { throw new Error('read') })]
    .map((work) => inTime(work, neverLate))
  busy()
  t.match(await Promise.allSettled(results), [
    { status: 'fulfilled', value: 'read' }, { status: 'rejected', reason: { message: 'read' } }
  ])
})

t.test("a late result is passed to the caller's callback, once", async (t) => {
  const inTime = createTimeLimit(2)
  const gate = gateOf<string>()
  const late: string[] = []
  await t.rejects(inTime(gate.promise, (value) => { late.push(value) }), TIMED_OUT)
  await allSettled()
  t.strictSame(late, [])
  gate.resolve('late')
  await allSettled()
  t.strictSame(late, ['late'])

  const unheard = gateOf<string>()
  await t.rejects(inTime(unheard.promise), TIMED_OUT)
  unheard.resolve('late')
  await allSettled()
  t.strictSame(rejections.splice(0), [])
})

t.test('a late failure is ignored, and not unhandled', async (t) => {
  const inTime = createTimeLimit(2)
  const gate = gateOf<string>()
  await t.rejects(inTime(gate.promise, neverLate), TIMED_OUT)
  gate.reject(new Error('late'))
  await allSettled()
  t.strictSame(rejections.splice(0), [])
})

t.test('each piece of work has its own time and its own late result', async (t) => {
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
  await allSettled()
  t.strictSame(late, ['c: late', 'a: late'])
})

t.test('finished work is no longer timed', async (t) => {
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

t.test('a value with a method "then" is thenable', async (t) => {
  const own = Object.assign(() => {}, { then () {} })
  class Later { then () {} }
  const values = [Promise.resolve(), { then () {} }, own, new Later(), Object.create(new Later())]
  for (const value of values) t.equal(isThenable(value), true)
})

t.test('no other value is', async (t) => {
  const values = [undefined, null, 0, 1n, '', 'then', true, Symbol('x'), {}, [], () => {}, { then: 1 }, { then: {} }, { catch () {} }]
  for (const value of values) t.equal(isThenable(value), false)
})

t.test('a value that cannot be inspected throws', async (t) => {
  const failure = new Error('x')
  t.throws(() => isThenable({ get then () { throw failure } }), failure)
})

t.test('a thenable becomes a new promise with the same outcome', async (t) => {
  const resolved = Promise.resolve(1)
  t.not(toPromise(resolved), resolved)
  t.type(toPromise(thenable(() => {})), Promise)
  t.equal(await toPromise(resolved), 1)
  t.equal(await toPromise(thenable((resolve) => resolve(thenable((resolve) => resolve(2))))), 2)
  await t.rejects(toPromise(Promise.reject(new Error('x'))), { message: 'x' })
})

t.test('a thenable that breaks the rules of promises gives one outcome', async (t) => {
  await t.rejects(toPromise(thenable(() => { throw new Error('x') })), { message: 'x' })
  t.equal(await toPromise(thenable((resolve, reject) => {
    resolve(1)
    resolve(2)
    reject(new Error('x'))
    throw new Error('y')
  })), 1)
  await t.rejects(toPromise(thenable((resolve, reject) => {
    reject(new Error('x'))
    resolve(1)
  })), { message: 'x' })
  t.equal(await toPromise(thenable((resolve) => { setImmediate(resolve, 3) })), 3)
})

t.test('a thenable is called once, and not before its caller has continued', async (t) => {
  let asked = 0
  const outcome = toPromise(thenable((resolve) => {
    asked++
    resolve('x')
  }))
  t.equal(asked, 0)
  await outcome
  t.equal(asked, 1)
})

const patient = () => new AbortController().signal
const settled = async (promise: Promise<unknown>) =>
  Promise.race([promise.then(() => 'entered', (error) => error), new Promise((resolve) => setImmediate(resolve, 'waiting'))])

t.test('a semaphore admits its number at once, and the others in turn', async (t) => {
  const take = createSemaphore(2)
  const [first, second] = await Promise.all([take(patient()), take(patient())])
  const [third, fourth] = [take(patient()), take(patient())]
  t.equal(await settled(third), 'waiting')
  second()
  t.equal(await settled(third), 'entered')
  t.equal(await settled(fourth), 'waiting')
  first()
  t.equal(await settled(fourth), 'entered')
  const fifth = take(patient())
  t.equal(await settled(fifth), 'waiting', 'there are never more slots than at the start')
  ;(await third)()
  t.equal(await settled(fifth), 'entered')
})

t.test('a slot released while nobody waits is free for the next caller', async (t) => {
  const take = createSemaphore(1)
  for (let count = 0; count < 3; count++) (await take(patient()))()
  t.pass('entered')
})

t.test('a caller that waits too long leaves the queue, with the reason of the signal', async (t) => {
  const take = createSemaphore(1)
  const release = await take(patient())
  const impatient = new AbortController()
  const reason = new Error('too long')
  const [leaving, staying] = [take(impatient.signal), take(patient())]
  impatient.abort(reason)
  t.equal(await settled(leaving), reason)
  release()
  t.equal(await settled(staying), 'entered', 'the slot goes to the next caller')
  ;(await staying)()
  t.equal(await settled(take(patient())), 'entered', 'and is not lost')
})

t.test('a signal that aborts after the slot was granted has no effect', async (t) => {
  const take = createSemaphore(1)
  const release = await take(patient())
  const controller = new AbortController()
  const next = take(controller.signal)
  release()
  controller.abort()
  const free = await next
  const last = take(patient())
  t.equal(await settled(last), 'waiting')
  free()
  t.equal(await settled(last), 'entered')
})

t.test('a caller whose signal is already aborted does not enter, and takes no slot', async (t) => {
  const take = createSemaphore(1)
  t.match(await settled(take(AbortSignal.abort())), { name: 'AbortError' })
  t.equal(await settled(take(patient())), 'entered')
})
