import type { FastifyRequest } from 'fastify'
import fc from 'fast-check'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import {
  identityValidationPlugin, issueToken, memoryDeliveries, openToken, signAghanim, signAltdentifier,
  signIdentityValidation, verifyAghanim, verifyAltdentifier,
  verifyIdentityValidation, type DeliveryStore, type VerifyResult
} from '../../plugins/index.js'
import { canonicalJson } from '../../plugins/lib/idempotency/delivery-id.js'
import { decodeBase64, decodeHex, freshnessOf, parseUnixSeconds } from '../../plugins/lib/signature/fields.js'
import { checkHttpSignature, parseParameters } from '../../plugins/lib/signature/http-signature.js'
import { createMacKey } from '../../plugins/lib/signature/hmac.js'
import { problemWithin } from '../../plugins/lib/signature/secrets.js'
import { API_KEY, API_SECRET, NOW, now, SECRET } from '../support/deliveries.js'
import { applyEdit, edit } from '../support/fuzz/edits.js'
import { readSeed } from '../support/fuzz/seed.js'
import { anyText } from '../support/fuzz/text.js'
import { createHost } from '../support/host.js'
import { granted } from '../support/stores.js'

const seed = readSeed()
t.comment(`FUZZ_SEED=${seed}`)
/** Parameters of each run. A failure shows the seed and the smallest case. */
const RUN = { seed, numRuns: 2000 }

const bytes = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength, size: 'max' }).map((array) => Buffer.from(array))
const text = anyText(100)

t.test('at most one of all ways to split the signed bytes is accepted', async (t) => {
  const { app } = createHost(t, { logger: false })
  const apiKeys = { [API_KEY]: API_SECRET }
  const endpoints = { sessions: '/a', requiredFiles: '/a/b' } // the worst case: one is a prefix of the other
  app.register(identityValidationPlugin, {
    apiKeys, now, endpoints, handleSession: () => {}, handleRequiredFiles: () => {}
  })
  const paths = [['/identity-validation/sessions', '/a'], ['/identity-validation/required-files', '/a/b']] as const
  const tail = fc.oneof(
    fc.constantFrom('', '/b', '/b{}', '{}', ' {}', '1790000000/a{}', '/a{}'), fc.json({ maxDepth: 1 }))
  const times = fc.constantFrom(NOW, NOW - 300, NOW + 60)
  const whole = fc.tuple(times, fc.constantFrom('/a', '/a/b'), fc.array(tail, { maxLength: 3 }))
  let accepted = 0

  await fc.assert(fc.asyncProperty(whole, async ([seconds, endpoint, tails]) => {
    const text = `${seconds}${endpoint}${tails.join('')}`
    const message = Buffer.from(text)
    let splits = 0
    const { 'x-signature': signature } = signIdentityValidation({
      apiKey: API_KEY, secret: API_SECRET, endpoint: '', timestamp: '', body: message
    })
    for (let time = 0; time <= Math.min(text.length, 12); time++) {
      for (let end = time; end <= Math.min(text.length, time + 24); end++) {
        const body = Buffer.from(text.slice(end))
        const headers = {
          'content-type': 'application/json',
          'x-api-key': API_KEY,
          'x-signature': signature,
          'x-timestamp': text.slice(0, time),
          'x-endpoint': text.slice(time, end)
        }
        for (const [url, configured] of paths) {
          const { ok } = verifyIdentityValidation({ apiKeys, endpoint: configured, headers, body, now })
          if (!ok) continue
          const { statusCode } = await app.inject({ method: 'POST', url, headers, payload: body })
          if (statusCode === 204) splits++
        }
      }
    }
    accepted += splits
    return splits <= 1
  }), { ...RUN, numRuns: 400 })
  t.ok(accepted > 20, `${accepted} were accepted in one way`)
})

interface Pair {
  readonly name: string
  readonly secret: fc.Arbitrary<string>
  readonly sign: (secret: string, timestamp: number, body: Buffer) => Record<string, string>
  readonly verify: (secret: string, headers: Record<string, string>, body: Buffer) => VerifyResult
  /** Header in which each byte matters. */
  readonly signature: string
  readonly timestamp?: string
}

const utf8Secret = fc.string({ unit: 'grapheme', minLength: 24, maxLength: 80 })
  .filter((text) => text.trim() === text && problemWithin(text) === undefined)
