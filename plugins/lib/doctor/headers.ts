import type { IncomingHttpHeaders } from 'node:http'
import { checkFreshness, parseUnixSeconds, type Freshness } from '../signature/fields.js'
import { say } from './mistakes.js'
import type { Scheme, Variant } from './scheme.js'

const HALF_HOUR = 1800
// Maximum deviation in seconds, from clock and travel time, of a timestamp that is off by a time zone.
const DRIFT = 120
const MAX_HOURS = 14

/** Returns the values of a header, or those of a header with a similar name that was probably meant instead. */
export function locate (
  headers: IncomingHttpHeaders, name: string, like: RegExp, known: readonly string[]
): Variant<string[]> {
  const given = textOf(headers[name])
  if (given !== undefined) {
    const texts = given.split(', ') // Node joins repeated headers with this separator
    return { value: texts, mistakes: texts.length > 1 ? [say('repeated', name)] : [] }
  }
  const other = Object.keys(headers).find((candidate) => like.test(candidate) && !known.includes(candidate))
  const text = other === undefined ? undefined : textOf(headers[other])
  return text === undefined
    ? { value: [], mistakes: [say('missing', name)] }
    : { value: [text], mistakes: [say('elsewhere', other!, name)] }
}

/** Returns the value of a header, or undefined if it is absent, empty or has several values. */
export function textOf (value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** Lists the mistakes in a timestamp, whatever was signed. */
export function timestampMistakes (text: string, name: string, freshness: Freshness | undefined): string[] {
  const seconds = parseUnixSeconds(text)
  if (seconds !== undefined) return freshness === undefined ? [] : clockMistakes(seconds, name, freshness)
  if (/^\d{13}$/.test(text)) return [say('milliseconds', name)]
  if (/^\d{16}(?:\d{3})?$/.test(text)) return [say('microseconds', name)]
  if (/^\d{10}[.,]\d+$/.test(text)) return [say('fraction', name)]
  return [say(Number.isNaN(Date.parse(text)) ? 'noTime' : 'date', name)]
}

function clockMistakes (seconds: number, name: string, freshness: Freshness): string[] {
  const rejection = checkFreshness(seconds, freshness)
  const age = rejection?.ageSeconds
  if (age === undefined || Number.isNaN(age)) return []
  const halves = Math.abs(Math.round(age / HALF_HOUR))
  if (Math.abs(Math.abs(age) - halves * HALF_HOUR) <= DRIFT && halves > 0 && halves <= MAX_HOURS * 2) {
    return [say('timeZone', name, halves / 2)]
  }
  return [age > 0 ? say('old', name, age) : say('ahead', name, -age)]
}

/** Lists the differences between an endpoint and the expected one. */
export function endpointMistakes (text: string, name: string, expected: string): string[] {
  if (text === expected) return []
  if (/^https?:\/\//i.test(text)) return [say('fullUrl', name)]
  if (pathOf(text) === pathOf(expected)) return [say('query', name)]
  if (text.replace(/\/$/, '') === expected.replace(/\/$/, '')) return [say('slash', name)]
  if (text !== '' && expected.endsWith(text)) return [say('shortEndpoint', name)]
  if (text.endsWith(expected)) return [say('longEndpoint', name)]
  return [say('otherEndpoint', name)]
}

/** Lists the mistakes in an api-key that has no secret. */
export function keyIdMistakes (text: string, name: string, known: readonly string[]): string[] {
  const alike = known.some((id) => id.toLowerCase() === text.toLowerCase())
  return [say(alike ? 'keyInOtherCase' : 'unknownKey', name)]
}

function pathOf (endpoint: string): string {
  return endpoint.split('?')[0]!
}

/** Lists the headers that a scheme reads. */
export function headersOf ({ signature, timestamp, endpoint, keyId }: Scheme): string[] {
  return [signature, timestamp, endpoint, keyId].filter((name) => name !== undefined)
}
