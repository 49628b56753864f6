import { EventEmitter, once } from 'node:events'
import t from 'tap'
import { createDeadlines } from '../plugins/lib/deadlines.js'

interface Timer { at: number, run: () => void, ref: () => void, unref: () => void, kept: boolean }

/** A clock that moves only when told. The first timer fires `early` ms before it should, as Node's may. */
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

/** Runs `work` on a fake clock, which is gone before the test goes on. */
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

t.test('deadlines expire when they are due, in the order they started', async (t) => {
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

t.test('a deadline that is stopped does not expire, and those around it do', async (t) => {
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

t.test('the same item may have several deadlines, each of its own', async (t) => {
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

t.test('stopping what has expired already changes nothing', async (t) => {
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

t.test('one that is started while another expires is timed by the same timer', async (t) => {
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

t.test('one that fails to expire takes no other with it', async (t) => {
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

t.test('after all are done, the next one is timed again', async (t) => {
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

t.test('a timer that fires early expires nothing early', async (t) => {
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