const PAIRS: readonly Pair[] = [{
  name: 'altdentifier',
  secret: utf8Secret,
  sign: (secret, _timestamp, body) => signAltdentifier({ secret, body }),
  verify: (secret, headers, body) => verifyAltdentifier({ secret, headers, body, now }),
  signature: 'digest'
}, {
  name: 'aghanim',
  secret: utf8Secret,
  sign: (secret, timestamp, body) => signAghanim({ secret, timestamp, body }),
  verify: (secret, headers, body) => verifyAghanim({ secret, headers, body, now }),
  signature: 'x-aghanim-signature',
  timestamp: 'x-aghanim-signature-timestamp'
}, {
  name: 'identity validation',
  secret: bytes(24, 80).filter((key) => key.some((byte) => byte !== 0)).map((key) => key.toString('base64')),
  sign: (secret, timestamp, body) =>
    signIdentityValidation({ apiKey: 'k', secret, endpoint: '/e?x=1', timestamp, body }),
  verify: (secret, headers, body) =>
    verifyIdentityValidation({ apiKeys: { k: secret }, endpoint: '/e?x=1', headers, body, now }),
  signature: 'x-signature',
  timestamp: 'x-timestamp'
}]

const flip = (body: Buffer, at: number, mask: number): Buffer => {
  const changed = Buffer.from(body)
  changed[at % changed.length]! ^= mask
  return changed
}

for (const { name, secret, sign, verify, signature, timestamp } of PAIRS) {
  t.test(`${name}: signed bytes verify, and with any one byte changed they do not`, async (t) => {
    const seconds = fc.integer({ min: NOW - 300, max: NOW + 60 })
    const masks = fc.integer({ min: 1, max: 255 })
    fc.assert(fc.property(secret, seconds, bytes(1, 300), fc.nat(), masks, (secret, time, body, at, mask) => {
      const headers = sign(secret, time, body)
      if (!verify(secret, headers, body).ok) return false
      if (verify(secret, headers, flip(body, at, mask)).ok) return false
      if (verify(secret, headers, body.subarray(0, -1)).ok) return false
      if (verify(secret, headers, Buffer.concat([body, Buffer.of(mask)])).ok) return false
      return [signature, timestamp ?? signature].every((header) => {
        const text = headers[header]!
        const changed = flip(Buffer.from(text, 'latin1'), at, mask).toString('latin1')
        const same = changed.toLowerCase() === text.toLowerCase() && name !== 'identity validation'
        return verify(secret, { ...headers, [header]: changed }, body).ok === same
      })
    }), RUN)
    t.pass()
  })
}

/** RFC 4648 section 4 with unused bits at zero (section 3.5): one way to write any bytes. */
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$/
const ANY_SPARE_BITS = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Encodes bytes in base64 with some of the unused bits set. */
function spareBitsSet ([array, mask]: [Buffer, number]): string {
  const spare = array.length % 3 === 1 ? 15 : 3
  return array.toString('base64').replace(/.(?==+$)/, (last) => DIGITS[DIGITS.indexOf(last) | (mask & spare || 1)]!)
}

const nearlyHex = fc.string({ unit: fc.constantFrom(...'0123456789abcdefABCDEF', ...'gG \n=é０'), maxLength: 12 })
const nearlyBase64 = fc.oneof(
  fc.tuple(bytes(1, 12).filter(({ length }) => length % 3 > 0), fc.integer({ min: 1, max: 15 })).map(spareBitsSet),
  bytes(0, 12).map((array) => array.toString('base64')),
  fc.tuple(bytes(0, 12).map((array) => array.toString('base64')), edit).map(([text, change]) => applyEdit(text, change)),
  fc.string({ unit: fc.constantFrom(...'AQgwBZaz059+/=', ...'-_ \n='), maxLength: 12 })
)

