import Fastify from 'fastify'
import crypto, { createHmac } from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { inspect } from 'node:util'
import t from 'tap'
import { altdentifierPlugin } from '../plugins/index.js'
import { createMacKey, findKey, hmac, isMac } from '../plugins/lib/mac.js'
import { API_KEY, bodyOf, PROVIDERS, SECRET } from './fixtures/deliveries.js'
import { createHost, type Test } from './fixtures/host.js'

const BODY = Buffer.from('{"a":1}')
const keys = ['one', 'two', 'three', 'four'].map((text) => createMacKey('sha256', Buffer.from(text.padEnd(32))))

/** Has all code call `replacement` for `createHmac` until the test ends. */
function replaceHmac (test: Test, replacement: typeof createHmac): void {
  const put = (value: typeof createHmac): void => {
    crypto.createHmac = value
    syncBuiltinESMExports()
  }
  const original = crypto.createHmac
  test.teardown(() => put(original))
  put(replacement)
}

/** How many HMACs are made, from now on. */
function countHmacs (test: Test) {
  const counted = { made: 0 }
  const original = createHmac
  replaceHmac(test, (...args: Parameters<typeof createHmac>) => {
    counted.made++
    return original(...args)
  })
  return counted
}

t.test('an HMAC is over the bytes of the characters of its prefix, and then the body', async (t) => {
  for (const prefix of ['', '1790000000.', 'é\xff\x80', '\0']) {
    const message = Buffer.concat([Buffer.from(prefix, 'latin1'), BODY])
    for (const algorithm of ['md5', 'sha256'] as const) {
      const mac = createHmac(algorithm, 'secret').update(message).digest()
      t.strictSame(hmac(createMacKey(algorithm, Buffer.from('secret')), prefix, BODY), mac)
    }
  }
})

t.test('a MAC of another length is none, and throws nothing', async (t) => {
  const [key] = keys
  const mac = hmac(key!, 'x', BODY)
  t.equal(isMac(key!, mac, 'x', BODY), true)
  for (let length = 0; length < mac.length; length++) t.equal(isMac(key!, mac.subarray(0, length), 'x', BODY), false)
  t.equal(isMac(key!, Buffer.concat([mac, mac]), 'x', BODY), false)
  t.equal(findKey(keys, Buffer.alloc(0), 'x', BODY), -1)
})

t.test('the key that made a MAC is found wherever it stands, at the cost of all of them', async (t) => {
  const macs = keys.map((key) => hmac(key, '', BODY))
  const counted = countHmacs(t)
  for (const [index, mac] of [...macs, Buffer.alloc(32)].entries()) {
    counted.made = 0
    t.equal(findKey(keys, mac, '', BODY), index === 4 ? -1 : index)
    t.equal(counted.made, 4)
  }
  t.equal(findKey([keys[1]!, keys[0]!, keys[1]!], macs[1]!, '', BODY), 2, 'the last, where two are the same')
})

t.test('an api-key nobody knows costs a MAC, as a wrong signature does', async (t) => {
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

t.test('a platform without MD5 is found out at the start', async (t) => {
  const original = createHmac
  replaceHmac(t, ((algorithm: string, key: crypto.BinaryLike) => {
    if (algorithm === 'md5') throw new Error('digital envelope routines::unsupported canary')
    return original(algorithm, key)
  }) as typeof createHmac)
  const app = Fastify()
  t.teardown(() => app.close())
  app.register(altdentifierPlugin, { secret: SECRET, handleEvent () {} })
  const error = await app.ready().then(() => undefined, (reason: unknown) => reason)
  t.match(error, {
    code: 'FST_VERIFICATION_ALGORITHM_UNAVAILABLE',
    message: /^altdentifierPlugin: this platform has no HMAC with md5$/
  })
  t.notMatch(inspect(error, { depth: 9 }), /canary/)
})
