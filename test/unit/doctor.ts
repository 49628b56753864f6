import { createHash, createHmac, createSecretKey, randomBytes, type BinaryLike } from 'node:crypto'
import t from 'tap'
import { aghanimPlugin } from '../../plugins/aghanim.js'
import { altdentifierPlugin } from '../../plugins/altdentifier.js'
import { identityValidationPlugin } from '../../plugins/identity-validation.js'
import { otherBodies } from '../../plugins/lib/doctor/body.js'
import { describeScheme } from '../../plugins/lib/doctor/describe.js'
import { diagnose } from '../../plugins/lib/doctor/diagnose.js'
import { MISTAKES, say } from '../../plugins/lib/doctor/mistakes.js'
import type { Evidence, Scheme } from '../../plugins/lib/doctor/scheme.js'
import { API_KEY, API_SECRET, NOW, now, SECRET, SESSIONS } from '../support/deliveries.js'
import { quiet } from '../support/quiet.js'
import { cpuTime } from '../support/waiting.js'

const [aghanimScheme, altdentifierScheme, identityValidationScheme] = [
  aghanimPlugin, altdentifierPlugin, identityValidationPlugin
].map(({ definition }) => describeScheme(definition.scheme!)!) as [Scheme, Scheme, Scheme]

const BODY = '{"event_id":"e-1","level":2,"tags":["a",true,null],"data":{"url":"https://x.example/a&b","name":"Zoë"}}'
const API_BYTES = Buffer.from(API_SECRET, 'base64')
const freshness = { tolerance: 300, futureTolerance: 60, now }

const hmac = (key: BinaryLike, text: BinaryLike, algorithm = 'sha256') =>
  createHmac(algorithm, key).update(text).digest()
const hash = (text: BinaryLike, algorithm: string) => createHash(algorithm).update(text).digest()

type Given = Partial<Omit<Evidence, 'body' | 'keys'>> & { body?: string | Buffer, keys?: (string | Buffer)[] }
type Case = [given: Given & { headers: Record<string, string> }, expected: string | undefined]

const toKey = (secret: string | Buffer) => createSecretKey(Buffer.from(secret as string))

/** Diagnoses a delivery by a scheme, with a key of the fixtures unless others are given. */
function examine (scheme: Scheme, { headers = {}, body = BODY, keys, ...given }: Given): string | undefined {
  const secrets = keys ?? [scheme.secret === 'base64' ? API_BYTES : SECRET]
  return diagnose(scheme, {
    freshness, ...given, headers, body: Buffer.from(body as string), keys: secrets.map(toKey)
  })
}

function check (test: Pick<typeof t, 'equal'>, scheme: Scheme, cases: Case[]): void {
  for (const [given, expected] of cases) test.equal(examine(scheme, given), expected, JSON.stringify(given.headers))
}

/** Returns the headers of a delivery by Aghanim. */
const aghanim = (signature: string | Buffer, timestamp = `${NOW}`, more: object = {}) => ({
  'x-aghanim-signature': Buffer.isBuffer(signature) ? signature.toString('hex') : signature,
  'x-aghanim-signature-timestamp': timestamp,
  ...more
})
const RIGHT = `${NOW}.${BODY}`
const TIME = 'x-aghanim-signature-timestamp'

