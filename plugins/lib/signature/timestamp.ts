import { reject, type Rejection } from './rejection.js'
import { isThenable, toPromise } from '../thenable.js'

// Seconds since 1970 in ten digits (2001-09-09 to 2286-11-20): no sign, space, fraction, exponent or milliseconds.
const UNIX_SECONDS = /^[1-9][0-9]{9}$/
// RFC 9110 section 5.6.7, IMF-fixdate. Those of years beyond 9999 are longer.
const HTTP_DATE_LENGTH = 'Sun, 06 Nov 1994 08:49:37 GMT'.length
// ISO 8601 with an offset, with or without its colon: RFC 3339 knows only the former.
const DATE_TIME = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,9})?(?:Z|([+-])(\d{2}):?(\d{2}))$/

/** The span of time in which a signed timestamp counts as fresh. */
export interface Freshness {
  /** How old a signed timestamp may be, in seconds, up to 7 days. Default 300. */
  readonly tolerance: number
  /** How far ahead of this server's clock a signed timestamp may be, in seconds, up to 7 days. Default 60. */
  readonly futureTolerance: number
  /** The clock, in milliseconds since 1970; for tests. Default `Date.now`. */
  readonly now: () => number
}

export type FreshnessInput = { [K in keyof Freshness]?: Freshness[K] | undefined }

/** Reads `Date.now` at each call, so that fake timers apply whether they are installed before or after registration. */
export const systemClock = (): number => Date.now()

export function freshnessOf (given: FreshnessInput): Freshness {
  const { tolerance = 300, futureTolerance = 60, now = systemClock } = given
  return { tolerance, futureTolerance, now }
}

export function parseUnixSeconds (text: string): number | undefined {
  return UNIX_SECONDS.test(text) ? Number(text) : undefined
}

/** Seconds since 1970 of an HTTP date; that it is one, and exists, is checked by printing it again. */
export function parseHttpDate (text: string): number | undefined {
  if (text.length !== HTTP_DATE_LENGTH) return undefined
  const date = new Date(text)
  return date.toUTCString() === text ? date.getTime() / 1000 : undefined
}

/** Milliseconds since 1970 of a date and time with its offset; that it exists is checked by printing it again. */
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

/** Seconds by which a clock may be set back, or differ from another server's, before a handled delivery is new. */
export const CLOCK_SLACK = 60

/** For how long a signed timestamp can be fresh, in milliseconds: its seconds are whole, the clock's are not. */
export function replayWindow ({ tolerance, futureTolerance }: Freshness): number {
  return (tolerance + futureTolerance + 1 + CLOCK_SLACK) * 1000
}

/** What a clock says, in milliseconds; NaN where that is no number. */
export function readClock (now: () => unknown): number {
  const time = now()
  if (isThenable(time)) toPromise(time).catch(() => {})
  return typeof time === 'number' ? time : Number.NaN
}

/** A rejection unless the timestamp is within the tolerances, both ends included. A broken clock rejects. */
export function checkFreshness (
  seconds: number, { tolerance, futureTolerance, now }: Freshness
): Rejection | undefined {
  const ageSeconds = Math.floor(readClock(now) / 1000) - seconds
  if (ageSeconds < -futureTolerance) return { ...reject('future'), ageSeconds }
  return ageSeconds <= tolerance ? undefined : { ...reject('stale'), ageSeconds }
}
