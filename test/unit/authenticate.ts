import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { createAuthenticate, type Authenticated, type ParsedSignature } from '../../plugins/lib/signature/authenticate.js'
import { freshnessOf, publicEndpoint, reject, type Rejection } from '../../plugins/lib/signature/fields.js'
import { plainPath } from '../../plugins/lib/webhook.js'
import { deriveKeys, type NamedKey } from '../../plugins/lib/signature/secrets.js'
import { SECRET } from '../support/deliveries.js'
import { cpuTime } from '../support/waiting.js'

const KEYS = deriveKeys(SECRET, { plugin: 'somePlugin', option: 'secret', algorithm: 'sha256', encoding: 'utf8' })
const PRESENTED: ParsedSignature = { ok: true, macs: [Buffer.alloc(32)], prefix: '', keyId: 'k' }
const REQUEST = { raw: { rawHeaders: [] } } as unknown as FastifyRequest
const LONG = Buffer.alloc(2 ** 25)

const signatureOf = (read: () => ParsedSignature | Rejection) =>
  ({ algorithm: 'sha256', key: 'utf8', headers: [], read } as const)

t.test('whose key is not known costs as much work as whose MAC is wrong', async (t) => {
  const cost = async (keys: readonly NamedKey[] | undefined, reason: string) => {
    for (const keysFor of [() => keys, async () => keys]) {
      const signature = signatureOf(() => PRESENTED)
      const authenticate = createAuthenticate({ signature, keysFor, freshness: freshnessOf({}) })
      const start = cpuTime()
      t.match(await authenticate(REQUEST, LONG), { ok: false, reason })
      times.push(cpuTime() - start)
    }
  }
  const times: number[] = []
  await cost(KEYS, 'mismatch')
  await cost(undefined, 'unknown_key')
  const [known, unknown] = [Math.min(...times.slice(0, 2)), Math.min(...times.slice(2))]
  t.ok(unknown > known / 3, `${times.map(Math.round).join(', ')} ms`)
})

const BODY = Buffer.from('{}')
const SEVERAL_KEYS = deriveKeys([SECRET, 'another secret of 24 bytes', 'the last secret of 24 bytes'], {
  plugin: 'somePlugin', option: 'secret', algorithm: 'sha256', encoding: 'utf8'
})
const [FIRST, SECOND, LAST] = SEVERAL_KEYS as [NamedKey, NamedKey, NamedKey]
const sentTwice = { raw: { rawHeaders: ['Mac', 'a', 'mac', 'b'] } } as unknown as FastifyRequest
const FRESHNESS = freshnessOf({ now: () => 1_700_000_000_000 })
type Steps = Parameters<typeof createAuthenticate>[0]

/** Runs an authentic delivery through the steps, with the given changes. */
async function authenticate (steps: Partial<Steps>, presented: Partial<ParsedSignature> = {}, request = REQUEST) {
  const signature = signatureOf(() => ({ ok: true, macs: [FIRST.sign('p', BODY)], prefix: 'p', ...presented }))
  return createAuthenticate({ signature, keysFor: () => SEVERAL_KEYS, freshness: FRESHNESS, ...steps })(request, BODY)
}

t.test('an authentic delivery is returned with its signer, its MAC and its id', async (t) => {
  const macs = [FIRST.sign('p', BODY)]
  const anonymous = await authenticate({}, { macs, id: 'i' })
  const signers = [{ tenant: FIRST.name, mac: macs[0] }]
  t.strictSame(anonymous, { ok: true, secretIndex: 0, keyId: undefined, signers, id: 'i' })
  t.equal('signers' in anonymous && anonymous.signers![0]!.mac, macs[0], 'the MAC is not computed twice')
  t.match(await authenticate({}, { keyId: 'k' }), { ok: true, keyId: 'k', signers: [{ tenant: FIRST.name }] },
    'the key id of the request is not the signer')
})

t.test('a delivery that may carry several MACs is identified by all secrets of the list, whichever matched', async (t) => {
  const [byFirst, bySecond, byLast] = [FIRST.sign('p', BODY), SECOND.sign('p', BODY), LAST.sign('p', BODY)]
  const other = Buffer.alloc(32)
  const signers = [
    { tenant: FIRST.name, mac: byFirst }, { tenant: SECOND.name, mac: bySecond }, { tenant: LAST.name, mac: byLast }
  ]
  for (const macs of [[byFirst], [bySecond], [byLast], [byFirst, byLast], [byLast, byFirst], [other, byFirst]]) {
    t.match(await authenticate({}, { macs, several: true }), { ok: true, signers })
  }
  t.strictSame((await authenticate({}, { macs: [bySecond] }) as Authenticated).signers, [signers[1]])
})