t.test('mistakes in the encoding of a signature', async (t) => {
  const mac = hmac(SECRET, RIGHT)
  const hex = mac.toString('hex')
  const base64 = mac.toString('base64')
  const other = say('otherPrefix')
  check(t, aghanimScheme, [
    [{ headers: aghanim(mac) }, say('right')],
    [{ headers: aghanim(hex.toUpperCase()) }, say('right')],
    [{ headers: aghanim(base64) }, say('base64ForHex')],
    [{ headers: aghanim(base64.replace(/=+$/, '')) }, say('base64ForHex')],
    [{ headers: aghanim(Buffer.from(hex).toString('base64')) }, say('encodedTwice')],
    [{ headers: aghanim(`sha256=${hex}`) }, other],
    [{ headers: aghanim(`SHA-256=${base64}`) }, `${other}, and ${say('base64ForHex')}`],
    [{ headers: aghanim(`t=${NOW},v1=${hex}`) }, other],
    [{ headers: aghanim(`Bearer ${hex}`) }, other],
    [{ headers: aghanim(`hmac-sha256 ${hex}`) }, other],
    [{ headers: aghanim(`"${hex}"`) }, say('quoted')],
    [{ headers: aghanim(`${hex} *stdin`) }, say('tool')],
    [{ headers: aghanim(`${hex}  -`) }, say('tool')],
    [{ headers: aghanim(`SHA2-256(stdin)= ${hex}`) }, say('tool')],
    [{ headers: aghanim(`HMAC-SHA256(body.json)= ${hex}`) }, say('tool')],
    [{ headers: aghanim(hex.slice(0, 32)) }, say('cut')],
    [{ headers: aghanim(hex.slice(0, 62)) }, say('cut')],
    [{ headers: aghanim(`${hex}, ${hex}`) }, say('repeated', 'x-aghanim-signature')],
    [{ headers: { 'x-aghanim-signature': '', [TIME]: `${NOW}` } }, say('missing', 'x-aghanim-signature')],
    [{ headers: { signature: hex, [TIME]: `${NOW}` } }, say('elsewhere', 'signature', 'x-aghanim-signature')]
  ])
  const urlSafe = [...Array(64).keys()].map((count) => `${RIGHT}${' '.repeat(count)}`)
    .find((text) => /[-_]/.test(hmac(SECRET, text).toString('base64url')))!
  check(t, aghanimScheme, [[
    { headers: aghanim(hmac(SECRET, urlSafe).toString('base64url')), body: urlSafe.slice(`${NOW}.`.length) },
    say('base64url', 'hex')
  ]])
})

t.test('a wrong algorithm', async (t) => {
  const of = (algorithm: string) => aghanim(hmac(SECRET, RIGHT, algorithm))
  check(t, aghanimScheme, [
    [{ headers: of('md5') }, say('algorithm', 'MD5', 'SHA-256')],
    [{ headers: of('sha1') }, say('algorithm', 'SHA-1', 'SHA-256')],
    [{ headers: of('sha384') }, say('algorithm', 'SHA-384', 'SHA-256')],
    [{ headers: of('sha512') }, say('algorithm', 'SHA-512', 'SHA-256')],
    [{ headers: aghanim(hash(RIGHT, 'sha256')) }, say('unkeyed')],
    [{ headers: aghanim(hash(BODY, 'sha256')) }, say('unkeyed')],
    [{ headers: aghanim(hash(SECRET + RIGHT, 'sha256')) }, say('plainHash')],
    [{ headers: aghanim(hash(BODY + SECRET, 'sha256')) }, say('plainHash')],
    [{ headers: aghanim(hmac(RIGHT, SECRET)) }, say('swapped')]
  ])
  check(t, altdentifierScheme, [
    [{ headers: { digest: `MD5=${hash(BODY, 'md5').toString('base64')}` } },
      `${say('base64ForHex')}, and ${say('unkeyed')}`],
    [{ headers: { digest: `SHA-256=${hash(BODY, 'sha256').toString('base64')}` } },
      `${say('otherPrefix')}, and ${say('base64ForHex')}, and ${say('algorithm', 'SHA-256', 'MD5')}, and ${say('unkeyed')}`],
    [{ headers: { digest: hmac(SECRET, BODY, 'md5').toString('hex') } }, say('noPrefix', 'MD5=')],
    [{ headers: { digest: `md5=${hmac(SECRET, BODY, 'md5').toString('hex')}` } }, say('right')],
    [{ headers: { digest: `MD5=${hmac(SECRET, BODY, 'md5').toString('base64')}` } }, say('base64ForHex')],
    [{ headers: { digest: `MD5=${hmac(SECRET, BODY, 'md5').toString('hex').slice(0, 16)}` } }, say('cut')],
    [{ headers: { digest: `MD5=${hmac(SECRET, BODY, 'md5').toString('hex').slice(0, 14)}` } }, undefined]
  ])
})

