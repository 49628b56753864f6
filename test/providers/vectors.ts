import { createHmac, hash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import {
  signAghanim, signAltdentifier, signIdentityValidation, verifyAghanim, verifyAltdentifier, verifyIdentityValidation,
  type VerifyResult
} from '../../plugins/index.js'
import { decodeHex } from '../../plugins/lib/signature/fields.js'
import { createMacKey, MAC_BYTES, type MacAlgorithm } from '../../plugins/lib/signature/hmac.js'
import { read, root } from '../support/project.js'
import { quiet } from '../support/quiet.js'

interface Vector {
  secret: string
  api_key: string
  api_secret: string
  timestamp: string
  endpoint: string
  body_base64: string
  digest: string
  signature: string
}

const vectors = JSON.parse(read('test/fixtures/providers.json'))

type Headers = Record<string, string>

interface Case {
  name: string
  vectors: Vector[]
  headers: (vector: Vector) => Headers
  verify: (vector: Vector, headers: Headers, body: Uint8Array) => VerifyResult
  sign: (vector: Vector, body: Uint8Array) => Headers
  mac: string
  timestamp?: string
}

const CASES: Case[] = [{
  name: 'altdentifier',
  vectors: vectors.altdentifier,
  headers: ({ digest }) => ({ digest }),
  verify: ({ secret }, headers, body) => verifyAltdentifier({ secret, headers, body }),
  sign: ({ secret }, body) => signAltdentifier({ secret, body }),
  mac: 'digest'
}, {
  name: 'aghanim',
  vectors: vectors.aghanim,
  headers: ({ signature, timestamp }) => ({
    'x-aghanim-signature': signature, 'x-aghanim-signature-timestamp': timestamp
  }),
  verify: ({ secret, timestamp }, headers, body) =>
    verifyAghanim({ secret, headers, body, now: () => Number(timestamp) * 1000 }),
  sign: ({ secret, timestamp }, body) => signAghanim({ secret, body, timestamp }),
  mac: 'x-aghanim-signature',
  timestamp: 'x-aghanim-signature-timestamp'
}, {
  name: 'identity-validation',
  vectors: vectors['identity-validation'],
  headers: ({ api_key: apiKey, signature, timestamp, endpoint }) => ({
    'x-api-key': apiKey, 'x-signature': signature, 'x-timestamp': timestamp, 'x-endpoint': endpoint
  }),
  verify: ({ api_key: apiKey, api_secret: secret, timestamp, endpoint }, headers, body) => verifyIdentityValidation({
    apiKeys: { [apiKey]: secret }, endpoint, headers, body, now: () => Number(timestamp) * 1000
  }),
  sign: ({ api_key: apiKey, api_secret: secret, timestamp, endpoint }, body) =>
    signIdentityValidation({ apiKey, secret, endpoint, body, timestamp }),
  mac: 'x-signature',
  timestamp: 'x-timestamp'
}]

/** Yields every string or buffer that differs from the given one in a single bit. */
function * flips (bytes: Buffer): Generator<Buffer> {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    yield flipped
  }
}

/** Encodings of the MAC in a header, used to flip bits of a MAC and keep the header well-formed. */
const MAC_TEXTS: Record<string, { bytes: (text: string) => Buffer, text: (mac: Buffer) => string }> = {
  altdentifier: {
    bytes: (text) => Buffer.from(text.slice(4), 'hex'), text: (mac) => `MD5=${mac.toString('hex')}`
  },
  aghanim: { bytes: (text) => Buffer.from(text, 'hex'), text: (mac) => mac.toString('hex') },
  'identity-validation': {
    bytes: (text) => Buffer.from(text.slice(12), 'base64'), text: (mac) => `hmac-sha256 ${mac.toString('base64')}`
  }
}

for (const { name, vectors, headers, verify, sign, mac, timestamp } of CASES) {
  t.test(`${name}: deliveries signed by another implementation`, quiet(async (t) => {
    t.equal(vectors.length, 12)
    for (const vector of vectors) {
      const body = Buffer.from(vector.body_base64, 'base64')
      const sent = headers(vector)
      t.strictSame(verify(vector, sent, body), { ok: true, secretIndex: 0 })
      const { 'content-type': type, ...signed } = sign(vector, body)
      t.strictSame(signed, sent, 'the signer sends the same headers')
      t.equal(type, 'application/json')
    }
  }))

  t.test(`${name}: every single bit of MAC, timestamp and body matters`, quiet(async (t) => {
    let refused = 0
    let tried = 0
    const refuse = (vector: Vector, sent: Headers, body: Buffer) => {
      tried++
      if (!verify(vector, sent, body).ok) refused++
    }
    for (const vector of vectors) {
      const body = Buffer.from(vector.body_base64, 'base64')
      const sent = headers(vector)
      const { bytes, text } = MAC_TEXTS[name]!
      for (const flipped of flips(bytes(sent[mac]!))) refuse(vector, { ...sent, [mac]: text(flipped) }, body)
      for (const flipped of flips(Buffer.from(sent[mac]!, 'latin1'))) {
        const flippedText = flipped.toString('latin1')
        // Hex is case-insensitive, and so is the name of the algorithm that AltDentifier puts before it.
        const same = mac !== 'x-signature' && flippedText.toLowerCase() === sent[mac]!.toLowerCase()
        if (!same) refuse(vector, { ...sent, [mac]: flippedText }, body)
      }
      for (const flipped of flips(body)) refuse(vector, sent, flipped)
      if (timestamp === undefined) continue
      for (const flipped of flips(Buffer.from(sent[timestamp]!, 'latin1'))) {
        refuse(vector, { ...sent, [timestamp]: flipped.toString('latin1') }, body)
      }
    }
    t.ok(tried > 12_000, `${tried} tried`)
    t.equal(refused, tried)
  }))
}

