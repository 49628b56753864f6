import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import crypto, { createHmac, hash, randomBytes } from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { inspect } from 'node:util'
import t from 'tap'
import { altdentifierPlugin, createProvider } from '../../plugins/index.js'
import { decodeBase64, decodeHex } from '../../plugins/lib/signature/fields.js'
import { createMacKey, findKey } from '../../plugins/lib/signature/hmac.js'
import { API_KEY, bodyOf, PROVIDERS, SECRET } from '../support/deliveries.js'
import { createHost, type Test } from '../support/host.js'
import { quiet } from '../support/quiet.js'
import { cpuTime } from '../support/waiting.js'

const BODY = Buffer.from('{"a":1}')
const keys = ['one', 'two', 'three', 'four'].map((text) => createMacKey('sha256', Buffer.from(text.padEnd(32))))

/** Replaces a function of node:crypto in all modules until the test ends. */
function replace<Name extends 'createHmac' | 'hash'> (test: Test, name: Name, replacement: typeof crypto[Name]): void {
  const put = (value: typeof crypto[Name]): void => {
    crypto[name] = value
    syncBuiltinESMExports()
  }
  const original = crypto[name]
  test.teardown(() => put(original))
  put(replacement)
}

/** Counts the HMACs made from now on, with `createHmac` or with two hashes. */
function countHmacs (test: Test) {
  const counted = { made: 0 }
  const originals = { createHmac, hash }
  replace(test, 'createHmac', (...args) => {
    counted.made++
    return originals.createHmac(...args)
  })
  replace(test, 'hash', ((...args: Parameters<typeof hash>) => {
    if (args[2] === 'binary') counted.made += 0.5
    return originals.hash(...args)
  }) as typeof hash)
  return counted
}

t.test('an HMAC covers one byte per character of its prefix, and then the body', async (t) => {
  for (const prefix of ['', '1790000000.', 'é\xff\x80', '\0']) {
    const message = Buffer.concat([Buffer.from(prefix, 'latin1'), BODY])
    for (const algorithm of ['md5', 'sha256'] as const) {
      const mac = createHmac(algorithm, 'secret').update(message).digest()
      t.strictSame(createMacKey(algorithm, Buffer.from('secret')).sign(prefix, BODY), mac)
    }
  }
})

t.test('an HMAC equals that of node:crypto, for any length of key, prefix and body', async (t) => {
  const lengths = [0, 1, 31, 32, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 8181, 8191, 8192, 8193, 70_000]
  for (const algorithm of ['md5', 'sha256'] as const) {
    for (const secret of [0, 1, 16, 32, 63, 64, 65, 128, 1000].map((length) => randomBytes(length))) {
      const key = createMacKey(algorithm, secret)
      const wrong = lengths.flatMap((length) => ['', '1790000000.', '\xff'.repeat(200)].filter((prefix) => {
        const body = randomBytes(length)
        const expected = createHmac(algorithm, secret).update(prefix, 'latin1').update(body).digest()
        return !key.sign(prefix, body).equals(expected) || !key.verify([expected], prefix, body)
      }).map((prefix) => [length, prefix.length]))
      t.strictSame(wrong, [], `${algorithm}, a key of ${secret.length} bytes`)
    }
  }
})

t.test('a MAC does not change while others are computed', async (t) => {
  const [one, two] = keys
  const mac = one!.sign('', BODY)
  const copy = Buffer.from(mac)
  two!.sign('', BODY)
  one!.sign('x', BODY)
  t.strictSame(mac, copy)
})

t.test('a printed key shows neither its secret nor its MACs', async (t) => {
  const secret = Buffer.alloc(32, 'S')
  const shown = inspect(createMacKey('sha256', secret), { depth: 9, showHidden: true })
  for (const mask of [0, 0x36, 0x5c]) {
    const bytes = Buffer.from(secret.map((byte) => byte ^ mask))
    const pairs = bytes.toString('hex').match(/../g)!.join(' ')
    for (const text of [bytes.toString('latin1'), bytes.toString('hex'), pairs, bytes.join(', ')]) {
      t.notOk(shown.includes(text.slice(0, 20)), shown)
    }
  }
})

t.test('a MAC of another length does not match, and throws nothing', async (t) => {
  const [key] = keys
  const mac = key!.sign('x', BODY)
  t.equal(key!.verify([mac], 'x', BODY), true)
  for (let length = 0; length < mac.length; length++) t.equal(key!.verify([mac.subarray(0, length)], 'x', BODY), false)
  t.equal(key!.verify([Buffer.concat([mac, mac])], 'x', BODY), false)
  t.equal(key!.verify([], 'x', BODY), false)
  t.equal(findKey(keys, [Buffer.alloc(0)], 'x', BODY), -1)
})