t.test('mistakes in the secret', async (t) => {
  const base64 = Buffer.from('a secret that looks like base64!').toString('base64')
  const hex = 'ab01'.repeat(16)
  const by = (key: BinaryLike) => aghanim(hmac(key, RIGHT))
  check(t, aghanimScheme, [
    [{ headers: by('a secret that looks like base64!'), keys: [base64] }, say('textDecoded', 'base64')],
    [{ headers: by(Buffer.from(hex, 'hex')), keys: [hex] }, say('textDecoded', 'hex')],
    [{ headers: by(`${SECRET}\n`) }, say('lineBreak')],
    [{ headers: by(`${SECRET}\r\n`) }, say('lineBreak')],
    [{ headers: by(`${SECRET} `) }, say('space')],
    [{ headers: by(` ${SECRET}`) }, say('space')],
    [{ headers: by(`"${SECRET}"`) }, say('quotes')],
    [{ headers: by(`'${SECRET}'`) }, say('quotes')],
    [{ headers: by(SECRET), keys: [`"${SECRET}"`] }, say('quotes')],
    [{ headers: by(SECRET.toUpperCase()) }, say('otherCase')],
    [{ headers: by(Buffer.from(SECRET).toString('base64')) }, say('encoded', 'base64')],
    [{ headers: by(Buffer.from(SECRET).toString('hex')) }, say('encoded', 'hex')],
    ...['', 'undefined', 'null', 'None'].map((key): Case => [{ headers: by(key) }, say('noSecret')]),
    [{ headers: by('of another game'), others: [{ key: toKey('of another game'), mistake: say('otherRoute', '/b') }] },
      say('otherRoute', '/b')],
    [{ headers: by(`${SECRET}\n`), keys: ['of another game', SECRET] }, say('lineBreak')]
  ])
})

/** Returns the headers of a delivery by identity validation. */
const identity = (text: string, { key = API_BYTES as BinaryLike, endpoint = SESSIONS, timestamp = `${NOW}`, more = {} } = {}) => ({
  'x-api-key': API_KEY,
  'x-signature': `hmac-sha256 ${hmac(key, text).toString('base64')}`,
  'x-timestamp': timestamp,
  'x-endpoint': endpoint,
  host: 'x.example',
  ...more
})
const SIGNED = `${NOW}${SESSIONS}${BODY}`

t.test('mistakes in a secret that is base64', async (t) => {
  const endpoint = SESSIONS
  const by = (key: BinaryLike): Given & { headers: Record<string, string> } =>
    ({ endpoint, headers: identity(SIGNED, { key }) })
  check(t, identityValidationScheme, [
    [by(API_BYTES), say('right')],
    [by(API_SECRET), say('notDecoded')],
    [by(API_SECRET.replace(/=+$/, '')), say('notDecoded')],
    [by(API_BYTES.toString('base64url')), say('notDecoded')],
    [by(`${API_SECRET}\n`), `${say('notDecoded')}, and ${say('lineBreak')}`],
    [by(API_BYTES.toString()), say('damaged')],
    [by(API_BYTES.toString('latin1')), say('damaged')],
    [by(API_BYTES.toString('hex')), say('encoded', 'hex')],
    [by(API_KEY), say('apiKeyForSecret')],
    [by(Buffer.from(API_KEY, 'base64')), say('apiKeyForSecret')]
  ])
  const others = [{ key: toKey('another'), mistake: say('otherApiKey', 'second') }]
  const mixed = identity(SIGNED, { key: 'another' })
  check(t, identityValidationScheme, [
    [{ endpoint, others, headers: mixed }, say('otherApiKey', 'second')],
    [{ endpoint, others, headers: mixed, keys: [], keyIds: ['second'] },
      `${say('unknownKey', 'x-api-key')}, and ${say('otherApiKey', 'second')}`],
    [{ endpoint, headers: identity(SIGNED), keys: [] },
      `${say('unknownKey', 'x-api-key')}, and ${say('otherwise')}`],
    [{ endpoint, headers: identity(SIGNED), keys: [], keyIds: [API_KEY.toUpperCase()] },
      `${say('keyInOtherCase', 'x-api-key')}, and ${say('otherwise')}`]
  ])
})

t.test('mistakes in the signature header of identity validation', async (t) => {
  const mac = hmac(API_BYTES, SIGNED)
  const as = (signature: string): Given & { headers: Record<string, string> } =>
    ({ endpoint: SESSIONS, headers: { ...identity(SIGNED), 'x-signature': signature } })
  check(t, identityValidationScheme, [
    [as(mac.toString('base64')), say('noPrefix', 'hmac-sha256 ')],
    [as(`hmac-sha256 ${mac.toString('hex')}`), say('hexForBase64')],
    [as(`HMAC-SHA256 ${mac.toString('base64')}`), say('otherPrefix')],
    [as(`hmac-sha256=${mac.toString('base64')}`), say('otherPrefix')],
    [as(`hmac-sha256 ${mac.toString('base64').replace('=', '')}`), say('unpadded')],
    [as(`hmac-sha256 ${Buffer.from(mac.toString('hex')).toString('base64')}`), say('encodedTwice')]
  ])
})

