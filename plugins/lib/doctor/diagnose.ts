import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { otherBodies } from './body.js'
import { endpointMistakes, headersOf, keyIdMistakes, locate, textOf, timestampMistakes } from './headers.js'
import { otherFrames, rightFrame, type Frame, type Parts } from './message.js'
import { say } from './mistakes.js'
import type { Evidence, Scheme, SearchLimits, Variant } from './scheme.js'
import { otherKeys } from './secret.js'
import { readSignature, type Presented } from './signature.js'

// Enough to try each mistake alone, and the likelier pairs.
const MAX_MACS = 200
const NO_LIMITS: SearchLimits = { body: Infinity, messages: 2 ** 26 }

interface Attempt {
  readonly make: (algorithm: string) => Buffer
  readonly bytes: number
  readonly mistakes: readonly string[]
}

/**
 * Names the honest mistakes that would explain a rejected delivery, found by trying them. Returns undefined if no known
 * mistake explains it. Reveals neither a secret nor a MAC: anyone who saw a MAC of bytes of their choice could forge a
 * delivery.
 */
export function diagnose (scheme: Scheme, evidence: Evidence): string | undefined {
  const { headers, freshness, endpoint: expected, keys, keyIds = [] } = evidence
  const known = headersOf(scheme)
  const find = (name: string | undefined, like: RegExp) =>
    name === undefined ? undefined : locate(headers, name, like, known)
  const signature = locate(headers, scheme.signature, /sign|digest|hmac/, known)
  const timestamp = find(scheme.timestamp, /timestamp/)
  const endpoint = find(scheme.endpoint, /endpoint/)
  const keyId = find(scheme.keyId, /api-?key/)
  const [time] = timestamp?.value ?? []
  const [path] = endpoint?.value ?? []
  const [id] = keyId?.value ?? []

  const inHeaders = [
    ...signature.mistakes,
    ...[timestamp, endpoint, keyId].flatMap((header) => header?.mistakes ?? []),
    ...(time === undefined ? [] : timestampMistakes(time, scheme.timestamp!, freshness)),
    ...(path === undefined || expected === undefined ? [] : endpointMistakes(path, scheme.endpoint!, expected)),
    ...(id === undefined || keys.length > 0 ? [] : keyIdMistakes(id, scheme.keyId!, keyIds))
  ]
  const readings = signature.value.flatMap((text) => readSignature(text, scheme))
  const parts: Parts = {
    timestamp: time,
    endpoint: path,
    expectedEndpoint: expected,
    keyId: id,
    date: textOf(headers.date),
    host: headers.host,
    url: evidence.url
  }

  const made = search(scheme, evidence, parts, readings)
  if (made !== undefined) {
    const mistakes = [...inHeaders, ...made]
    return (mistakes.length === 0 ? [say('right')] : mistakes).join(', and ')
  }
  const evident = [...inHeaders, ...(readings.length === 1 ? readings[0]!.mistakes : [])]
  if (evident.length === 0) return undefined
  return [...evident, ...(signature.value.length > 0 ? [say('otherwise')] : [])].join(', and ')
}

/**
 * Finds the mistakes that produced the signature. Returns an empty list if the signature is right, and undefined if the
 * search cannot tell.
 */
function search (
  scheme: Scheme, evidence: Evidence, parts: Parts, readings: readonly Variant<Presented>[]
): readonly string[] | undefined {
  const { messages } = evidence.limits ?? NO_LIMITS
  let macs = 0
  let bytes = 0
  for (const attempt of attempts(scheme, evidence, parts)) {
    const made = new Map<string, Buffer>()
    for (const { value: { mac, algorithm }, mistakes } of readings) {
      if (!made.has(algorithm)) {
        if (++macs > MAX_MACS || (bytes += attempt.bytes) > messages) return undefined
        made.set(algorithm, attempt.make(algorithm))
      }
      // A truncated signature is compared with the beginning of the MAC.
      if (timingSafeEqual(made.get(algorithm)!.subarray(0, mac.length), mac)) return [...mistakes, ...attempt.mistakes]
    }
  }
  return undefined
}

/**
 * Generates the ways in which the signature may have been made: the right one, then with one mistake, then with two.
 */
function * attempts (
  scheme: Scheme, { keys, others = [], body, limits = NO_LIMITS }: Evidence, parts: Parts
): Generator<Attempt> {
  const arrived = Buffer.from(body)
  const rightKeys = keys.map((key) => key.export())
  const frame = rightFrame(scheme, parts)
  const frames = otherFrames(scheme, parts)
  const wrongKeys = [
    ...others.map(({ key, mistake }) => ({ value: key.export(), mistakes: [mistake] })),
    ...rightKeys.flatMap((key) => otherKeys(key, scheme.secret, parts.keyId))
  ]

  const message = ({ before, hasBody, after }: Frame, content: Buffer): Buffer => Buffer.concat([
    Buffer.from(before, 'latin1'), hasBody ? content : Buffer.alloc(0), Buffer.from(after, 'latin1')
  ])
  const hmac = (key: Buffer, text: Buffer, ...mistakes: readonly string[]): Attempt =>
    ({ make: (algorithm) => createHmac(algorithm, key).update(text).digest(), bytes: text.length, mistakes })
  const hash = (texts: Buffer[], mistake: string): Attempt => {
    const text = Buffer.concat(texts)
    return { make: (algorithm) => createHash(algorithm).update(text).digest(), bytes: text.length, mistakes: [mistake] }
  }

  const right = message(frame, arrived)
  for (const key of rightKeys) yield hmac(key, right)
  for (const { value, mistakes } of wrongKeys) yield hmac(value, right, ...mistakes)
  for (const key of rightKeys) {
    for (const { value, mistakes } of frames) yield hmac(key, message(value, arrived), ...mistakes)
  }
  for (const text of [right, arrived]) {
    yield hash([text], say('unkeyed'))
    for (const key of rightKeys) {
      yield hash([key, text], say('plainHash'))
      yield hash([text, key], say('plainHash'))
      yield hmac(text, key, say('swapped'))
    }
  }
  for (const { value, mistakes } of arrived.length > limits.body ? [] : otherBodies(arrived)) {
    for (const key of rightKeys) yield hmac(key, message(frame, value), ...mistakes)
  }
  // Pairs in the order of how likely both mistakes occur together.
  for (let sum = 0; sum < wrongKeys.length + frames.length - 1; sum++) {
    for (let at = Math.max(0, sum - frames.length + 1); at <= Math.min(sum, wrongKeys.length - 1); at++) {
      const [key, text] = [wrongKeys[at]!, frames[sum - at]!]
      yield hmac(key.value, message(text.value, arrived), ...key.mistakes, ...text.mistakes)
    }
  }
}
