// The model of docs/scale.md: what a delivery costs, and what so many of them need.

/** What grows with the bytes of a body. */
export interface Line { /** Of an empty body. */ readonly base: number, readonly perByte: number }

/** The line through two points. */
export function lineThrough ([x0, y0]: readonly [number, number], [x1, y1]: readonly [number, number]): Line {
  const perByte = (y1 - y0) / (x1 - x0)
  return { base: y0 - perByte * x0, perByte }
}

export const at = ({ base, perByte }: Line, bytes: number): number => base + perByte * bytes

/** By how much a prediction misses, in per cent of what was measured. */
export const missOf = (predicted: number, measured: number): number => (predicted / measured - 1) * 100

/** What a delivery costs; CPU time in microseconds. */
export interface Costs {
  readonly server: number
  /** Of Redis, for the claim. */
  readonly claim: number
  /** Of Redis, for adding the job and for working on it. */
  readonly job: number
  /** Of a worker whose handler does nothing. */
  readonly worker: number
  /** Bytes of Redis, of a delivery that is remembered. */
  readonly entry: number
  /** Bytes of Redis, of a job that is done and kept. */
  readonly kept: number
  /** Bytes in and out of Redis. */
  readonly wire: number
  /** Bytes in and out of a server, on the side of its senders. */
  readonly http: number
}

/** How busy a core is to be at most: above that, what arrives in bursts waits long. */
export const BUSY = 0.6

/** What `perHour` deliveries need: cores, gigabytes, megabits a second. */
export function needsOf (perHour: number, costs: Costs) {
  const rate = perHour / 3600
  const cores = (microseconds: number): number => rate * microseconds / 1e6 / BUSY
  const megabits = (bytes: number): number => rate * bytes * 8 / 1e6
  return {
    rate,
    servers: cores(costs.server),
    workers: cores(costs.worker),
    /** All commands of one Redis are done on one core: more than 1 means more than one Redis. */
    claims: cores(costs.claim),
    jobs: cores(costs.job),
    /** For each hour that they are remembered. */
    entries: perHour * costs.entry / 1e9,
    /** For each hour that they are kept. */
    kept: perHour * costs.kept / 1e9,
    http: megabits(costs.http),
    wire: megabits(costs.wire)
  }
}