const WYCHEPROOF = new URL('../shared/vectors/wycheproof-hmac-sha256.json', root)
const noVectors = !existsSync(WYCHEPROOF) && process.env['REQUIRE_SHARED_VECTORS'] !== '1' &&
  'the vectors of Wycheproof are not on this machine'

t.test('Wycheproof: full tags have the listed results, truncated ones are refused', { skip: noVectors }, quiet(async (t) => {
  const { testGroups } = JSON.parse(readFileSync(WYCHEPROOF, 'utf8'))
  const counted = { full: 0, truncated: 0 }
  for (const { tagSize, tests } of testGroups) {
    for (const { key, msg, tag, result, tcId } of tests) {
      const macKey = createMacKey('sha256', Buffer.from(key, 'hex'))
      const message = Buffer.from(msg, 'hex')
      const mac = Buffer.from(tag, 'hex')
      if (tagSize === 256) {
        counted.full++
        t.equal(macKey.verify([decodeHex(tag, 32)!], '', message), result === 'valid', `case ${tcId}`)
      } else {
        counted.truncated++
        t.equal(decodeHex(tag, 32), undefined, `case ${tcId} does not decode`)
        t.equal(macKey.verify([mac], '', message), false, `case ${tcId} does not match`)
      }
    }
  }
  t.strictSame(counted, { full: 87, truncated: 87 })
}))

const repeat = (byte: number, times: number) => Buffer.alloc(times, byte)
const ascii = (text: string) => Buffer.from(text, 'latin1')
const LONG = 'This is a test using a larger than block-size key and a larger than block-size data. ' +
  'The key needs to be hashed before being used by the HMAC algorithm.'

/** RFC 2202 section 2 (MD5) and RFC 4231 section 4 (SHA-256), whose fifth case is truncated to 128 bits. */
const RFC: [MacAlgorithm, Buffer, Buffer, string][] = [
  ['md5', repeat(0x0b, 16), ascii('Hi There'), '9294727a3638bb1c13f48ef8158bfc9d'],
  ['md5', ascii('Jefe'), ascii('what do ya want for nothing?'), '750c783e6ab0b503eaa86e310a5db738'],
  ['md5', repeat(0xaa, 16), repeat(0xdd, 50), '56be34521d144c88dbb8c733f0e8b3f6'],
  ['md5', Buffer.from([...Array(25).keys()].map((i) => i + 1)), repeat(0xcd, 50), '697eaf0aca3a3aea3a75164746ffaa79'],
  ['md5', repeat(0x0c, 16), ascii('Test With Truncation'), '56461ef2342edc00f9bab995690efd4c'],
  ['md5', repeat(0xaa, 80), ascii('Test Using Larger Than Block-Size Key - Hash Key First'),
    '6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd'],
  ['md5', repeat(0xaa, 80), ascii('Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data'),
    '6f630fad67cda0ee1fb1f562db3aa53e'],
  ['sha256', repeat(0x0b, 20), ascii('Hi There'), 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
  ['sha256', ascii('Jefe'), ascii('what do ya want for nothing?'),
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'],
  ['sha256', repeat(0xaa, 20), repeat(0xdd, 50), '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe'],
  ['sha256', Buffer.from([...Array(25).keys()].map((i) => i + 1)), repeat(0xcd, 50),
    '82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b'],
  ['sha256', repeat(0x0c, 20), ascii('Test With Truncation'), 'a3b6167473100ee06e0c796c2955552b'],
  ['sha256', repeat(0xaa, 131), ascii('Test Using Larger Than Block-Size Key - Hash Key First'),
    '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54'],
  ['sha256', repeat(0xaa, 131), ascii(LONG),
    '9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2']
]

t.test('RFC 2202 and RFC 4231', quiet(async (t) => {
  for (const [algorithm, key, message, expected] of RFC) {
    const mac = createMacKey(algorithm, key).sign('', message).toString('hex')
    t.equal(mac.slice(0, expected.length), expected)
  }
}))

t.test('the helper agrees with createHmac for every length around a block', quiet(async (t) => {
  for (const algorithm of ['md5', 'sha256'] as const) {
    for (let length = 1; length <= 200; length++) {
      const key = Buffer.alloc(length, length)
      const body = Buffer.alloc(length * 3, length)
      const mac = createMacKey(algorithm, key).sign('prefix.', body)
      t.equal(mac.length, MAC_BYTES[algorithm])
      t.same(mac, createHmac(algorithm, key).update('prefix.').update(body).digest())
    }
  }
}))

t.test('a plain hash of the body does not verify', async (t) => {
  const vector: Vector = vectors.altdentifier[0]
  const body = Buffer.from(vector.body_base64, 'base64')
  for (const encoding of ['hex', 'base64'] as const) {
    const result = verifyAltdentifier({
      secret: vector.secret, headers: { digest: `MD5=${hash('md5', body, encoding)}` }, body
    })
    t.equal(result.ok, false)
  }
})
