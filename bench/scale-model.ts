// Model of docs/scale.md: cost of a delivery, and resources for a number of them.

/** A cost that grows with the bytes of a body. */
export interface Line { /** Cost with an empty body. */ readonly base: number, readonly perByte: number }

/** Returns the line through two points. */
export function lineThrough ([x0, y0]: readonly [number, number], [x1, y1]: readonly [number, number]): Line {
  const perByte = (y1 - y0) / (x1 - x0)
  return { base: y0 - perByte * x0, perByte }
}

export const at = ({ base, perByte }: Line, bytes: number): number => base + perByte * bytes

/** Returns the error of a prediction, in per cent of the measured value. */
export const missOf = (predicted: number, measured: number): number => (predicted / measured - 1) * 100

/** Costs of a delivery; CPU times in microseconds. */
export interface Costs {
  readonly server: number
  /** CPU time of Redis for the claim. */
  readonly claim: number
  /** CPU time of Redis for adding the job and for working on it. */
  readonly job: number
  /** CPU time of a worker whose handler does nothing. */
  readonly worker: number
  /** Bytes in Redis of a remembered delivery. */
  readonly entry: number
  /** Bytes in Redis of a completed job that is kept. */
  readonly kept: number
  /** Bytes to and from Redis. */
  readonly wire: number
  /** Bytes to and from a server, on the side of its senders. */
  readonly http: number
}

/** Maximum load of a core: above that, bursts wait long. */
export const BUSY = 0.6

/** Returns the resources for `perHour` deliveries: cores, gigabytes, megabits per second. */
export function needsOf (perHour: number, costs: Costs) {
  const rate = perHour / 3600
  const cores = (microseconds: number): number => rate * microseconds / 1e6 / BUSY
  const megabits = (bytes: number): number => rate * bytes * 8 / 1e6
  return {
    rate,
    servers: cores(costs.server),
    workers: cores(costs.worker),
    /** Cores of Redis. One Redis runs all its commands on one core, so more than 1 requires several. */
    claims: cores(costs.claim),
    jobs: cores(costs.job),
    /** Gigabytes per hour of retention. */
    entries: perHour * costs.entry / 1e9,
    /** Gigabytes per hour of retention. */
    kept: perHour * costs.kept / 1e9,
    http: megabits(costs.http),
    wire: megabits(costs.wire)
  }
}
