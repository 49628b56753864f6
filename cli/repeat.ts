import { setTimeout as delay } from 'node:timers/promises'

/** Maximum number of concurrent deliveries. */
export const AT_A_TIME = 8

interface Pace {
  readonly times: number
  /** Maximum number of deliveries that begin per second; undefined for no limit. */
  readonly rate: number | undefined
  readonly signal: AbortSignal
}

/** Runs `work` the given number of times, partly concurrently, until the signal is aborted. */
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