t.test('headers that do not contain a time', async (t) => {
  const at = (timestamp: string, signed = timestamp) => aghanim(hmac(SECRET, `${signed}.${BODY}`), timestamp)
  const iso = new Date(NOW * 1000).toISOString()
  const early = say('ahead', TIME, 100)
  check(t, aghanimScheme, [
    [{ headers: at(`${NOW}000`) }, say('milliseconds', TIME)],
    [{ headers: at(`${NOW}000`, `${NOW}`) }, `${say('milliseconds', TIME)}, and ${say('signedOtherTime', TIME)}`],
    [{ headers: at(`${NOW}000000`) }, say('microseconds', TIME)],
    [{ headers: at(`${NOW}000000000`) }, say('microseconds', TIME)],
    [{ headers: at(`${NOW}.25`) }, say('fraction', TIME)],
    [{ headers: at(`${NOW}.25`, `${NOW}`) }, `${say('fraction', TIME)}, and ${say('signedOtherTime', TIME)}`],
    [{ headers: at(iso) }, say('date', TIME)],
    [{ headers: at(iso, `${NOW}`) }, `${say('date', TIME)}, and ${say('signedOtherTime', TIME)}`],
    [{ headers: at('now') }, say('noTime', TIME)],
    [{ headers: at(`${NOW - 1000}`) }, say('old', TIME, 1000)],
    [{ headers: at(`${NOW + 100}`) }, early],
    [{ headers: at(`${NOW - 7200}`) }, say('timeZone', TIME, 2)],
    [{ headers: at(`${NOW + 19_799}`) }, say('timeZone', TIME, 5.5)],
    [{ headers: at(`${NOW - 15 * 3600}`) }, say('old', TIME, 54_000)],
    [{ headers: at(`${NOW - 1000}`), freshness: { ...freshness, now: () => NaN } }, say('right')],
    [{ headers: at(`${NOW - 1000}`), freshness: undefined }, say('right')],
    [{ headers: at(`${NOW + 100}`, '1') }, `${early}, and ${say('otherwise')}`],
    [{ headers: { 'x-aghanim-signature': hmac(SECRET, BODY).toString('hex') } },
      `${say('missing', TIME)}`],
    [{ headers: { 'x-aghanim-signature': hmac(SECRET, RIGHT).toString('hex'), 'x-timestamp': `${NOW}` } },
      say('elsewhere', 'x-timestamp', TIME)],
    [{ headers: { ...at(`${NOW}`), [TIME]: `${NOW}, ${NOW}` } }, say('repeated', TIME)]
  ])
})

