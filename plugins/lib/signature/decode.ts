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
