import type { Result } from './verdict.js'

/** Summary of many deliveries. `latency` is in milliseconds, and undefined if there was no response. */
export interface Summary {
  readonly sent: number
  readonly expected: number
  readonly unexpected: number
  /** Number of responses by status; `none` counts deliveries without a response. */
  readonly answers: Readonly<Record<string, number>>
  readonly seconds: number
  readonly perSecond: number
  readonly latency?: Readonly<Record<'p50' | 'p95' | 'p99' | 'max', number>>
}

/** Rounds a time or rate to three decimals. */
export const roundTo3 = (value: number): number => Math.round(value * 1000) / 1000

/** Creates a tally of outcomes. Its time starts now. */
export function createTally () {
  const start = performance.now()
  const durations: number[] = []
  const answers = new Map<string, number>()
  let sent = 0
  let expected = 0

  function count ({ outcome, ...result }: Pick<Result, 'outcome' | 'expected'>): void {
    const answer = 'failure' in outcome ? 'none' : String(outcome.status)
    answers.set(answer, (answers.get(answer) ?? 0) + 1)
    sent++
    if (result.expected) expected++
    if (!('failure' in outcome)) durations.push(outcome.duration)
  }

  function summary (): Summary {
    const seconds = (performance.now() - start) / 1000
    const sorted = durations.sort((one, other) => one - other)
    // Nearest rank: the smallest measured value that at least p percent of all values do not exceed.
    const percentile = (p: number): number => sorted[Math.ceil(sorted.length * p / 100) - 1]!
    const latency = { p50: percentile(50), p95: percentile(95), p99: percentile(99), max: percentile(100) }
    return {
      sent,
      expected,
      unexpected: sent - expected,
      answers: Object.fromEntries([...answers].sort()),
      seconds: roundTo3(seconds),
      perSecond: roundTo3(sent / seconds),
      ...(sorted.length > 0 && { latency })
    }
  }

  return { count, summary }
}
