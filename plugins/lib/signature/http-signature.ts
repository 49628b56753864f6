import type { FastifyRequest } from 'fastify'
import {
  checkFreshness, decodeBase64, parseHttpDate, rawHeaderValues, reject, type Freshness, type Rejection
} from './fields.js'
import { MAC_BYTES, type MacAlgorithm, type MacKey } from './hmac.js'

const SIGNATURE = 'signature'
// parameter = name "=" ( quoted-string / unquoted ). The name may be quoted too: the draft does not allow this, but a
// provider documents it. Escapes are not supported, since none of the values needs one.
const PARAMETER = /(?:"([A-Za-z]+)"|([A-Za-z]+))=(?:"([^"\\]*)"|([^",\s]+))/y
const COMMA = /[ \t]*,[ \t]*/y
// RFC 9110 section 5.6.2, and the draft's own (request-target).
const COVERED = /^(?:\(request-target\)|[\w!#$%&'*+.^`|~-]+)$/

export interface HttpSignatureRules {
  readonly algorithm: MacAlgorithm
  /** The only `keyId` accepted. Default: any. */
  readonly keyId?: string | undefined
  readonly freshness: Freshness
}

/** Parses the parameters of a `Signature` header. Returns undefined if it is malformed or repeats a parameter. */
export function parseParameters (text: string): Map<string, string> | undefined {
  const parameters = new Map<string, string>()
  COMMA.lastIndex = 0
  do {
    PARAMETER.lastIndex = COMMA.lastIndex
    const match = PARAMETER.exec(text)
    if (match === null) return undefined
    const name = (match[1] ?? match[2]!).toLowerCase()
    if (parameters.has(name)) return undefined
    parameters.set(name, match[3] ?? match[4]!)
    if (PARAMETER.lastIndex === text.length) return parameters
    COMMA.lastIndex = PARAMETER.lastIndex
  } while (COMMA.test(text))
  return undefined
}

/**
 * Checks a `Signature` header as defined by draft-cavage-http-signatures-07, but more strictly: the signature must
 * cover `date`, the date must be fresh, each covered header must occur exactly once, and the receiver, not the sender,
 * chooses the algorithm and `keyId`.
 */
export function checkHttpSignature (
  request: FastifyRequest, key: MacKey, { algorithm, keyId, freshness }: HttpSignatureRules
): Rejection | undefined {
  const text = coveredValue(request, SIGNATURE)
  if (typeof text !== 'string') return text
  const parameters = parseParameters(text)
  const signature = parameters?.get('signature')
  const mac = signature === undefined ? undefined : decodeBase64(signature, MAC_BYTES[algorithm])
  const sentKeyId = parameters?.get('keyid')
  const sentAlgorithm = parameters?.get('algorithm') ?? `hmac-${algorithm}`
  // Section 2.1.3: without this parameter, only `date` is signed.
  const covered = (parameters?.get('headers') ?? 'date').toLowerCase().split(' ')
  const wellFormed = covered.every((name) => COVERED.test(name)) && new Set(covered).size === covered.length
  if (mac === undefined || sentKeyId === undefined || sentAlgorithm !== `hmac-${algorithm}` ||
    !wellFormed || !covered.includes('date')) return reject('malformed_header', SIGNATURE)
  if (keyId !== undefined && keyId !== sentKeyId) return reject('unknown_key', SIGNATURE)

  const lines: string[] = []
  for (const name of covered) {
    const value = coveredValue(request, name)
    if (typeof value !== 'string') return value
    lines.push(`${name}: ${value}`)
  }

  const date = parseHttpDate(request.headers.date!)
  if (date === undefined) return reject('malformed_header', 'date')
  if (!key.verify([mac], lines.join('\n'), new Uint8Array())) return reject('mismatch')
  return checkFreshness(date, freshness)
}

/**
 * Returns the value that the signing string holds for a name (section 2.3), or a rejection unless there is exactly one.
 */
function coveredValue ({ method, originalUrl, raw }: FastifyRequest, name: string): string | Rejection {
  if (name === '(request-target)') return `${method.toLowerCase()} ${originalUrl}`
  const values = rawHeaderValues(raw.rawHeaders, name)
  if (values.length === 1) return values[0]!
  return reject(values.length === 0 ? 'missing_header' : 'duplicate_header', name)
}
