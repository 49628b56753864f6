// The model of docs/scale.md: what a delivery costs, and what so many of them need.

/** What a delivery costs besides what grows with its body. */
export interface Line { /** Of an empty body. */ readonly base: number, readonly perByte: number }

/** The line through two points. */
export function lineThrough ([x0, y0]: readonly [number, number], [x1, y1]: readonly [number, number]): Line {
  const perByte = (y1 - y0) / (x1 - x0)
  return { base: y0 - perByte * x0, perByte }
}

export const at = ({ base, perByte }: Line, bytes: number): number => base + perByte * bytes

/** By how much a prediction misses, in per cent of what was measured. */
export const missOf = (predicted: number, measured: number): number => (predicted / measured - 1) * 100

export interface Costs {
  /** CPU time of a server a delivery, in microseconds. */
  readonly server: number
  /** CPU time of Redis a delivery, in microseconds. */
  readonly redis: number
  /** Calls of Redis a delivery. */
  readonly calls: number
  /** Of a delivery that is remembered, in bytes of Redis. */
  readonly entry: number
  /** In and out of a server on the side of the senders, in bytes a delivery. */
  readonly http: number
  /** In and out of Redis, in bytes a delivery. */
  readonly wire: number
}

/** How busy a core is to be at most: above that, what arrives in bursts waits long. */
export const BUSY = 0.6

export interface Needs {
  readonly rate: number
  readonly serverCores: number
  /** Redis does all commands on one core: more than 1 means more than one Redis. */
  readonly redisCores: number
  readonly calls: number
  readonly gigabytes: number
  /** In bits a second, in millions. */
  readonly http: number
  readonly wire: number
}

/** What `perHour` deliveries need that are remembered for `hours`. */
export function needsOf (perHour: number, hours: number, costs: Costs): Needs {
  const rate = perHour / 3600
  const cores = (microseconds: number): number => rate * microseconds / 1e6 / BUSY
  const megabits = (bytes: number): number => rate * bytes * 8 / 1e6
  return {
    rate,
    serverCores: cores(costs.server),
    redisCores: cores(costs.redis),
    calls: rate * costs.calls,
    gigabytes: perHour * hours * costs.entry / 1e9,
    http: megabits(costs.http),
    wire: megabits(costs.wire)
  }
}
