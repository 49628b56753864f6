// RFC 4648 section 8, either case; the length in bytes is checked by the caller.
const HEX = /^(?:[0-9a-f]{2})+$/i
// RFC 4648 section 4 with its padding. The spare bits of the last character are checked by encoding again.
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** The bytes of `text` if it is hex for exactly `length` bytes and nothing else. */
export function decodeHex (text: string, length: number): Buffer | undefined {
  return text.length === length * 2 && HEX.test(text) ? Buffer.from(text, 'hex') : undefined
}

/** The bytes of `text` if it is canonical base64 and, where a length is given, for exactly that many bytes. */
export function decodeBase64 (text: string, length?: number): Buffer | undefined {
  if (!BASE64.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  if (length !== undefined && bytes.length !== length) return undefined
  return bytes.toString('base64') === text ? bytes : undefined
}