t.test('freshness is checked after the MAC', async (t) => {
  const stale = { timestamp: 1_700_000_000 - 301 }
  t.strictSame(await authenticate({}, stale), { ok: false, reason: 'stale', ageSeconds: 301, keyId: undefined })
  t.match(await authenticate({}, { timestamp: 1_700_000_061, keyId: 'k' }),
    { ok: false, reason: 'future', ageSeconds: -61, keyId: 'k' })
  t.strictSame(await authenticate({}, { ...stale, macs: [Buffer.alloc(32)] }), { ok: false, reason: 'mismatch', keyId: undefined })
  t.strictSame(await authenticate({ keysFor: () => undefined }, stale), { ok: false, reason: 'unknown_key' })
  t.match(await authenticate({}, { timestamp: 1_700_000_000 - 300 }), { ok: true })
})

t.test('without a body, or where no key can be had, it is not authentic', async (t) => {
  const signature = signatureOf(() => PRESENTED)
  const withoutBody = createAuthenticate({ signature, keysFor: () => KEYS, freshness: FRESHNESS })(REQUEST, undefined)
  t.strictSame(await withoutBody, { ok: false, reason: 'no_body' })
  const cause = new Error('no keys today')
  t.strictSame(await authenticate({ keysFor: () => Promise.reject(cause) }), { ok: null, cause })
  t.match(await authenticate({ keysFor: async () => SEVERAL_KEYS }), { ok: true, secretIndex: 0 })
})

t.test('a second proof counts as well, and its rejection is returned with the key id', async (t) => {
  const rejection = { ok: false, reason: 'stale', header: 'date' } as const
  t.match(await authenticate({ confirm: (_request, key) => key === FIRST ? undefined : rejection }), { ok: true })
  t.strictSame(await authenticate({ confirm: () => rejection }, { keyId: 'k' }), { ...rejection, keyId: 'k' })
})

t.test('a malformed header is reported as duplicate if it was repeated', async (t) => {
  const malformed = { ok: false, reason: 'malformed_header', header: 'mac' } as const
  t.equal(await authenticate({ signature: signatureOf(() => malformed) }), malformed)
  const once = { raw: { rawHeaders: ['Mac', 'a', 'other', 'b'] } } as unknown as FastifyRequest
  t.equal(await authenticate({ signature: signatureOf(() => malformed) }, {}, once), malformed)
  t.strictSame(await authenticate({ signature: signatureOf(() => malformed) }, {}, sentTwice), { ...malformed, reason: 'duplicate_header' })
  const noBlame = { ok: false, reason: 'future' } as const
  t.equal(await authenticate({ signature: signatureOf(() => noBlame) }, {}, sentTwice), noBlame)
})

t.test('a rejection names a header only if one is at fault', async (t) => {
  t.strictSame(Object.entries(reject('future')), [['ok', false], ['reason', 'future']])
  t.strictSame(Object.entries(reject('stale', 'date')), [['ok', false], ['reason', 'stale'], ['header', 'date']])
})

t.test('an endpoint is a path with or without a query', async (t) => {
  for (const value of ['/', '/a', '/a/b-c_d.~', '/a?b=c&d=%20', "/!$&'()*+,;=:@"]) t.ok(publicEndpoint.accepts(value), value)
  for (const value of ['', 'a', 'a/b', ' /a', '/a ', '/a{b', '/a#b', '/a"b', '/é', '/a\n', 'https://example.com/a', ['/a'], 1, null, undefined]) {
    t.notOk(publicEndpoint.accepts(value), String(value))
  }
})

t.test('the path of a route is plain if all clients send it unchanged', async (t) => {
  for (const [prefix, url, path] of [
    ['', '/', '/'], ['', '/a', '/a'], ['/p', '/a', '/p/a'], ['/p/', '/a', '/p/a'], ['/p', '/a/b', '/p/a/b'],
    ['/p', '/', undefined], ['', '/:id', undefined], ['', '/*', undefined], ['/:p', '/a', undefined], ['', '/é', undefined]
  ]) t.equal(plainPath(prefix!, url!), path, `${prefix} ${url}`)
})
