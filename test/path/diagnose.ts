import type { FastifyInstance, InjectOptions } from 'fastify'
import { createHash, createHmac, randomBytes, type BinaryLike } from 'node:crypto'
import t from 'tap'
import {
  aghanimPlugin, altdentifierPlugin, identityValidationPlugin, type WebhookOptions
} from '../../plugins/index.js'
import { say } from '../../plugins/lib/doctor/mistakes.js'
import { API_KEY, API_SECRET, FORBIDDEN, NOW, now, PLAYER, PROVIDERS, SECRET, SESSIONS } from '../support/deliveries.js'
import { addCanaries, createHost, expectNoCanary, type Test } from '../support/host.js'
import { quiet } from '../support/quiet.js'

const OTHER_SECRET = 'the secret of another game 8c1f'
const OTHER_API_SECRET = Buffer.from('another secret of thirty-two byt').toString('base64')
const FILES = '/v1/kyc/required-files'
addCanaries(OTHER_SECRET, OTHER_API_SECRET)

const BODY = '{"event_id":"e-1","session":{"id":"iss-1","status":"VERIFIED"},"url":"https://x.example/ü"}'
const API_BYTES = Buffer.from(API_SECRET, 'base64')
const hmac = (key: BinaryLike, text: BinaryLike, algorithm = 'sha256') =>
  createHmac(algorithm, key).update(text).digest()

/** Registers every plugin, one of them twice, with handlers that must not be called. */
function createServer (test: Test & Pick<typeof t, 'fail'>, options: WebhookOptions) {
  const { app, lines } = createHost(test)
  const called = () => test.fail('a handler was called')
  const verifyPlayer = () => {
    called()
    return PLAYER
  }
  app.register(altdentifierPlugin, { secret: SECRET, now, handleEvent: called, ...options })
  app.register(aghanimPlugin, { secret: SECRET, now, verifyPlayer, ...options })
  app.register(aghanimPlugin, { prefix: '/other-game', secret: OTHER_SECRET, now, verifyPlayer, ...options })
  app.register(identityValidationPlugin, {
    apiKeys: { [API_KEY]: API_SECRET, second: OTHER_API_SECRET },
    endpoints: { requiredFiles: `${FILES}?tenant=a` },
    now,
    handleSession: called,
    handleRequiredFiles: called,
    ...options
  })
  return { app, lines }
}

type Headers = Record<string, string>
type Delivery = readonly [url: string, headers: Headers, body?: string]

const requestOf = ([url, headers, payload = BODY]: Delivery): InjectOptions =>
  ({ method: 'POST', url, headers: { 'content-type': 'application/json', ...headers }, payload })

async function diagnosisOf (
  app: FastifyInstance, lines: readonly Record<string, unknown>[], delivery: Delivery
): Promise<unknown> {
  const before = lines.length
  await app.inject(requestOf(delivery))
  const [line, ...others] = lines.slice(before).filter(({ msg }) => msg === 'delivery rejected')
  if (line === undefined || others.length > 0) throw new Error('not one line of a rejected delivery')
  return line['diagnosis']
}

const digest = (mac: Buffer, encoding: 'hex' | 'base64' = 'hex'): Delivery =>
  ['/altdentifier', { digest: `MD5=${mac.toString(encoding)}` }]
const aghanim = (signature: Buffer | string, timestamp = `${NOW}`, body = BODY): Delivery => ['/aghanim', {
  'x-aghanim-signature': typeof signature === 'string' ? signature : signature.toString('hex'),
  'x-aghanim-signature-timestamp': timestamp
}, body]
const identity = (text: string, more: Headers = {}, key: BinaryLike = API_BYTES, url = SESSIONS): Delivery => [url, {
  'x-api-key': API_KEY,
  'x-signature': `hmac-sha256 ${hmac(key, text).toString('base64')}`,
  'x-timestamp': `${NOW}`,
  'x-endpoint': SESSIONS,
  ...more
}]
const RIGHT = `${NOW}.${BODY}`
const SIGNED = `${NOW}${SESSIONS}${BODY}`
const FILES_SIGNED = `${FILES}?tenant=a`
const filesUrl = '/identity-validation/required-files'
const time = 'x-aghanim-signature-timestamp'