t.test('the key that made a MAC is found at any position, at the cost of all of them', async (t) => {
  const macs = keys.map((key) => key.sign('', BODY))
  const counted = countHmacs(t)
  for (const [index, mac] of [...macs, Buffer.alloc(32)].entries()) {
    counted.made = 0
    t.equal(findKey(keys, [mac], '', BODY), index === 4 ? -1 : index)
    t.equal(counted.made, 4)
  }
  t.equal(findKey([keys[1]!, keys[0]!, keys[1]!], [macs[1]!], '', BODY), 2, 'the last one, if two are the same')
})

t.test('any of several MACs may match, at the cost of one HMAC per key; an empty list matches nothing', async (t) => {
  const made = keys.map((key) => key.sign('', BODY))
  const wrong = Buffer.alloc(32)
  const counted = countHmacs(t)
  for (const [macs, index] of [
    [[wrong, made[2]!], 2], [[made[2]!, wrong, wrong], 2], [[made[0]!, made[1]!], 1], [[made[1]!, made[0]!], 1],
    [[wrong, wrong], -1], [[made[0]!.subarray(0, 31), Buffer.concat([made[1]!, wrong])], -1], [[], -1]
  ] as const) {
    counted.made = 0
    t.equal(findKey(keys, macs, '', BODY), index)
    t.equal(counted.made, 4)
  }
})

t.test('an unknown api-key costs a MAC, like a wrong signature', async (t) => {
  const { app } = createHost(t)
  const identity = PROVIDERS[2]!
  identity.register(app, [])
  await app.ready()
  const body = bodyOf(identity)
  const headers = identity.sign(body)
  const counted = countHmacs(t)
  for (const [name, value, expected] of [
    ['x-api-key', API_KEY, 204], ['x-api-key', 'another', 403], ['x-timestamp', '1790000001', 403]
  ] as const) {
    counted.made = 0
    const reply = await app.inject({
      method: 'POST', url: identity.url, headers: { ...headers, [name]: value }, payload: body
    })
    t.equal(reply.statusCode, expected)
    t.equal(counted.made, 1, `${name}: ${value}`)
  }
})

t.test('a platform without MD5 is detected at the start', async (t) => {
  const original = createHmac
  replace(t, 'createHmac', ((algorithm: string, key: crypto.BinaryLike) => {
    if (algorithm === 'md5') throw new Error('digital envelope routines::unsupported canary')
    return original(algorithm, key)
  }) as typeof createHmac)
  const ownPlugin = createProvider({
    name: 'own',
    summary: 'Something happened',
    headers: ['x-own-signature'],
    read: ([signature]) => ({ mac: decodeHex(signature, 16), prefix: '', timestamp: null }),
    algorithm: 'md5',
    secretEncoding: 'utf8',
    body: Type.Object({})
  })
  const plugins: [name: string, register: (app: FastifyInstance) => unknown][] = [
    ['altdentifierPlugin', (app) => app.register(altdentifierPlugin, { secret: SECRET, handleEvent () {} })],
    ['own', (app) => app.register(ownPlugin, { secret: SECRET, handleEvent () {} })]
  ]
  for (const [name, register] of plugins) {
    const app = Fastify()
    t.teardown(() => app.close())
    register(app)
    const error = await app.ready().then(() => undefined, (reason: unknown) => reason)
    t.match(error, {
      code: 'FST_VERIFICATION_ALGORITHM_UNAVAILABLE', message: `${name}: this platform does not support HMAC with md5`
    })
    t.notMatch(inspect(error, { depth: 9 }), /canary/)
  }
})

const BYTES = Buffer.from(Array.from({ length: 32 }, (_, index) => 0xff - index * 7))
const HEX = BYTES.toString('hex')

t.test('hex is accepted in either case', async (t) => {
  for (const text of [HEX, HEX.toUpperCase(), HEX.slice(0, 32) + HEX.slice(32).toUpperCase()]) {
    t.same(decodeHex(text, 32), BYTES, text)
  }
  t.same(decodeHex('00', 1), Buffer.of(0))
  t.same(decodeHex('fF', 1), Buffer.of(255))
})

t.test('hex of another length is refused', quiet(async (t) => {
  for (let length = 0; length <= HEX.length * 2; length++) {
    if (length !== 64) t.equal(decodeHex((HEX + HEX).slice(0, length), 32), undefined, `${length} digits`)
  }
  t.equal(decodeHex('', 0), undefined, 'an empty string is never a MAC')
}))

