import type { IncomingHttpHeaders } from 'node:http'
import { isThenable, toPromise } from '../timers.js'
import type { Rule } from '../rules.js'

/** A tuple with one string per header name. */
export type Texts<Names extends readonly string[]> = { [Index in keyof Names]: string }

/** Returns the values of the headers, or a rejection if one is absent, empty or given as several values. */
export function readHeaders<const Names extends readonly string[]> (
  headers: IncomingHttpHeaders, names: Names
): { -readonly [Index in keyof Names]: string } | Rejection {
  const texts: string[] = []
  for (const name of names) {
    const text = headers[name]
    if (typeof text !== 'string' || text === '') {
      return reject(Array.isArray(text) && text.length > 1 ? 'duplicate_header' : 'missing_header', name)
    }
    texts.push(text)
  }
  return texts as { -readonly [Index in keyof Names]: string }
}

/**
 * Returns every value that a header was sent with. Node joins or drops repeated headers everywhere except in
 * `rawHeaders`.
 */
export function rawHeaderValues (rawHeaders: readonly string[], name: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]!.toLowerCase() === name)
}

/** The reason a delivery is not authentic. For logs and callbacks only: the response is the same for all reasons. */
export type RejectionReason = 'missing_header' | 'duplicate_header' | 'malformed_header' | 'stale' | 'future' |
  'unknown_key' | 'wrong_endpoint' | 'mismatch' | 'no_body'

export interface Rejection {
  readonly ok: false
  readonly reason: RejectionReason
  /** The header at fault, if there is one. */
  readonly header?: string
  /** Age of the delivery in seconds, according to its timestamp. Negative if it is ahead of time. */
  readonly ageSeconds?: number
}

export interface Verified {
  readonly ok: true
  /** Index of the secret that matched, counted from 0. */
  readonly secretIndex: number
}

/** The result of the pure `verify...` functions. */
export type VerifyResult = Verified | Pick<Rejection, 'ok' | 'reason'>

export function reject (reason: RejectionReason, header?: string): Rejection {
  return header === undefined ? { ok: false, reason } : { ok: false, reason, header }
}

// RFC 4648 section 8, upper or lower case: the value of each digit, by its character code.
const HEX_VALUES = new Int8Array(128).fill(-1)
for (const [value, digit] of Array.from('0123456789abcdef').entries()) {
  HEX_VALUES[digit.charCodeAt(0)] = HEX_VALUES[digit.toUpperCase().charCodeAt(0)] = value
}

/** Decodes hex. Returns undefined unless `text` is hex for exactly `length` bytes, one or more, and nothing else. */
export function decodeHex (text: string, length: number): Buffer | undefined {
  if (text.length !== length * 2 || !Number.isInteger(length) || length === 0) return undefined
  const bytes = Buffer.allocUnsafe(length) // filled here: Buffer.from() is lenient, and slower
  for (let index = 0; index < length; index++) {
    const byte = hexValue(text, index * 2) << 4 | hexValue(text, index * 2 + 1)
    if (byte < 0) return undefined
    bytes[index] = byte
  }
  return bytes
}

function hexValue (text: string, at: number): number {
  return HEX_VALUES[text.charCodeAt(at)] ?? -1
}

/**
 * Decodes canonical base64 (RFC 4648 section 4). Returns undefined for any other string and, if `length` is given, for
 * any other number of bytes. Node decodes base64 leniently but encodes it canonically, so only a canonical string
 * survives the round trip.
 */
export function decodeBase64 (text: string, length?: number): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  if (length !== undefined && bytes.length !== length) return undefined
  return bytes.toString('base64') === text ? bytes : undefined
}

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
  if (typeof time === 'number') return time
  if (isThenable(time)) toPromise(time).catch(() => {})
  return Number.NaN
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

// RFC 3986 path and query. Excludes braces and spaces, which could also be the beginning of a body.
export const PUBLIC_ENDPOINT = /^\/[\w.~!$&'()*+,;=:@%/?-]*$/

/** Rule for the public URL that a sender signs, or the path and query of it. */
export const publicUrl: Rule = {
  accepts: (value) => typeof value === 'string' && PUBLIC_ENDPOINT.test(value.replace(/^https?:\/\/[\w.:[\]-]+(?=\/)/, '')),
  expects: 'must be a path or a URL, with an optional query'
}

/** Rule for the public path and query that a sender signs. */
export const publicEndpoint: Rule = {
  accepts: (value) => typeof value === 'string' && PUBLIC_ENDPOINT.test(value),
  expects: 'must be a path with an optional query'
}