const PLANTED: readonly (readonly [mistake: string, delivery: Delivery])[] = [
  [say('base64ForHex'), aghanim(hmac(SECRET, RIGHT).toString('base64'))],
  [say('base64ForHex'), digest(hmac(SECRET, BODY, 'md5'), 'base64')],
  [say('hexForBase64'), identity(SIGNED, { 'x-signature': `hmac-sha256 ${hmac(API_BYTES, SIGNED).toString('hex')}` })],
  [say('noPrefix', 'hmac-sha256 '), identity(SIGNED, { 'x-signature': hmac(API_BYTES, SIGNED).toString('base64') })],
  [say('otherPrefix'), aghanim(`sha256=${hmac(SECRET, RIGHT).toString('hex')}`)],
  [say('tool'), aghanim(`${hmac(SECRET, RIGHT).toString('hex')} *stdin`)],
  [say('cut'), aghanim(hmac(SECRET, RIGHT).toString('hex').slice(0, 40))],
  [`${say('base64ForHex')}, and ${say('unkeyed')}`, digest(createHash('md5').update(BODY).digest(), 'base64')],
  [say('unkeyed'), digest(createHash('md5').update(BODY).digest())],
  [say('algorithm', 'SHA-1', 'SHA-256'), aghanim(hmac(SECRET, RIGHT, 'sha1'))],
  [say('algorithm', 'SHA-512', 'SHA-256'), aghanim(hmac(SECRET, RIGHT, 'sha512'))],
  [say('algorithm', 'SHA-256', 'MD5'), digest(hmac(SECRET, BODY))],
  [say('swapped'), digest(hmac(BODY, SECRET, 'md5'))],
  [say('notDecoded'), identity(SIGNED, {}, API_SECRET)],
  [say('damaged'), identity(SIGNED, {}, API_BYTES.toString())],
  [say('apiKeyForSecret'), identity(SIGNED, {}, API_KEY)],
  [say('otherApiKey', 'second'), identity(SIGNED, {}, Buffer.from(OTHER_API_SECRET, 'base64'))],
  [`${say('unknownKey', 'x-api-key')}, and ${say('otherApiKey', 'second')}`,
    identity(SIGNED, { 'x-api-key': 'third' }, Buffer.from(OTHER_API_SECRET, 'base64'))],
  [say('otherRoute', '/other-game/aghanim'), aghanim(hmac(OTHER_SECRET, RIGHT))],
  [say('lineBreak'), aghanim(hmac(`${SECRET}\n`, RIGHT))],
  [say('quotes'), digest(hmac(`"${SECRET}"`, BODY, 'md5'))],
  [say('noSecret'), aghanim(hmac('undefined', RIGHT))],
  [say('milliseconds', time), aghanim(hmac(SECRET, `${NOW}000.${BODY}`), `${NOW}000`)],
  [say('signedMilliseconds', time), aghanim(hmac(SECRET, `${NOW}000.${BODY}`))],
  [say('old', time, 1000), aghanim(hmac(SECRET, `${NOW - 1000}.${BODY}`), `${NOW - 1000}`)],
  [say('timeZone', time, 3), aghanim(hmac(SECRET, `${NOW + 10_800}.${BODY}`), `${NOW + 10_800}`)],
  [say('noTimestamp'), aghanim(hmac(SECRET, BODY))],
  [say('separator', 'nothing', 'a full stop'), aghanim(hmac(SECRET, `${NOW}${BODY}`))],
  [say('noBody'), aghanim(hmac(SECRET, `${NOW}.`))],
  [say('extraPath'), aghanim(hmac(SECRET, `${NOW}./aghanim.${BODY}`))],
  [say('noEndpoint'), identity(`${NOW}${BODY}`)],
  [say('fullUrl', 'x-endpoint'),
    identity(`${NOW}https://x.example${SESSIONS}${BODY}`, { 'x-endpoint': `https://x.example${SESSIONS}` })],
  [say('shortEndpoint', 'x-endpoint'), identity(`${NOW}/sessions${BODY}`, { 'x-endpoint': '/sessions' })],
  [say('query', 'x-endpoint'), identity(`${NOW}${FILES}${BODY}`, { 'x-endpoint': FILES }, API_BYTES, filesUrl)],
  [say('signedNoQuery'), identity(`${NOW}${FILES}${BODY}`, { 'x-endpoint': FILES_SIGNED }, API_BYTES, filesUrl)],
  [say('missing', time), ['/aghanim', { 'x-aghanim-signature': hmac(SECRET, BODY).toString('hex') }]],
  [say('elsewhere', 'x-hub-signature-256', 'x-aghanim-signature'),
    ['/aghanim', { 'x-hub-signature-256': hmac(SECRET, RIGHT).toString('hex'), [time]: `${NOW}` }]],
  [say('body', 'compact JSON', 12), aghanim(
    hmac(SECRET, RIGHT), `${NOW}`, BODY.replaceAll(/":/g, '": ').replaceAll(/,"/g, ', "'))],
  [say('body', 'compact JSON with "/" and non-ASCII characters escaped', BODY.indexOf('/')), digest(
    hmac(SECRET, BODY.replaceAll('/', '\\/').replace('ü', '\\u00fc'), 'md5'))],
  [say('body', 'the received body with a trailing line break', Buffer.byteLength(BODY)), aghanim(hmac(SECRET, `${RIGHT}\n`))]
]

t.test('each deliberate mistake is named in the log', async (t) => {
  const { app, lines } = createServer(t, { diagnose: true })
  t.ok(PLANTED.length >= 20)
  for (const [mistake, delivery] of PLANTED) t.equal(await diagnosisOf(app, lines, delivery), mistake)
})

const UNKNOWN: readonly Delivery[] = [
  aghanim(randomBytes(32)),
  digest(randomBytes(16)),
  identity(SIGNED, {}, randomBytes(32)),
  aghanim(hmac('the secret of a stranger, 0123456', RIGHT)),
  aghanim(hmac(SECRET, RIGHT), `${NOW}`, BODY.replace('VERIFIED', 'verified')),
  aghanim('no signature'),
  aghanim('0'.repeat(63)),
  ['/altdentifier', { digest: 'MD5=' }]
]

t.test('random or broken deliveries have no known mistake', async (t) => {
  const { app, lines } = createServer(t, { diagnose: true })
  for (const delivery of UNKNOWN) {
    t.equal(await diagnosisOf(app, lines, delivery), 'no known mistake', JSON.stringify(delivery[1]))
  }
})

t.test('variants of a long body are not tried, but its headers are examined', async (t) => {
  const { app, lines } = createServer(t, { diagnose: true })
  const signedAs = (length: number): Delivery => {
    const body = JSON.stringify({ padding: 'x'.repeat(length - '{"padding":""}'.length) })
    return aghanim(hmac(SECRET, `${NOW}.${body}`), `${NOW}`, `${body} `)
  }
  t.equal(await diagnosisOf(app, lines, signedAs(8191)), say('body', 'the received body without surrounding white space', 8191))
  t.equal(await diagnosisOf(app, lines, signedAs(8192)), 'no known mistake')
  const long = BODY.padEnd(60_000)
  t.equal(await diagnosisOf(app, lines, aghanim(hmac(SECRET, long), `${NOW}`, long)), say('noTimestamp'))
})

t.test('one delivery is searched at a time, and for the others this is logged', async (t) => {
  const { app, lines } = createServer(t, { diagnose: true })
  const [[mistake, planted]] = PLANTED as [[string, Delivery]]
  for (let round = 0; round < 2; round++) {
    lines.length = 0
    await Promise.all(Array.from({ length: 20 }, () => app.inject(requestOf(planted))))
    const said = lines.filter(({ msg }) => msg === 'delivery rejected').map(({ diagnosis }) => diagnosis)
    t.equal(said.length, 20)
    t.strictSame([...new Set(said)].sort(),
      [mistake, 'not diagnosed, since another delivery was being diagnosed'].sort())
  }
})

t.test('the answer is the same in every byte, with and without it, and without it nothing is logged', quiet(async (t) => {
  const answers = async (options: WebhookOptions) => {
    const { app, lines } = createServer(t, options)
    const texts: string[] = []
    for (const delivery of [...PLANTED.map(([, planted]) => planted), ...UNKNOWN]) {
      const { statusCode, headers: { date, ...headers }, payload } = await app.inject(requestOf(delivery))
      t.equal(payload, FORBIDDEN)
      texts.push(JSON.stringify([statusCode, headers, payload]))
      expectNoCanary(texts.at(-1)!)
    }
    return { texts, said: lines.filter((line) => 'diagnosis' in line).length }
  }
  const plain = await answers({})
  const diagnosed = await answers({ diagnose: true })
  t.strictSame(diagnosed.texts, plain.texts)
  t.equal(diagnosed.said, plain.texts.length)
  t.equal(plain.said, 0)
  t.equal((await answers({ diagnose: false })).said, 0)
}))

t.test('a genuine delivery is accepted, and nothing is logged about it', async (t) => {
  for (const provider of PROVIDERS) {
    const { app, lines } = createHost(t)
    const calls: unknown[] = []
    provider.register(app, calls, { diagnose: true })
    const body = JSON.stringify(provider.event)
    const reply = await app.inject({ method: 'POST', url: provider.url, headers: provider.sign(body), payload: body })
    t.equal(reply.statusCode, provider.success)
    t.equal(calls.length, 1)
    t.notOk(lines.some((line) => 'diagnosis' in line))
  }
})

t.test('no log shows a secret, or a MAC that would have been right', quiet(async (t) => {
  const { app, lines } = createServer(t, { diagnose: true })
  for (const [, delivery] of PLANTED) await app.inject(requestOf(delivery))
  const log = JSON.stringify(lines)
  const bodies = PLANTED.map(([, [, , body = BODY]]) => body)
  for (const body of bodies) {
    const macs =
      [hmac(SECRET, `${NOW}.${body}`), hmac(SECRET, body, 'md5'), hmac(API_BYTES, `${NOW}${SESSIONS}${body}`)]
    for (const mac of macs) {
      for (const encoding of ['hex', 'base64', 'base64url'] as const) t.notOk(log.includes(mac.toString(encoding)))
    }
  }
  expectNoCanary(log)
}))

t.test('it is refused in production, and must be true or false', async (t) => {
  const before = process.env['NODE_ENV']
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  const refusal = (options: object) => {
    const { app } = createHost(t)
    app.register(altdentifierPlugin, { secret: SECRET, handleEvent () {}, ...options })
    return app.ready().then(() => undefined, ({ code, message }) => `${code} ${message}`)
  }
  const error = (text: string) => `FST_VERIFICATION_INVALID_OPTION altdentifierPlugin: option "diagnose" ${text}`
  process.env['NODE_ENV'] = 'production'
  t.equal(await refusal({ diagnose: true }), error('must not be enabled in production (NODE_ENV=production)'))
  t.equal(await refusal({ diagnose: false }), undefined)
  t.equal(await refusal({}), undefined)
  process.env['NODE_ENV'] = 'development'
  t.equal(await refusal({ diagnose: true }), undefined)
  for (const value of [1, 'true', null, {}]) t.equal(await refusal({ diagnose: value }), error('must be a boolean'))
})

t.test('secrets of a resolver are tried as well; if it fails, the answer does not change', async (t) => {
  const { app, lines } = createHost(t)
  let calls = 0
  const secret = () => {
    calls++
    return SECRET
  }
  app.register(aghanimPlugin, { secret, now, verifyPlayer: () => null, diagnose: true })
  app.register(aghanimPlugin, {
    path: '/nobody', secret: () => undefined, now, verifyPlayer: () => null, diagnose: true
  })
  app.register(aghanimPlugin, {
    path: '/broken', secret: () => { throw new Error(SECRET) }, now, verifyPlayer: () => null, diagnose: true
  })
  const [, headers] = aghanim(hmac(SECRET, RIGHT).toString('base64'))
  t.equal(await diagnosisOf(app, lines, ['/aghanim', headers]), say('base64ForHex'))
  t.equal(calls, 1, 'only the search calls the resolver for a refused header')
  t.equal(await diagnosisOf(app, lines, ['/nobody', headers]), `${say('base64ForHex')}, and ${say('otherwise')}`)
  t.equal(await diagnosisOf(app, lines, ['/broken', headers]), 'the diagnosis failed')
  t.equal((await app.inject(requestOf(['/broken', headers]))).payload, FORBIDDEN)
})

t.test('an invalid api-key is not looked up', async (t) => {
  const { app, lines } = createHost(t)
  app.register(identityValidationPlugin, {
    apiKeys: () => t.fail('it was looked up') as never, now, handleSession () {}, diagnose: true
  })
  const without = identity(SIGNED)
  delete without[1]['x-api-key']
  t.equal(await diagnosisOf(app, lines, without), `${say('missing', 'x-api-key')}, and ${say('otherwise')}`)
  t.equal(await diagnosisOf(app, lines, identity(SIGNED, { 'x-api-key': 'a, b' })),
    `${say('repeated', 'x-api-key')}, and ${say('unknownKey', 'x-api-key')}, and ${say('otherwise')}`)
})

t.test('a request without a body, and a Signature that does not hold', async (t) => {
  const { app, lines } = createServer(t, { diagnose: true })
  await app.inject({ method: 'POST', url: '/aghanim', headers: aghanim(hmac(SECRET, `${NOW}.`))[1] })
  t.match(lines.find((line) => 'diagnosis' in line), { reason: 'no_body', diagnosis: say('right') })

  const strict = createHost(t)
  strict.app.register(altdentifierPlugin, {
    secret: SECRET, now, httpSignature: 'require', handleEvent () {}, diagnose: true
  })
  t.equal(await diagnosisOf(strict.app, strict.lines, digest(hmac(SECRET, BODY, 'md5'))), say('right'))
})
