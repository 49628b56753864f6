import { decodeBase64, decodeHex } from '../signature/fields.js'
import { MAC_BYTES } from '../signature/hmac.js'
import { say } from './mistakes.js'
import type { Scheme, Variant } from './scheme.js'

/** A possible MAC from a header, and the algorithm that may have made it. */
export interface Presented { readonly mac: Buffer, readonly algorithm: string }

/**
 * Maximum length in characters, twice that of any scheme. Some patterns below take time that grows with the square of
 * the length.
 */
const LONGEST = 1024
// Prefixes that other schemes put before a signature.
const OTHER_PREFIX = /^(?:t=\d+,)?(?:(?:hmac[-_]?)?(?:md5|sha-?(?:1|256|384|512))|v\d|hmac|signature|digest|bearer)[=:, ]\s*/i
// `openssl dgst` prints `SHA2-256(stdin)= <hex>`. With -r it prints `<hex> *stdin`, like sha256sum.
const PRINTED = /^(?:\S*\(\S*\)= ?)?([0-9a-f]+)(?: [ *]\S+)?$/i
const QUOTED = /^(["'])(.*)\1$/
const BYTES = new Map([[16, 'md5'], [20, 'sha1'], [32, 'sha256'], [48, 'sha384'], [64, 'sha512']])
const NAMES: Readonly<Record<string, string>> =
  { md5: 'MD5', sha1: 'SHA-1', sha256: 'SHA-256', sha384: 'SHA-384', sha512: 'SHA-512' }

/** Lists the possible meanings of the signature header's value, the likeliest first. */
export function readSignature (text: string, scheme: Scheme): Variant<Presented>[] {
  if (text.length > LONGEST) return []
  const stripped = strip(text, scheme)
  return decode(stripped.value, scheme.encoding).flatMap(({ value: mac, mistakes }) =>
    algorithmsOf(mac.length, scheme).map(({ value: algorithm, mistakes: others }) =>
      ({ value: { mac, algorithm }, mistakes: [...stripped.mistakes, ...mistakes, ...others] })))
}

/** Removes the prefix from a signature, and everything that should not be around it. */
function strip (text: string, { prefix, prefixInAnyCase }: Scheme): Variant<string> {
  const mistakes: string[] = []
  const sameCase = (part: string): string => prefixInAnyCase ? part.toLowerCase() : part
  let rest = text
  const take = (shorter: string | undefined, mistake: string): void => {
    if (shorter === undefined || shorter === rest) return
    rest = shorter
    mistakes.push(mistake)
  }
  take(QUOTED.exec(rest)?.[2], say('quoted'))
  if (sameCase(rest).startsWith(sameCase(prefix))) {
    rest = rest.slice(prefix.length)
    if (prefix === '') take(rest.replace(OTHER_PREFIX, ''), say('otherPrefix'))
  } else {
    const other = OTHER_PREFIX.exec(rest)
    if (other === null) mistakes.push(say('noPrefix', prefix))
    else take(rest.slice(other[0].length), say('otherPrefix'))
  }
  take(PRINTED.exec(rest)?.[1], say('tool'))
  return { value: rest, mistakes }
}

function decode (text: string, encoding: Scheme['encoding']): Variant<Buffer>[] {
  const hex = decodeHex(text, text.length / 2)
  if (hex !== undefined) return [{ value: hex, mistakes: encoding === 'hex' ? [] : [say('hexForBase64')] }]
  const standard = text.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '')
  const padded = standard.padEnd(Math.ceil(standard.length / 4) * 4, '=')
  const bytes = decodeBase64(padded)
  if (bytes === undefined) return []
  const twice = bytes.toString('latin1')
  const inner = decodeHex(twice, twice.length / 2)
  if (inner !== undefined) return [{ value: inner, mistakes: [say('encodedTwice')] }]
  if (/[-_]/.test(text)) return [{ value: bytes, mistakes: [say('base64url', encoding)] }]
  if (encoding === 'hex') return [{ value: bytes, mistakes: [say('base64ForHex')] }]
  return [{ value: bytes, mistakes: text === padded ? [] : [say('unpadded')] }]
}

/**
 * Lists the algorithms that a MAC of this length may be from. A shorter MAC may be the beginning of a longer one, if it
 * is at least half as long: less proves little.
 */
function algorithmsOf (length: number, { algorithm }: Scheme): Variant<string>[] {
  const right = MAC_BYTES[algorithm]
  if (length === right) return [{ value: algorithm, mistakes: [] }]
  const other = BYTES.get(length)
  const variants: Variant<string>[] = []
  if (other !== undefined) {
    variants.push({ value: other, mistakes: [say('algorithm', NAMES[other]!, NAMES[algorithm]!)] })
  }
  if (length >= right / 2 && length < right) variants.push({ value: algorithm, mistakes: [say('cut')] })
  return variants
}
