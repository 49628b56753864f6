import { setTimeout as delay } from 'node:timers/promises'

/** How many deliveries are under way at the same time, at most. */
export const AT_A_TIME = 8

interface Pace {
  readonly times: number
  /** How many may begin in a second; undefined for as many as there can be. */
  readonly rate: number | undefined
  readonly signal: AbortSignal
}

/** Does its work so many times, some of them at the same time, until the signal comes. */
export async function repeat ({ times, rate, signal }: Pace, work: (number: number) => Promise<void>): Promise<void> {
  const start = performance.now()
  let begun = 0

  async function worker (): Promise<void> {
    while (begun < times && !signal.aborted) {
      const number = ++begun
      const wait = rate === undefined ? 0 : start + (number - 1) * 1000 / rate - performance.now()
      if (wait > 0) await delay(wait, undefined, { signal }).catch(() => {})
      if (!signal.aborted) await work(number)
    }
  }

  await Promise.all(Array.from({ length: Math.min(times, AT_A_TIME) }, worker))
}