t.test('mistakes in the signed timestamp, full stop and body', async (t) => {
  const signed = (text: string, more: object = {}) => aghanim(hmac(SECRET, text), `${NOW}`, more)
  const date = new Date(NOW * 1000)
  const stop = 'a full stop'
  check(t, aghanimScheme, [
    [{ headers: signed(BODY) }, say('noTimestamp')],
    [{ headers: signed(`${NOW}${BODY}`) }, say('separator', 'nothing', stop)],
    [{ headers: signed(`${NOW}\n${BODY}`) }, say('separator', 'a line break', stop)],
    [{ headers: signed(`${NOW}:${BODY}`) }, say('separator', 'a colon', stop)],
    [{ headers: signed(`${NOW} ${BODY}`) }, say('separator', 'a space', stop)],
    [{ headers: signed(`${NOW}|${BODY}`) }, say('separator', 'a vertical bar', stop)],
    [{ headers: signed(`${NOW},${BODY}`) }, say('separator', 'a comma', stop)],
    [{ headers: signed(`${NOW}000.${BODY}`) }, say('signedMilliseconds', TIME)],
    [{ headers: signed(`${NOW + 1}.${BODY}`) }, say('signedOtherTime', TIME)],
    [{ headers: signed(`${NOW - 2}.${BODY}`) }, say('signedOtherTime', TIME)],
    [{ headers: signed(`${date.toISOString()}.${BODY}`) }, say('signedDate', TIME)],
    [{ headers: signed(`${date.toISOString().replace('.000', '')}.${BODY}`) }, say('signedDate', TIME)],
    [{ headers: signed(`${date.toUTCString()}.${BODY}`) }, say('signedDate', TIME)],
    [{ headers: signed(`${BODY}.${NOW}`) }, say('order')],
    [{ headers: signed(`${NOW}.`) }, say('noBody')],
    [{ headers: signed(`${NOW}`) }, say('noBody')],
    [{ headers: signed(`POST.${NOW}.${BODY}`) }, say('extraMethod')],
    [{ headers: signed(`${NOW}.POST.${BODY}`) }, say('extraMethod')],
    [{ headers: signed(`${NOW}./aghanim.${BODY}`), url: '/aghanim' }, say('extraPath')],
    [{ headers: signed(`/aghanim.${NOW}.${BODY}`), url: '/aghanim' }, say('extraPath')],
    [{ headers: signed(`${date.toUTCString()}\n${NOW}\n${BODY}`, { date: date.toUTCString() }) }, say('extraDate')]
  ])
  const digest = (text: string) => ({ digest: `MD5=${hmac(SECRET, text, 'md5').toString('hex')}` })
  check(t, altdentifierScheme, [
    [{ headers: digest(`/a${BODY}`), url: '/a' }, say('extraPath')],
    [{ headers: { ...digest(`x${BODY}`), date: 'x' } }, say('extraDate')]
  ])
})

t.test('mistakes in the signed timestamp, endpoint and body', async (t) => {
  const at = 'x-endpoint'
  const whole = '/v1/kyc/sessions?tenant=a'
  const given = (text: string, endpoint = whole, more: Given = {}): Given & { headers: Record<string, string> } =>
    ({ endpoint: whole, ...more, headers: identity(`${NOW}${text}`, { endpoint }) })
  const order = (text: string): Given & { headers: Record<string, string> } =>
    ({ endpoint: whole, headers: identity(text, { endpoint: whole }) })
  check(t, identityValidationScheme, [
    [given(`${whole}${BODY}`), say('right')],
    [given(BODY), say('noEndpoint')],
    [order(BODY), `${say('noTimestamp')}, and ${say('noEndpoint')}`],
    [order(`${whole}${BODY}`), say('noTimestamp')],
    [order(`${whole}${NOW}${BODY}`), say('order')],
    [order(`${BODY}${NOW}${whole}`), say('order')],
    [given(whole), say('noBody')],
    [given(`.${whole}.${BODY}`), say('separator', 'a full stop', 'nothing')],
    [given(`\n${whole}\n${BODY}`), say('separator', 'a line break', 'nothing')],
    [given(`https://x.example${whole}${BODY}`), say('signedUrl')],
    [given(`http://x.example${whole}${BODY}`), say('signedUrl')],
    [given(`/kyc/sessions?tenant=a${BODY}`), say('signedNoPrefix')],
    [given(`/sessions?tenant=a${BODY}`), say('signedNoPrefix')],
    [given(`/v1/kyc/sessions${BODY}`), say('signedNoQuery')],
    [given(`${whole}/${BODY}`), say('signedSlash', at)],
    [given(`${whole.slice(1)}${BODY}`), say('signedSlash', at)],
    [given(`/internal${BODY}`, whole, { url: '/internal' }), say('signedTarget', at)],
    [given(`${API_KEY}${whole}${BODY}`), say('extraApiKey')],
    [order(`${API_KEY}${NOW}${whole}${BODY}`), say('extraApiKey')],
    [given(`POST${whole}${BODY}`), say('extraMethod')],
    [given(`${whole}${BODY}`, `https://x.example${whole}`), `${say('fullUrl', at)}, and ${say('signedEndpoint', at)}`],
    [given(`https://x.example${whole}${BODY}`, `https://x.example${whole}`), say('fullUrl', at)],
    [given(`/sessions?tenant=a${BODY}`, '/sessions?tenant=a'), say('shortEndpoint', at)],
    [given(`/public${whole}${BODY}`, `/public${whole}`), say('longEndpoint', at)],
    [given(`/v1/kyc/sessions${BODY}`, '/v1/kyc/sessions'), say('query', at)],
    [given(`/v1/${BODY}`, '/v1/', { endpoint: '/v1' }), say('slash', at)],
    [given(`/v1${BODY}`, '/v1/', { endpoint: '/v2' }), `${say('otherEndpoint', at)}, and ${say('signedSlash', at)}`],
    [given(`/other${BODY}`, '/other'), say('otherEndpoint', at)],
    [given(`/other${BODY}`, '/other', { endpoint: undefined }), say('right')],
    [{ headers: { 'x-signature': identity(`${NOW}${BODY}`)['x-signature'], 'x-timestamp': `${NOW}` } },
      `${say('missing', at)}, and ${say('missing', 'x-api-key')}`]
  ])
})

