// RFC 4648 section 8, either case: what each digit is worth, by its code.
const HEX_VALUES = new Int8Array(128).fill(-1)
for (const [value, digit] of Array.from('0123456789abcdef').entries()) {
  HEX_VALUES[digit.charCodeAt(0)] = HEX_VALUES[digit.toUpperCase().charCodeAt(0)] = value
}

/** The bytes of `text` if it is hex for exactly `length` bytes, one or more, and nothing else. */
export function decodeHex (text: string, length: number): Buffer | undefined {
  if (text.length !== length * 2 || !Number.isInteger(length) || length === 0) return undefined
  const bytes = Buffer.allocUnsafe(length) // filled here: Buffer.from() reads leniently, and takes longer
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
 * The bytes of `text` if it is canonical base64 (RFC 4648 section 4) and, where a length is given, for exactly that
 * many bytes. Node reads base64 leniently but writes it canonically: only a canonical text comes back as it was.
 */
export function decodeBase64 (text: string, length?: number): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  if (length !== undefined && bytes.length !== length) return undefined
  return bytes.toString('base64') === text ? bytes : undefined
}