t.test('a string is hex exactly if it round-trips through Buffer, and base64 exactly by its grammar', async (t) => {
  const counts = { hex: 0, base64: 0, noBase64: 0, spareBits: 0 }
  fc.assert(fc.property(fc.oneof(nearlyHex, bytes(1, 6).map((array) => array.toString('hex')), text), (text) => {
    const length = text.length / 2
    const lenient = Buffer.from(text, 'hex')
    const canonical = text !== '' && lenient.toString('hex') === text.replace(/[A-F]/g, (digit) => digit.toLowerCase())
    const decoded = decodeHex(text, length)
    if (canonical) counts.hex++
    return canonical ? decoded !== undefined && decoded.equals(lenient) : decoded === undefined
  }), RUN)
  fc.assert(fc.property(fc.oneof(nearlyBase64, text), (text) => {
    const lenient = Buffer.from(text, 'base64')
    const canonical = BASE64.test(text)
    const decoded = decodeBase64(text)
    counts[canonical ? 'base64' : ANY_SPARE_BITS.test(text) ? 'spareBits' : 'noBase64']++
    if (decodeBase64(text, lenient.length + 1) !== undefined) return false
    return canonical ? decoded !== undefined && decoded.equals(lenient) : decoded === undefined
  }), RUN)
  for (const [kind, count] of Object.entries(counts)) t.ok(count > 100, `${kind}: ${count}`)
})

t.test('a timestamp is ten digits that do not begin with a zero, and nothing else', async (t) => {
  const seconds = fc.integer({ min: 0, max: 10_000_000_000 }).map(String)
  let taken = 0
  const edited = fc.tuple(seconds, edit).map(([text, change]) => applyEdit(text, change))
  fc.assert(fc.property(fc.oneof(seconds, edited, text), (text) => {
    const codes = Array.from({ length: text.length }, (_, index) => text.charCodeAt(index))
    const strict = codes.length === 10 && codes[0] !== 0x30 && codes.every((code) => code >= 0x30 && code <= 0x39)
    if (strict) taken++
    return parseUnixSeconds(text) === (strict ? codes.reduce((sum, code) => sum * 10 + code - 0x30, 0) : undefined)
  }), RUN)
  t.ok(taken > 100, `${taken} accepted`)
})

const parameter = fc.tuple(
  fc.constantFrom('keyId', 'algorithm', 'headers', 'signature', '"signature"', 'created', 'KEYID', ''),
  fc.oneof(text, fc.constantFrom(
    '"k"', 'k', '"date"', '"(request-target) date"', '"', '""', 'AAAAAAAAAAAAAAAAAAAAAA==', '"hmac-md5"'))
).map((pair) => pair.join('='))
const signatureText = fc.oneof(
  text,
  fc.tuple(fc.array(parameter, { maxLength: 5 }), fc.constantFrom(',', ', ', ' ,\t', ',,', ' '))
    .map(([all, comma]) => all.join(comma)),
  fc.tuple(fc.constant('keyId="k",algorithm="hmac-md5",headers="date",signature="AAAAAAAAAAAAAAAAAAAAAA=="'), edit)
    .map(([text, change]) => applyEdit(text, change))
)

t.test('no Signature header makes its parser throw, and serializing what it parsed gives the same again', async (t) => {
  const key = createMacKey('md5', Buffer.from(SECRET))
  const date = new Date(NOW * 1000).toUTCString()
  const rules = { algorithm: 'md5', freshness: freshnessOf({ now }) } as const
  let read = 0
  fc.assert(fc.property(signatureText, (text) => {
    const parameters = parseParameters(text)
    const fields = [['date', date], ['signature', text]] as const
    const headers = Object.fromEntries(fields)
    const request = { method: 'POST', originalUrl: '/', headers, raw: { rawHeaders: fields.flat() } }
    const rejection = checkHttpSignature(request as unknown as FastifyRequest, key, rules)
    if (rejection === undefined) return false // nothing here is signed
    if (parameters === undefined) return true
    read++
    const again = parseParameters([...parameters].map(([name, value]) => `${name}="${value}"`).join(', '))
    return isDeepStrictEqual(again, parameters)
  }), RUN)
  t.ok(read > 100, `${read} read`)

  const names = fc.array(fc.constantFrom('a', 'A', 'b', 'keyId', 'KEYID', 'signature'), { minLength: 1, maxLength: 4 })
  fc.assert(fc.property(names, (all) => {
    const repeats = new Set(all.map((name) => name.toLowerCase())).size < all.length
    return (parseParameters(all.map((name) => `${name}="x"`).join(',')) === undefined) === repeats
  }), RUN)
})

/** Copies a value with the keys of all objects in another order. */
function turned (value: unknown): unknown {
  if (Array.isArray(value)) return value.map(turned)
  if (typeof value !== 'object' || value === null) return value
  const result = Object.create(null)
  for (const key of Object.keys(value).reverse()) result[key] = turned((value as Record<string, unknown>)[key])
  return result
}