t.test('two mistakes at a time, if each could be made alone', async (t) => {
  const both = (...sentences: string[]) => sentences.join(', and ')
  check(t, aghanimScheme, [
    [{ headers: aghanim(hmac(`${SECRET}\n`, `${NOW}${BODY}`)) },
      both(say('lineBreak'), say('separator', 'nothing', 'a full stop'))],
    [{ headers: aghanim(hmac(SECRET, BODY).toString('base64')) }, both(say('base64ForHex'), say('noTimestamp'))],
    [{ headers: aghanim(`sha1=${hmac(`${SECRET}\n`, RIGHT, 'sha1').toString('hex')}`) },
      both(say('otherPrefix'), say('algorithm', 'SHA-1', 'SHA-256'), say('lineBreak'))]
  ])
})

t.test('random values have no known mistake', quiet(async (t) => {
  for (let round = 0; round < 20; round++) {
    t.equal(examine(aghanimScheme, { headers: aghanim(randomBytes(32)) }), undefined)
    t.equal(examine(altdentifierScheme, { headers: { digest: `MD5=${randomBytes(16).toString('hex')}` } }), undefined)
    const headers = identity(SIGNED, { key: randomBytes(32) })
    t.equal(examine(identityValidationScheme, { endpoint: SESSIONS, headers }), undefined)
  }
  check(t, aghanimScheme, [
    [{ headers: aghanim('zz') }, undefined],
    [{ headers: aghanim('=') }, undefined],
    [{ headers: aghanim('a') }, undefined],
    [{ headers: aghanim('a'.repeat(66)) }, undefined],
    [{ headers: aghanim(hmac('a stranger', RIGHT)) }, undefined],
    [{ headers: aghanim(hmac(SECRET, RIGHT)), body: BODY.replace('2', '3') }, undefined],
    [{ headers: aghanim(randomBytes(32).toString('base64')) }, `${say('base64ForHex')}, and ${say('otherwise')}`],
    [{ headers: aghanim(randomBytes(16)) }, undefined]
  ])
}))

t.test('work is bounded: in MACs, and in the bytes that they cover', async (t) => {
  const secrets = [...Array(4).keys()].map((index) => `${SECRET}${index}`)
  const last = aghanim(hmac(`${secrets[3]}\n`, `${BODY}.${NOW}`))
  t.equal(examine(aghanimScheme, { headers: last, keys: secrets }), undefined, 'a pair comes too late among four secrets')
  t.equal(examine(aghanimScheme, { headers: aghanim(hmac(`${secrets[3]}\n`, RIGHT)), keys: secrets }), say('lineBreak'))

  const hostile = `${'['.repeat(32)}${'1,'.repeat(130_000)}1${']'.repeat(32)}`
  const begin = performance.now()
  t.equal(examine(aghanimScheme, { headers: aghanim(randomBytes(32)), body: hostile }), undefined)
  t.ok(performance.now() - begin < 10_000)
})

t.test('headers of any length are examined quickly', quiet(async (t) => {
  const texts = [
    `${'='.repeat(60_000)}x`, '()'.repeat(30_000), `"${'a'.repeat(60_000)}`, `${'a'.repeat(60_000)} *`, 'v1='.repeat(20_000),
    `MD5=${'='.repeat(60_000)}x`, `hmac-sha256 ${'='.repeat(60_000)}x`, `${' '.repeat(60_000)}x`, '1'.repeat(60_000),
    `/${'%2F'.repeat(20_000)}`, `/${'a/../'.repeat(12_000)}`, `https://${'a.'.repeat(30_000)}`, '-'.repeat(60_000)
  ]
  for (const scheme of [aghanimScheme, altdentifierScheme, identityValidationScheme]) {
    const { signature, timestamp, endpoint, keyId } = scheme
    for (const name of [signature, timestamp, endpoint, keyId, 'signature', 'date']) {
      if (name === undefined) continue
      for (const text of texts) {
        const start = cpuTime()
        const headers = { ...aghanim(hmac(SECRET, RIGHT)), ...identity(SIGNED), [name]: text }
        examine(scheme, { headers, endpoint: SESSIONS })
        t.ok(cpuTime() - start < 500, `${name}: ${text.slice(0, 20)}`)
      }
    }
  }
}))

