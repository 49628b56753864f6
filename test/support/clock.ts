import type { Test } from 'tap'

interface Timer { readonly at: number, readonly run: () => void, ref: () => Timer, unref: () => Timer }

/** Replaces `performance.now` and `setTimeout` by a clock that only `advance` moves, until it is restored. */
export function fakeClock (test: Pick<Test, 'intercept'>) {
  const timers = new Set<Timer>()
  const clearReal = clearTimeout
  let now = performance.now()
  const intercepted = [test.intercept(performance, 'now', { value: () => now }), test.intercept(globalThis, 'setTimeout', {
    value (run: (...args: unknown[]) => void, ms = 1, ...args: unknown[]) {
      const timer: Timer = { at: now + ms, run: () => run(...args), ref: () => timer, unref: () => timer }
      timers.add(timer)
      return timer
    }
  }), test.intercept(globalThis, 'clearTimeout', {
    value (timer: Timer & NodeJS.Timeout) {
      if (!timers.delete(timer)) clearReal(timer)
    }
  })]
  return {
    restore () {
      for (const { restore } of intercepted) restore()
    },
    /** Advances the clock, and resolves after all due timers have run, including those they start. */
    async advance (ms: number): Promise<void> {
      const end = now + ms
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)
        if (next === undefined) break
        timers.delete(next)
        now = Math.max(now, next.at)
        next.run()
      }
      now = end
      for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve))
    }
  }
}
