import { isUtf8 } from 'node:buffer'
import secureJson from 'secure-json-parse'

const BYTE_ORDER_MARK = 0xFEFF
const ESCAPED = /[%+]/

/** Parses a JSON object like `parseJson`. Returns undefined for an array. */
export function parseJsonObject (bytes: Buffer): object | undefined {
  const value = parseJson(bytes)
  return Array.isArray(value) ? undefined : value
}

/**
 * Parses a JSON object or array. Returns undefined for other root values, invalid UTF-8 (which lenient decoding would
 * turn into characters that nobody signed), a byte order mark, and `__proto__` and `constructor.prototype` keys.
 */
export function parseJson (bytes: Buffer): object | undefined {
  const text = textOf(bytes)
  if (text === undefined) return undefined
  try {
    const value: unknown = secureJson.parse(text, { protoAction: 'error', constructorAction: 'error' })
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined // the parser's own message quotes the body
  }
}

/**
 * Parses a form (application/x-www-form-urlencoded). Each member is a string, or a list of strings if its name occurs
 * more than once. Returns undefined for invalid UTF-8, a `%` without two hex digits after it, and a member named
 * `__proto__`.
 */
export function parseForm (bytes: Buffer): object | undefined {
  const text = textOf(bytes)
  if (text === undefined) return undefined
  const members = new Map<string, string | string[]>()
  try {
    for (const pair of text.split('&')) {
      if (pair === '') continue
      const at = pair.indexOf('=')
      const name = decodePart(at === -1 ? pair : pair.slice(0, at))
      const value = at === -1 ? '' : decodePart(pair.slice(at + 1))
      const others = members.get(name)
      if (Array.isArray(others)) others.push(value) // copying it for each member would take minutes for a long list
      else members.set(name, others === undefined ? value : [others, value])
    }
  } catch {
    return undefined // thrown by decodeURIComponent
  }
  return members.has('__proto__') ? undefined : Object.fromEntries(members)
}

const decodePart = (text: string): string =>
  ESCAPED.test(text) ? decodeURIComponent(text.replaceAll('+', ' ')) : text

function textOf (bytes: Buffer): string | undefined {
  if (!isUtf8(bytes)) return undefined
  const text = bytes.toString()
  return text.charCodeAt(0) === BYTE_ORDER_MARK ? undefined : text
}
