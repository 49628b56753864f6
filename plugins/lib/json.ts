import { isUtf8 } from 'node:buffer'
import secureJson from 'secure-json-parse'

const BYTE_ORDER_MARK = 0xFEFF

/**
 * The JSON object in `bytes`, or undefined if they are not one: other roots, invalid UTF-8 (which lenient decoding
 * would turn into characters nobody signed), a byte order mark, `__proto__` and `constructor.prototype` keys.
 */
export function parseJsonObject (bytes: Buffer): object | undefined {
  if (!isUtf8(bytes)) return undefined
  const text = bytes.toString()
  if (text.charCodeAt(0) === BYTE_ORDER_MARK) return undefined
  try {
    const value: unknown = secureJson.parse(text, { protoAction: 'error', constructorAction: 'error' })
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined // the parser's own message quotes the body
  }
}
