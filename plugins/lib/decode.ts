// RFC 4648 section 8, either case; pairs, whatever length a caller derives from the text.
const HEX = /^(?:[0-9a-f]{2})+$/i

/** The bytes of `text` if it is hex for exactly `length` bytes and nothing else. */
export function decodeHex (text: string, length: number): Buffer | undefined {
  return text.length === length * 2 && HEX.test(text) ? Buffer.from(text, 'hex') : undefined
}

/**
 * The bytes of `text` if it is canonical base64 (RFC 4648 section 4) and, where a length is given, for exactly that
 * many bytes. Node reads base64 leniently but writes it canonically: only a canonical text comes back as it was.
 */
export function decodeBase64 (text: string, length?: number): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  if (length !== undefined && bytes.length !== length) return undefined
  return bytes.toString('base64') === text ? bytes : undefined
}