t.test('canonical strings are equal exactly if the values are, in any order of keys', async (t) => {
  const { value: small } = fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 2, depthSize: 'small' }, fc.constantFrom(0, 1, '', '0', null, false, '{}', '[]'),
      fc.array(tie('value'), { maxLength: 2 }),
      fc.dictionary(fc.constantFrom('a', 'b', '0', '__proto__'), tie('value'), { maxKeys: 2 }))
  }))
  // Parses the value from JSON: plain objects, and no -0, which JSON spells differently from 0.
  const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value).replace(/-0(?![.\d])/g, '0'))
  let equal = 0
  fc.assert(fc.property(fc.oneof(small, fc.jsonValue()), fc.oneof(small, fc.jsonValue()), (one, other) => {
    const [left, right] = [asJson(one), asJson(other)]
    if (canonicalJson(turned(left)) !== canonicalJson(left)) return false
    const same = isDeepStrictEqual(left, right)
    if (same) equal++
    return (canonicalJson(left) === canonicalJson(right)) === same
  }), { ...RUN, numRuns: 5000 })
  t.ok(equal > 50, `${equal} pairs were equal`)
})

t.test('a token opens as it was issued, and with any edit it does not', async (t) => {
  const secret = 'the secret of a token service'
  fc.assert(fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), fc.boolean(), edit, (identifier, human, change) => {
    const token = issueToken({ secret, identifier, human })
    const opened = openToken({ secret, token })
    if (opened?.identifier !== identifier || opened.valid !== human) return false
    const edited = applyEdit(token, change)
    return edited === token || openToken({ secret, token: edited }) === null
  }), RUN)
  t.pass()
})

/** State of a store by key, without capacity and retention, which the store's own suite models. */
interface Model { readonly known: Map<string, { content: string, token: string, reply?: string }> }
type Command = fc.AsyncCommand<Model, DeliveryStore>

const REMEMBERED = 1e9

/** Keys and contents that are easily confused. */
const odd = fc.oneof(
  fc.constantFrom('', '__proto__', 'constructor', 'a', 'A', '\ud800', '\ufffd', 'a\0', '1'),
  anyText(3))
const claim = fc.tuple(odd, odd).map(([key, content]): Command => ({
  check: () => true,
  async run ({ known }, store) {
    const entry = known.get(key)
    const answer = await store.claim(key, content, REMEMBERED)
    if (entry === undefined) known.set(key, { content, token: await granted(answer) })
    else {
      const state = entry.content !== content ? 'conflict' : entry.reply === undefined ? 'running' : 'done'
      const sameReply = answer.state !== 'done' || answer.reply.body === entry.reply
      if (answer.state !== state || !sameReply) throw new Error(`${answer.state}, not ${state}`)
    }
  },
  toString: () => `claim(${JSON.stringify([key, content])})`
}))
const settle = fc.tuple(fc.constantFrom('complete', 'release'), fc.nat(), fc.nat(), odd).map(([verb, which, whose, body]): Command => ({
  check: ({ known }) => known.size > 0,
  async run ({ known }, store) {
    const keys = [...known.keys()]
    const key = keys[which % keys.length]!
    const entry = known.get(key)!
    const token = known.get(keys[whose % keys.length]!)!.token
    const mine = token === entry.token
    const releases = mine && entry.reply === undefined
    const held = verb === 'release'
      ? await store.release(key, token)
      : await store.complete(key, token, { statusCode: 200, body }, REMEMBERED)
    if (held !== (verb === 'release' ? releases : mine)) throw new Error(`${verb} says ${held}`)
    if (verb === 'complete' && held) entry.reply = body
    if (verb === 'release' && held) known.delete(key)
  },
  toString: () => `${verb}(${which}, ${whose}, ${JSON.stringify(body)})`
}))

t.test('the memory store keeps keys, contents, tokens and replies of any characters apart', async (t) => {
  await fc.assert(fc.asyncProperty(fc.commands([claim, claim, settle], { maxCommands: 60 }), (commands) =>
    fc.asyncModelRun(() => ({ model: { known: new Map() }, real: memoryDeliveries({ now: () => 0 }) }), commands)
  ), { ...RUN, numRuns: 300 })
  t.pass()
})