t.test('hex with any other character is refused, though Buffer.from would stop there or skip it', quiet(async (t) => {
  const malformed = [
    `${HEX}zz`, `${HEX}0`, `${HEX}\0`, `${HEX}\n`, `${HEX} `, ` ${HEX}`, `\n${HEX}`, `${HEX}${HEX}`, `${HEX}, ${HEX}`,
    `0x${HEX}`, `0x${HEX.slice(2)}`, `${HEX.slice(0, 62)}zz`, `${HEX.slice(0, 63)}g`, `${HEX.slice(0, 63)} `,
    `${HEX.slice(0, 63)}\n`, `${HEX.slice(0, 63)}\0`, ` ${HEX.slice(1)}`, `${HEX.slice(0, 30)}  ${HEX.slice(32)}`,
    `${HEX.slice(0, 30)}:-${HEX.slice(32)}`, `+${HEX.slice(1)}`, `-${HEX.slice(1)}`, '', ' ', 'é'.repeat(64),
    'é'.repeat(32), '😀'.repeat(32), '１'.repeat(64), 'z'.repeat(64), 'null', 'undefined', '[object Object]'
  ]
  for (const text of malformed) t.equal(decodeHex(text, 32), undefined, JSON.stringify(text))
}))

t.test('canonical base64 of every length', quiet(async (t) => {
  for (let length = 0; length <= 32; length++) {
    const bytes = BYTES.subarray(0, length)
    const text = bytes.toString('base64')
    t.same(decodeBase64(text), bytes, text)
    t.same(decodeBase64(text, length), bytes)
    t.equal(decodeBase64(text, length + 1), undefined, 'a byte short')
    t.equal(decodeBase64(text, length - 1), undefined, 'a byte long')
  }
  t.same(decodeBase64('+/+/'), Buffer.from('+/+/', 'base64'))
}))

t.test('base64 that is not canonical is refused, though Buffer.from would decode it', quiet(async (t) => {
  const malformed = [
    'aGVsbG9=', 'aGVsbG+=', 'AB==', 'AAB=', // non-zero spare bits
    'aGVsbG8', 'aGVsbG8==', 'aGVsbG8===', 'AA=', 'AA', 'A===', 'A', '=', '==', '====', '=AAA', 'A=AA', 'AA=A', // padding
    'aGVsbG8 =', ' aGVsbG8=', 'aGVsbG8= ', 'aGVs bG8=', 'aGVs\nbG8=', 'aGVsbG8=\n', 'aGVs\r\nbG8=', 'aGVs\tbG8=',
    'aGVs!bG8=', 'aGVsbG8!', 'aGVsb*8=', 'aGVsbG8=\0', 'aGVs\0bG8=', // characters that Buffer.from skips
    'aGVsbG8=aGVsbG8=', 'aGVsbG8=AAAA', 'aGVsbG8=x', 'aGVsbG8=, aGVsbG8=', // data after the padding
    '-_-_', '-/+/', '+_+/', 'aGVsb-8=', // URL-safe alphabet
    'aGVsbG８=', 'éééé', '😀😀', ' ', '\n', '"aGVsbG8="', 'data:;base64,aGVsbG8='
  ]
  for (const text of malformed) {
    t.equal(decodeBase64(text), undefined, JSON.stringify(text))
    t.equal(decodeBase64(text, 5), undefined, JSON.stringify(text))
  }
  const lenient = Buffer.from('hello')
  t.ok(malformed.filter((text) => Buffer.from(text, 'base64').equals(lenient)).length > 15, 'Buffer.from is lenient')
}))

t.test('every other last character of a padded string is refused', quiet(async (t) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  const taken = (before: string, after: string) =>
    [...alphabet].filter((last) => decodeBase64(before + last + after) !== undefined).join('')
  t.equal(taken('A', '=='), 'AQgw')
  t.equal(taken('AA', '='), 'AEIMQUYcgkosw048')
  t.equal(taken('AAA', ''), alphabet)
}))

t.test('16 KiB of any characters are decoded or refused quickly', async (t) => {
  const hostile = ['A', '=', 'a0', '+/', 'AAA=', 'AA==', ' ', '\n', 'é', '0', 'f']
    .flatMap((part) => ['', '!', '='].map((end) => part.repeat(16_384 / part.length) + end))
  for (const text of hostile) {
    const start = cpuTime()
    decodeBase64(text)
    decodeHex(text, text.length / 2)
    t.ok(cpuTime() - start < 200, JSON.stringify(text.slice(0, 8)))
  }
})
