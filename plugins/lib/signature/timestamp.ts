import { reject, type Rejection } from './rejection.js'
import { isThenable, toPromise } from '../thenable.js'

// Seconds since 1970 in ten digits (2001-09-09 to 2286-11-20), without sign, space, fraction, exponent or milliseconds.
const UNIX_SECONDS = /^[1-9][0-9]{9}$/
// RFC 9110 section 5.6.7, IMF-fixdate. Dates beyond the year 9999 are longer.
const HTTP_DATE_LENGTH = 'Sun, 06 Nov 1994 08:49:37 GMT'.length
// ISO 8601 with an offset, with or without a colon. RFC 3339 allows only the form with a colon.
const DATE_TIME = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,9})?(?:Z|([+-])(\d{2}):?(\d{2}))$/

/** The span of time in which a signed timestamp counts as fresh. */
export interface Freshness {
  /** Maximum age of a signed timestamp in seconds, up to 7 days. Default 300. */
  readonly tolerance: number
  /** Maximum time in seconds that a signed timestamp may be ahead of this server's clock, up to 7 days. Default 60. */
  readonly futureTolerance: number
  /** Clock that returns milliseconds since 1970, for tests. Default `Date.now`. */
  readonly now: () => number
}

export type FreshnessInput = { [K in keyof Freshness]?: Freshness[K] | undefined }

/** Calls `Date.now` each time, so that fake timers apply whether they are installed before or after registration. */
export const systemClock = (): number => Date.now()

export function freshnessOf (given: FreshnessInput): Freshness {
  const { tolerance = 300, futureTolerance = 60, now = systemClock } = given
  return { tolerance, futureTolerance, now }
}

export function parseUnixSeconds (text: string): number | undefined {
  return UNIX_SECONDS.test(text) ? Number(text) : undefined
}

/**
 * Parses an HTTP date into seconds since 1970. Returns undefined if it is malformed or does not exist, which is checked
 * by formatting the result again.
 */
export function parseHttpDate (text: string): number | undefined {
  if (text.length !== HTTP_DATE_LENGTH) return undefined
  const date = new Date(text)
  return date.toUTCString() === text ? date.getTime() / 1000 : undefined
}

/**
 * Parses a date and time with an offset into milliseconds since 1970. Returns undefined if it is malformed or does not
 * exist, which is checked by formatting the result again.
 */
export function parseDateTime (text: string): number | undefined {
  const match = DATE_TIME.exec(text)
  if (match === null) return undefined
  const [, local, fraction = '', sign, hours = '', minutes = ''] = match
  if (hours > '23' || minutes > '59') return undefined
  const time = Date.parse(`${local}Z`)
  if (Number.isNaN(time) || !new Date(time).toISOString().startsWith(local!)) return undefined
  const offset = (Number(hours) * 60 + Number(minutes)) * 60_000
  return time + Number(`0${fraction}`) * 1000 - (sign === '-' ? -offset : offset)
}

/**
 * Clock difference in seconds: a clock may be set back, or differ from another server's, by this much before a handled
 * delivery counts as new.
 */
export const CLOCK_SLACK = 60

/**
 * Returns the maximum duration in milliseconds for which a signed timestamp can be fresh, with 1 second added because
 * timestamps are whole seconds and the clock is not.
 */
export function replayWindow ({ tolerance, futureTolerance }: Freshness): number {
  return (tolerance + futureTolerance + 1 + CLOCK_SLACK) * 1000
}

/** Reads a clock in milliseconds. Returns NaN if the result is not a number. */
export function readClock (now: () => unknown): number {
  const time = now()
  if (isThenable(time)) toPromise(time).catch(() => {})
  return typeof time === 'number' ? time : Number.NaN
}

/**
 * Returns a rejection unless the timestamp is within the tolerances, both ends included. A broken clock causes a
 * rejection.
 */
export function checkFreshness (
  seconds: number, { tolerance, futureTolerance, now }: Freshness
): Rejection | undefined {
  const ageSeconds = Math.floor(readClock(now) / 1000) - seconds
  if (ageSeconds < -futureTolerance) return { ...reject('future'), ageSeconds }
  return ageSeconds <= tolerance ? undefined : { ...reject('stale'), ageSeconds }
}