t.test('every mistake has its own sentence, in one line', quiet(async (t) => {
  const sentences = Object.values(MISTAKES)
  t.equal(new Set(sentences).size, sentences.length)
  for (const sentence of sentences) t.match(sentence, /^["%\w][^\n]{15,130}[^.]$/)
}))

const EVENT = { event_id: 'e/1', data: { name: 'Zoë "Z" O\'Neil', rule: 'a<b & c>d = 1+1', n: [1, 2.5], ok: true, no: null } }
const COMPACT = JSON.stringify(EVENT)

/** Returns the diagnosis where the sender signed `signed` and the server received `arrived`. */
function explain (arrived: string | Buffer, signed: string | Buffer): string | undefined {
  const wanted = Buffer.from(signed as string)
  for (const { value, mistakes } of otherBodies(Buffer.from(arrived as string))) {
    if (value.equals(wanted)) return mistakes.join(', and ')
  }
  return undefined
}

const said = (name: string, offset: number) => say('body', name, offset)

t.test('JSON as other programs write it, instead of the compact one that arrived', async (t) => {
  const spaced = '{"event_id": "e/1", "data": {"name": "Zoë \\"Z\\" O\'Neil", "rule": "a<b & c>d = 1+1", "n": [1, 2.5], "ok": true, "no": null}}'
  const sorted = '{"data":{"n":[1,2.5],"name":"Zoë \\"Z\\" O\'Neil","no":null,"ok":true,"rule":"a<b & c>d = 1+1"},"event_id":"e/1"}'
  const space = 'JSON with a space after each comma and colon'
  const cases: [signed: string, name: string, offset: number][] = [
    [spaced, space, 12],
    [`${spaced}\n`, `${space} and a trailing line break`, 12],
    [spaced.replace('ë', '\\u00eb'), `${space} with non-ASCII characters escaped`, 12],
    [COMPACT.replace('ë', '\\u00eb'), 'compact JSON with non-ASCII characters escaped', 36],
    [COMPACT.replace('/', '\\/'), 'compact JSON with "/" escaped', 14],
    [COMPACT.replace('/', '\\/').replace('ë', '\\u00eb'), 'compact JSON with "/" and non-ASCII characters escaped', 14],
    [COMPACT.replace('<', '\\u003c').replace('&', '\\u0026').replace('>', '\\u003e'), 'compact JSON with "<", ">" and "&" escaped', 62],
    [`${COMPACT.replace('<', '\\u003c').replace('&', '\\u0026').replace('>', '\\u003e')}\n`,
      'compact JSON with "<", ">" and "&" escaped and a trailing line break', 62],
    [COMPACT.replace('<', '\\u003c').replace('&', '\\u0026').replace('>', '\\u003e').replace('\'', '\\u0027').replace('=', '\\u003d'),
      'compact JSON with "<", ">", "&", "=" and "\'" escaped', 46],
    [COMPACT.replace('<', '\\u003C').replace('&', '\\u0026').replace('>', '\\u003E').replace('\'', '\\u0027').replace('+', '\\u002B')
      .replace('ë', '\\u00EB').replaceAll('\\"', '\\u0022'), 'compact JSON with non-ASCII characters and "<", ">", "&", "+", "\'" escaped', 36],
    [JSON.stringify(EVENT, null, 2), 'JSON indented by 2 spaces', 1],
    [`${JSON.stringify(EVENT, null, 2)}\n`, 'JSON indented by 2 spaces and a trailing line break', 1],
    [JSON.stringify(EVENT, null, 2).replaceAll('\n', '\r\n'), 'JSON indented by 2 spaces and CRLF line endings', 1],
    [JSON.stringify(EVENT, null, 4).replace('/', '\\/').replace('ë', '\\u00eb'), 'JSON indented by 4 spaces with "/" and non-ASCII characters escaped', 1],
    [JSON.stringify(EVENT, null, '\t'), 'JSON indented with tabs', 1],
    [sorted, 'compact JSON with sorted keys', 2],
    [JSON.stringify(JSON.parse(sorted), null, 2), 'JSON indented by 2 spaces with sorted keys', 1],
    ['{\'event_id\': \'e/1\', \'data\': {\'name\': \'Zoë \\"Z\\" O\'Neil\', \'rule\': \'a<b & c>d = 1+1\', \'n\': [1, 2.5], \'ok\': True, \'no\': None}}',
      'the str() of a Python dict', 1]
  ]
  for (const [signed, name, offset] of cases) t.equal(explain(COMPACT, signed), said(name, offset), name)
  t.equal(explain(spaced, COMPACT), said('compact JSON', 12), 'and the other way round')
  t.equal(explain('{"no":false}', '{\'no\': False}'), said('the str() of a Python dict', 1))
})

t.test('bytes that were changed in transit, or before they were signed', async (t) => {
  const lines = '{\n"a": "ë"\n}'
  const decomposed = lines.normalize('NFD')
  const invalid = Buffer.from([...Buffer.from('{"a":"'), 0xff, ...Buffer.from('"}')])
  const cases: [arrived: string | Buffer, signed: string | Buffer, name: string, offset: number][] = [
    [lines, `${lines}\n`, 'the received body with a trailing line break', 13],
    [lines, `${lines}\r\n`, 'the received body with a trailing CRLF', 13],
    [`${lines}\n`, lines, 'the received body without surrounding white space', 13],
    [lines, lines.replaceAll('\n', '\r\n'), 'the received body with CRLF line endings', 1],
    [lines.replaceAll('\n', '\r\n'), lines, 'the received body with LF line endings', 1],
    [lines, lines.replaceAll('\n', ''), 'the received body without line breaks', 1],
    [lines, `\uFEFF${lines}`, 'the received body with a byte order mark', 0],
    ['\uFEFF{}', '{}', 'the received body without its byte order mark', 0],
    [lines, Buffer.from(lines, 'latin1'), 'the received body in Latin-1', 8],
    [lines, Buffer.from(lines, 'utf16le'), 'the received body in UTF-16', 1],
    [lines, Buffer.from(lines).toString('latin1'), 'the received body decoded as Latin-1 and encoded in UTF-8', 9],
    [invalid, '{"a":"\uFFFD"}', 'the received body with U+FFFD for invalid UTF-8', 6],
    [decomposed, lines, 'the received body in composed Unicode (NFC)', 8],
    [lines, decomposed, 'the received body in decomposed Unicode (NFD)', 8],
    [lines, Buffer.from(lines).toString('base64'), 'the received body in base64', 0],
    [lines, JSON.stringify(lines), 'the received body as a JSON string', 0],
    [lines, '[object Object]', 'the string "[object Object]"', 0],
    [lines, '{}', 'an empty object', 1]
  ]
  for (const [arrived, signed, name, offset] of cases) t.equal(explain(arrived, signed), said(name, offset), name)
})

t.test('each body is tried once, and never the one that arrived', async (t) => {
  for (const body of [COMPACT, '{}', '', 'no JSON', `${'{"a":['.repeat(40)}1${']}'.repeat(40)}`]) {
    const texts = [...otherBodies(Buffer.from(body))].map(({ value }) => value.toString('latin1'))
    t.equal(new Set(texts).size, texts.length)
    t.notOk(texts.includes(Buffer.from(body).toString('latin1')))
    t.ok(texts.length > 3)
  }
})

t.test('a body that is not JSON, or is too long once indented, is not rewritten', async (t) => {
  const digest = (body: string) => {
    const all = createHash('sha256')
    let count = 0
    for (const { value } of otherBodies(Buffer.from(body))) {
      all.update(value)
      count++
    }
    return count
  }
  const plain = digest('no JSON')
  t.ok(digest('["JSON"]') > plain)
  const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`
  t.equal(digest(deep(400)), plain, 'too deep')
  t.ok(digest(deep(300)) > plain)
  t.equal(digest(`[[${'1,'.repeat(131_070)}1]]`), plain, 'too long')
  t.ok(digest(`[${'1,'.repeat(1000)}1]`) > plain)
})
