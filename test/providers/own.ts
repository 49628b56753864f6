import { Kind, Type, TypeRegistry } from '@sinclair/typebox'
import swagger from '@fastify/swagger'
import { Validator } from '@seriousme/openapi-schema-validator'
import Fastify, { type FastifyPluginAsync, type FastifyRequest } from 'fastify'
import { createHmac } from 'node:crypto'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { createProvider, deny, list } from '../../plugins/provider.js'
import * as everything from '../../plugins/index.js'
import * as own from '../../plugins/provider.js'
import { FORBIDDEN, NOW, now } from '../support/deliveries.js'
import { read } from '../support/project.js'
import { addCanaries, createHost, exchange, rawRequest, statusOf } from '../support/host.js'
import { outcomeOf, scriptedStore } from '../support/life-cycle.js'
import {
  GITHUB_PROVIDER, OWN_PROVIDERS, STAMPED_PROVIDERS, type OwnOptions, type OwnProvider
} from '../support/own-providers/index.js'
import { createOwn, define, macOf, refusal, refuses, SECRET } from '../support/own-providers/mine.js'
import { standardWebhooksPlugin } from '../support/own-providers/standard-webhooks.js'
import { stripePlugin } from '../support/own-providers/stripe.js'
import { quiet } from '../support/quiet.js'
import { watchRejections } from '../support/waiting.js'
import { countsOf, watch } from '../support/watch.js'

type Headers = Record<string, string | string[]>

addCanaries(...OWN_PROVIDERS.flatMap(({ secrets }) => secrets))
type Pair = readonly [string, string]
const [[STANDARD_SECRET], STRIPE_SECRETS] = STAMPED_PROVIDERS.map(({ secrets }) => secrets) as [Pair, Pair]
const rejections = watchRejections()

/** Creates a server with one provider, and records the events its handler receives. */
function createServer (t: Test, provider: OwnProvider, options: OwnOptions = {}) {
  const { app, lines } = createHost(t)
  const events: object[] = []
  provider.register(app, { now, handleEvent: (event) => { events.push(event) }, ...options })
  const post = (payload: string, headers: Headers) =>
    app.inject({ method: 'POST', url: `/${provider.name}`, headers, payload })
  const deliver = async (event = provider.event, secret?: string, timestamp?: number) => {
    const body = JSON.stringify(event)
    return outcomeOf(await post(body, await provider.sign(body, secret, timestamp)))
  }
  return { app, lines, events, post, deliver }
}

for (const provider of OWN_PROVIDERS) {
  const { name, event, headers: required, signature } = provider
  const body = JSON.stringify(event)

  t.test(`${name}: a delivery signed by its own library is accepted, once, and reported`, async (t) => {
    const { reports, registry } = watch(t)
    const { app, events, post } = createServer(t, provider)
    const headers = await provider.sign(body)
    const reply = await post(body, headers)
    t.strictSame([reply.statusCode, reply.body, events], [204, '', [event]])
    t.equal(outcomeOf(await post(body, headers)), '204 replayed')
    const { text } = await exchange(app, [rawRequest(`/${name}`, Object.entries({
      ...headers, 'content-length': `${Buffer.byteLength(body)}`, connection: 'close'
    }), body)])
    t.match(text, /^HTTP\/1\.1 204 [^]*\r\nidempotency-replayed: true\r\n/)
    t.equal(events.length, 1)

    const common = { provider: name, path: `/${name}`, status: 204, secretIndex: 0, bytes: Buffer.byteLength(body) }
    t.match(reports, [
      { ...common, outcome: 'accepted', reason: 'handled', delivery: /^[\w-]{43}$/ },
      { ...common, outcome: 'duplicate', reason: 'replayed', delivery: reports[0]!.delivery },
      { ...common, outcome: 'duplicate', reason: 'replayed' }
    ])
    t.strictSame(await countsOf(registry, 'fastify_verification_deliveries_total'), [
      `provider=${name},outcome=accepted,reason=handled: 1`, `provider=${name},outcome=duplicate,reason=replayed: 2`
    ])
  })

  t.test(`${name}: a delivery that was not signed like that is a 403, and no handler runs`, quiet(async (t) => {
    const { reports } = watch(t)
    const { store, asked } = scriptedStore()
    const { app, events, post } = createServer(t, provider, { deliveries: store })
    const good: Record<string, string> = { ...await provider.sign(body) }
    const text = good[signature]!
    const attempts: [what: string, reasons: RegExp, headers: Headers, body?: string | undefined][] = [
      ['another body', /mismatch/, good, body.replace('é', 'e')],
      ['a space more', /mismatch/, good, `${body} `],
      ['no body', /no_body/, { ...good, 'content-type': [] }, ''],
      ['another secret', /mismatch/, await provider.sign(body, provider.secrets[1])],
      ['in a list of two', /malformed_header|mismatch/, { ...good, [signature]: `${text}, ${text}` }]
    ]
    for (const header of required) {
      const { [header]: value, ...others } = good
      attempts.push(
        [`no ${header}`, /missing_header/, others],
        [`an empty ${header}`, /missing_header/, { ...good, [header]: '' }],
        [`${header} twice`, /duplicate_header/, { ...good, [header]: [value!, value!] }],
        [`${header} twice, first another`, /duplicate_header/, { ...good, [header]: ['x', value!] }],
        [`${header} twice, then another`, /duplicate_header/, { ...good, [header]: [value!, ''] }]
      )
      for (let length = 1; length < value!.length; length++) {
        const cut = value!.slice(0, length)
        attempts.push([`${header} cut at ${length}`, /malformed_header|mismatch/, { ...good, [header]: cut }])
      }
      for (const junk of ['0', 'A', '=', ' x', ',', '.', ',v1=', ' v1,', ';', '\t0', 'é']) {
        if (junk === ' x' && value!.startsWith('v1,')) continue // a valid element of another scheme
        attempts.push([`${header} and ${junk}`, /malformed_header|mismatch/, { ...good, [header]: value! + junk }])
      }
      for (let at = 0; at < value!.length; at++) {
        const other = value![at] === '0' ? '1' : '0'
        const changed = value!.slice(0, at) + other + value!.slice(at + 1)
        attempts.push([`${header}, changed at ${at}`, /malformed|mismatch|stale|future/, { ...good, [header]: changed }])
      }
    }
    for (const [what, reason, headers, payload = body] of attempts) {
      const reply = await post(payload, headers)
      const { outcome, reason: told = '', provider } = reports.at(-1)!
      t.strictSame([reply.statusCode, reply.body, outcome, provider], [403, FORBIDDEN, 'rejected', name], what)
      t.match(told, reason, what)
    }
    t.equal(reports.length, attempts.length)

    for (const header of required) {
      const request = rawRequest(`/${name}`, [
        ...Object.entries({ ...good, 'content-length': `${Buffer.byteLength(body)}`, connection: 'close' }),
        [header.toUpperCase(), good[header]!]
      ], body)
      const { text } = await exchange(app, [request])
      t.equal(statusOf(text), 403, `${header} twice on a socket`)
      t.equal(reports.at(-1)!.reason, 'duplicate_header')
    }
    t.strictSame([events, asked], [[], []], 'the handler did not run')
    t.equal(outcomeOf(await post(body, good)), '204', 'the unchanged delivery is accepted')
  }))

  t.test(`${name}: a signed body that is not one of its events is a 400`, async (t) => {
    const { events, post } = createServer(t, provider)
    for (const [payload, code] of [
      ['[]', 'INVALID_JSON'], ['{"__proto__":{}}', 'INVALID_JSON'], ['{"type":1,"sender":1}', 'INVALID_PAYLOAD']
    ] as const) {
      t.equal(outcomeOf(await post(payload, await provider.sign(payload))), `400 ${code}`)
    }
    t.strictSame(events, [])
  })

  t.test(`${name}: during a rotation both secrets are accepted, and the report has the index of the one that matched`, async (t) => {
    const { reports } = watch(t)
    for (const [secretIndex, secret] of provider.secrets.entries()) {
      const { deliver } = createServer(t, provider, { secret: [...provider.secrets] })
      t.equal(await deliver(event, secret), '204')
      t.equal(reports.at(-1)!.secretIndex, secretIndex)
      t.equal(await deliver(event, secret), '204 replayed')
    }
  })
}

for (const provider of STAMPED_PROVIDERS) {
  const { name, event, again, altered, signature, secrets: [first, second], split, join } = provider
  const body = JSON.stringify(event)
  const macsOf = async (...keys: string[]) => {
    const all = await Promise.all(keys.map((secret) => provider.sign(body, secret)))
    return all.flatMap((headers) => split(headers[signature]!))
  }
  const withMacs = async (macs: readonly string[]): Promise<Record<string, string>> =>
    ({ ...await provider.sign(body), [signature]: join(macs) })

  t.test(`${name}: a delivery is fresh from futureTolerance ahead to tolerance behind`, quiet(async (t) => {
    const { reports } = watch(t)
    for (const [offset, outcome, reason] of [
      [-300, '204', 'handled'], [60, '204', 'handled'], [-301, '403 FORBIDDEN', 'stale'], [61, '403 FORBIDDEN', 'future']
    ] as const) {
      const { deliver } = createServer(t, provider)
      t.equal(await deliver(event, undefined, NOW + offset), outcome, `${offset} s`)
      t.equal(reports.at(-1)!.reason, reason)
      t.equal(reports.at(-1)!.ageSeconds, outcome === '204' ? undefined : -offset)
    }
  }))

  t.test(`${name}: a resend with another timestamp is a copy, and with other content it is refused`, async (t) => {
    const { deliver, events } = createServer(t, provider)
    t.equal(await deliver(), '204')
    t.equal(await deliver(again, undefined, NOW + 30), '204 replayed')
    t.equal(await deliver(altered), '422 ID_REUSED')
    t.equal(events.length, 1)
  })

  t.test(`${name}: any of several signatures may match, at any position`, quiet(async (t) => {
    const { reports } = watch(t)
    const right = await macsOf(first)
    const [wrong] = await macsOf(second)
    const seven = Array<string>(7).fill(wrong!)
    const other = name === 'stripe' ? 'v0=00' : 'v1a,AA=='
    const short = name === 'stripe' ? 'v1=00' : 'v1,AA=='
    const cases: [what: string, macs: string[], outcome: string, reason: string][] = [
      ['the only one', right, '204', 'handled'],
      ['the first', [...right, wrong!], '204', 'handled'],
      ['the last', [wrong!, ...right], '204', 'handled'],
      ['the last of eight', [...seven, ...right], '204', 'handled'],
      ['the first of eight', [...right, ...seven], '204', 'handled'],
      ['the same eight times', Array(8).fill(right[0]), '204', 'handled'],
      ['beside one of another scheme', [other, ...right, other], '204', 'handled'],
      ['none of eight', [wrong!, ...seven], '403 FORBIDDEN', 'mismatch'],
      ['the last of nine', [wrong!, ...seven, ...right], '403 FORBIDDEN', 'malformed_header'],
      ['the first of a thousand', [...right, ...Array(999).fill(wrong)], '403 FORBIDDEN', 'malformed_header'],
      ['beside one that is too short', [short, ...right], '403 FORBIDDEN', 'malformed_header'],
      ['one of another scheme only', [other], '403 FORBIDDEN', 'malformed_header'],
      ['none at all', [], '403 FORBIDDEN', 'm']
    ]
    for (const [what, macs, outcome, reason] of cases) {
      const { post, events } = createServer(t, provider)
      t.equal(outcomeOf(await post(body, await withMacs(macs))), outcome, what)
      t.ok(reports.at(-1)!.reason.startsWith(reason), `${what}: ${reports.at(-1)!.reason}`)
      t.equal(events.length, outcome === '204' ? 1 : 0)
    }
  }))

  t.test(`${name}: with one of its signatures removed, a delivery is still the same`, async (t) => {
    const macs = await macsOf(first, second)
    t.equal(new Set(macs).size, 2)
    for (const secret of [[first, second], [second, first]]) {
      const [one, other] = macs.map((mac) => [mac])
      for (const order of [[macs, one!, other!], [other!, macs, one!], [one!, other!, macs]]) {
        const { post, events } = createServer(t, provider, { secret })
        const outcomes: string[] = []
        for (const kept of order) outcomes.push(outcomeOf(await post(body, await withMacs(kept))))
        t.strictSame([outcomes, events.length], [['204', '204 replayed', '204 replayed'], 1])
      }
    }
  })

  t.test(`${name}: the same id of another tenant is another delivery`, async (t) => {
    let secret = first
    const { deliver, events } = createServer(t, provider, { secret: () => secret })
    t.equal(await deliver(event, first), '204')
    secret = second
    t.equal(await deliver(event, first), '403 FORBIDDEN')
    t.equal(await deliver(event, second), '204')
    t.equal(await deliver(event, second), '204 replayed')
    t.equal(events.length, 2)
  })
}

t.test('a delivery is accepted by the result of read, and by nothing else', quiet(async (t) => {
  const good = { mac: macOf('{}'), prefix: '', timestamp: null }
  const { reports } = watch(t)
  const thrown = [new Error('canary'), 'canary', null, undefined]
  const cases: [what: string, read: () => unknown, outcome: string, reason: string][] = [
    ['a reading', () => good, '204', 'handled'],
    ['with a MAC in a plain Uint8Array', () => ({ ...good, mac: new Uint8Array(good.mac) }), '204', 'handled'],
    ['with a list of one MAC', () => ({ ...good, mac: [good.mac] }), '204', 'handled'],
    ['with the time that it is', () => ({ ...good, timestamp: NOW }), '204', 'handled'],
    ['nothing', () => undefined, '403 FORBIDDEN', 'malformed_header'],
    ['no MAC', () => ({ ...good, mac: undefined }), '403 FORBIDDEN', 'malformed_header'],
    ['no timestamp', () => ({ ...good, timestamp: undefined }), '403 FORBIDDEN', 'malformed_header'],
    ['an empty list', () => ({ ...good, mac: [] }), '403 FORBIDDEN', 'malformed_header'],
    ['a list with a hole', () => ({ ...good, mac: [...Array(1), good.mac] }), '403 FORBIDDEN', 'malformed_header'],
    ['a list of holes', () => ({ ...good, mac: Array(2) }), '403 FORBIDDEN', 'malformed_header'],
    ['a MAC of no bytes', () => ({ ...good, mac: new Uint8Array() }), '403 FORBIDDEN', 'mismatch'],
    ['part of the MAC', () => ({ ...good, mac: good.mac.subarray(0, 31) }), '403 FORBIDDEN', 'mismatch'],
    ['more than the MAC', () => ({ ...good, mac: Buffer.concat([good.mac, good.mac]) }), '403 FORBIDDEN', 'mismatch'],
    ['another prefix', () => ({ ...good, prefix: 'x' }), '403 FORBIDDEN', 'mismatch'],
    ['milliseconds', () => ({ ...good, timestamp: NOW * 1000 }), '403 FORBIDDEN', 'future'],
    ['an invalid time', () => ({ ...good, timestamp: NaN }), '403 FORBIDDEN', 'stale'],
    ['never', () => ({ ...good, timestamp: Infinity }), '403 FORBIDDEN', 'future'],
    ['null', () => null, '500 FAILED', 'verification_failed'],
    ['true', () => true, '500 FAILED', 'verification_failed'],
    ['no prefix', () => ({ ...good, prefix: undefined }), '500 FAILED', 'verification_failed'],
    ['a prefix of more than bytes', () => ({ ...good, prefix: 'ā' }), '500 FAILED', 'verification_failed'],
    ['a MAC as a string', () => ({ ...good, mac: good.mac.toString('hex') }), '500 FAILED', 'verification_failed'],
    ['a null MAC', () => ({ ...good, mac: null }), '500 FAILED', 'verification_failed'],
    ['a promise of a reading', async () => good, '500 FAILED', 'verification_failed'],
    ['a promise that fails', async () => { throw new Error('canary') }, '500 FAILED', 'verification_failed'],
    ...thrown.map((value): [string, () => unknown, string, string] =>
      [`throws ${value}`, () => { throw value }, '500 FAILED', 'verification_failed'])
  ]
  for (const [what, read, outcome, reason] of cases) {
    const { deliver, events } = createOwn(t, { read })
    t.equal(outcomeOf(await deliver()), outcome, what)
    t.equal(reports.at(-1)!.reason, reason, what)
    t.equal(events.length, outcome === '204' ? 1 : 0, what)
  }
  t.strictSame(rejections, [], 'no promise was rejected without being handled')
}))

t.test('read receives the values of its headers in their order, and its prefix is signed byte by byte', async (t) => {
  const seen: unknown[] = []
  const { app } = createOwn(t, {
    headers: ['x-b', 'x-a'],
    read (texts: string[]) {
      seen.push(texts)
      return { mac: macOf('ÿ.{}'), prefix: `${texts[1]}.`, timestamp: null }
    }
  })
  const headers = { 'content-type': 'application/json', 'x-a': 'ÿ', 'x-b': 'b' }
  const pairs = Object.entries({ ...headers, 'content-length': '2', connection: 'close' })
  const { text } = await exchange(app, [rawRequest('/mine', pairs, '{}')])
  t.equal(statusOf(text), 204)
  t.strictSame(seen, [['b', 'ÿ']])
  const twice = await exchange(app, [rawRequest('/mine', [...pairs, ['X-B', 'b']], '{}')])
  t.equal(statusOf(twice.text), 403, 'none of them may be repeated')
  t.equal(seen.length, 1)
})

t.test('the result of identify decides if two deliveries are the same', quiet(async (t) => {
  const failed = Array(3).fill('500 HANDLER_FAILED')
  const cases: [what: string, identify: unknown, outcomes: string[]][] = [
    ['by default the MAC', undefined, ['204', '204 replayed', '204']],
    ['the MAC', (_event: unknown, { mac }: { mac: string }) => ({ id: [mac] }), ['204', '204 replayed', '204']],
    ['an id, whatever the content', () => ({ id: ['one'] }), ['204', '204 replayed', '204 replayed']],
    ['an id with its content', (content: unknown) => ({ id: ['one'], content }), ['204', '204 replayed', '422 ID_REUSED']],
    ['nothing', () => undefined, ['204', '204', '204']],
    ['content that is not JSON', () => ({ id: ['one'], content: 1n }), failed],
    ['a promise', async () => ({ id: ['one'] }), failed],
    ['a failure', () => { throw new Error('canary') }, failed],
    ...[null, {}, { id: [] }, { id: [''] }, { id: 'a' }, { id: ['a', undefined] }, { id: [5] }, { id: Array(1) }]
      .map((identity): [string, unknown, string[]] => [inspect(identity), () => identity, failed])
  ]
  for (const [what, identify, outcomes] of cases) {
    const { deliver, events } = createOwn(t, { identify })
    const seen: string[] = []
    for (const body of ['{"a":1}', '{"a":1}', '{"a":2}']) seen.push(outcomeOf(await deliver(body)))
    t.strictSame(seen, outcomes, what)
    t.equal(events.length, outcomes.filter((outcome) => outcome === '204').length)
  }
}))

t.test('a handler answers, refuses and fails as with the built-in plugins', quiet(async (t) => {
  const { reports } = watch(t)
  const reply = Type.Object({ n: Type.Number() })
  type Case =
    [what: string, definition: object, handleEvent: () => unknown, status: number, body: RegExp, reason: string]
  const cases: Case[] = [
    ['no reply schema', {}, () => ({ n: 1 }), 204, /^$/, 'handled'],
    ['a reply', { reply }, async () => ({ n: 1, more: 'canary' }), 200, /^{"n":1}$/, 'handled'],
    ['another reply', { reply }, () => ({ n: 'canary' }), 500, /INVALID_REPLY/, 'invalid_reply'],
    ['no reply', { reply }, () => {}, 500, /INVALID_REPLY/, 'invalid_reply'],
    ['a denial', {}, () => { throw deny({ statusCode: 409, code: 'no', message: 'Not here' }) }, 409,
      /^{"status":"error","code":"no","message":"Not here"}$/, 'denied'],
    ['a failure', {}, () => { throw new Error('canary') }, 500, /HANDLER_FAILED/, 'handler_failed'],
    ['a time-out', {}, () => new Promise(() => {}), 503, /VERIFICATION_TIMEOUT/, 'handler_timeout']
  ]
  for (const [what, definition, handleEvent, status, body, reason] of cases) {
    const { deliver } = createOwn(t, definition, { handleEvent, handlerTimeout: 20 })
    const answer = await deliver()
    t.equal(answer.statusCode, status, what)
    t.match(answer.body, body, what)
    t.equal(reports.at(-1)!.reason, reason, what)
  }
}))

t.test('a handler is called in its scope, with the bytes; a body may be too long', async (t) => {
  const { reports } = watch(t)
  const seen: unknown[] = []
  const handleEvent = (event: unknown, { rawBody, body }: FastifyRequest) => { seen.push(event, String(rawBody), body) }
  const { deliver } = createOwn(t, {}, { handleEvent, bodyLimit: 8, path: '/mine' })
  t.equal(outcomeOf(await deliver('{ }')), '204')
  t.strictSame(seen, [{}, '{ }', {}])
  t.equal((await deliver('{"a":1234}')).statusCode, 413)
  t.equal(reports.at(-1)!.reason, 'body_too_large')
})

t.test('an invalid definition is refused when it is made', quiet(async (t) => {
  const required = 'is required'
  const named = 'must consist of lowercase letters, digits and hyphens'
  const listed = 'must be an array of unique lowercase header names'
  const callback = 'must be a function'
  const schema = 'must be a TypeBox schema'
  const plain = `${schema} of @sinclair/typebox 0.34, which fastify-verification/provider exports as "Type": ` +
    'this one is plain JSON Schema'
  const cases: [option: string, expected: string, values: unknown[]][] = [
    ['name', named, [null, '', 'Canary', 'a b', 'a_b', '-a', 'a-', 'a--b', '1a', 'é', 'a/b', 5, {}]],
    ['summary', 'must be a non-empty string', [null, '', 5, {}]],
    ['headers', listed, [null, [], 'x-mac', ['X-Canary'], [''], ['x mac'], ['x:mac'], ['é'], [5], ['a', 'a'], Array(1), {}]],
    ['read', callback, [null, 'canary', {}]],
    ['algorithm', 'must be one of "md5", "sha256"', [null, '', 'SHA256', 'sha1', 'none', ['sha256'], {}]],
    ['secretEncoding', 'must be "utf8", "base64" or a function', [null, '', 'hex', 'canary', {}]],
    ['body', schema, [null, 'canary', 5, {}, () => {}]],
    ['body', plain, [{ type: 'object' }]],
    ['body', "uses a format that is not in TypeBox's FormatRegistry", [Type.Object({ a: Type.String({ format: 'canary' }) })]],
    ['reply', schema, [null, 'canary']],
    ['reply', plain, [{ type: 'object' }]],
    ['identify', callback, [null, 'canary', {}]],
    ['secret', 'is not known', ['canary']],
    ['verify', 'is not known', [false]],
    ['path', 'is not known', ['/canary']],
    ...['name', 'summary', 'headers', 'read', 'algorithm', 'secretEncoding', 'body']
      .map((option): [string, string, unknown[]] => [option, required, [undefined]])
  ]
  for (const [option, expected, values] of cases) {
    for (const value of values) {
      const error = await refusal(t, { [option]: value })
      refuses(t, error, `createProvider: option "${option}" ${expected}`, `${option}: ${inspect(value)}`)
    }
  }
  const scheme = { algorithm: 'hmac-sha256', headers: { 'x-mac': '{hex}' }, signed: '{body}' }
  const templates = 'must map lowercase header names to templates or list(...)'
  const schemes: [option: string, value: unknown, expected: string][] = [
    ['scheme', null, 'must be an object'],
    ['scheme.algorithm', undefined, required],
    ['scheme.algorithm', 'sha256', 'must be one of "hmac-md5", "hmac-sha256"'],
    ['scheme.key', 'hex', 'must be "utf8", "base64" or a function'],
    ...[null, [], { 'X-Mac': '{hex}' }, { 'x-mac': '' }, { 'x-mac': 5 }, { 'x-mac': list('', '{hex}') }, { 'x-mac': list(',') },
      { 'x-mac': { separator: ',', elements: [5] } }]
      .map((value): [string, unknown, string] => ['scheme.headers', value, templates]),
    ['scheme.headers', { 'x-mac': '{hex}', 'x-id': '{id}' }, 'contains {id}, which is not signed'],
    ['scheme.signed', '', 'must be a non-empty string'],
    ['scheme.signed', '{timestamp}{body}', 'contains {timestamp}, which is in no header'],
    ['scheme.ignoreCase', 'canary', 'must be a boolean'],
    ['scheme.verify', false, 'is not known']
  ]
  for (const [option, value, expected] of schemes) {
    const [, member] = option.split('.')
    const changed = member === undefined ? value : { ...scheme, [member]: value }
    const error = await refusal(t, { scheme: changed })
    refuses(t, error, `createProvider: option "${option}" ${expected}`, `${option}: ${inspect(value)}`)
  }
  refuses(t, await refusal(t, { scheme, headers: ['x-mac'] }), 'createProvider: option "headers" is not known', 'a scheme and a reader')
  for (const value of [undefined, null, 5]) {
    t.throws(() => createProvider(value as never), { message: 'createProvider: option "options" must be an object' })
  }
  t.equal(await refusal(t, { name: 'a1-b2', headers: ['x_mac', 'x-mac-2'], reply: Type.Null() }, {}), undefined)
}))

const handleEvent = (): void => {}

const KEYED = createProvider({
  name: 'keyed',
  summary: 'Signed with a key of a ring, for an endpoint',
  scheme: {
    algorithm: 'hmac-md5',
    headers: { 'x-key': '{keyId}', 'x-mac': 'MD5={hex}', 'x-time': '{timestamp}', 'x-endpoint': '{endpoint}' },
    signed: '{timestamp}{endpoint}{body}',
    ignoreCase: true
  },
  body: Type.Object({})
})

t.test('a scheme with key ids and an endpoint accepts a ring of secrets, and has a diagnosis', quiet(async (t) => {
  const { app, lines } = createHost(t)
  const { reports } = watch(t)
  const secrets = { one: `${SECRET}1`, two: [`${SECRET}2`, `${SECRET}3`] }
  app.register(KEYED, { secrets, now, handleEvent () {}, diagnose: true })
  app.register(KEYED, { secrets: async (keyId) => keyId === 'one' ? secrets.one : null, now, path: '/other', endpoint: '/public?a=1', handleEvent () {} })
  const input = { keyId: 'two', secret: `${SECRET}3`, body: '{}', timestamp: NOW, endpoint: '/keyed' }
  const post = (headers: Record<string, string>, url = '/keyed') =>
    app.inject({ method: 'POST', url, payload: '{}', headers }).then(outcomeOf)
  t.equal(await post(KEYED.sign(input)), '204')
  t.match(reports.at(-1), { keyId: 'two', secretIndex: 1 })
  const again = KEYED.sign({ ...input, timestamp: NOW + 1 })
  t.equal(await post({ ...again, 'x-mac': again['x-mac']!.toLowerCase() }), '204', 'the literal part is case-insensitive')
  t.equal(await post(KEYED.sign({ ...input, endpoint: '/public?a=1', keyId: 'one', secret: secrets.one }), '/other'), '204')
  for (const [changes, reason] of [
    [{ keyId: 'one' }, 'mismatch'], [{ keyId: 'three' }, 'unknown_key'], [{ endpoint: '/other' }, 'wrong_endpoint'],
    [{ timestamp: NOW - 301 }, 'stale'], [{ body: '{ }' }, 'mismatch']
  ] as const) {
    t.equal(await post(KEYED.sign({ ...input, ...changes })), '403 FORBIDDEN')
    t.equal(reports.at(-1)!.reason, reason)
    const { body, secret, ...others } = { ...input, ...changes }
    const headers = KEYED.sign({ ...others, secret, body })
    t.strictSame(KEYED.verify({ secrets, headers, body: Buffer.from('{}'), endpoint: '/keyed', now }), { ok: false, reason })
  }
  t.match(lines.filter(({ msg }) => msg === 'delivery rejected').at(-1), { diagnosis: /./ })
  t.strictSame(KEYED.verify({ secrets, headers: KEYED.sign(input), body: Buffer.from('{}'), endpoint: '/keyed', now }), { ok: true, secretIndex: 1 })
  for (const [options, message] of [
    [{ secret: SECRET }, 'keyed: option "secret" is not known'], [{}, 'keyed: option "secrets" is required'],
    [{ secrets, endpoint: 'x' }, 'keyed: option "endpoint" must be a path with an optional query'],
    [{ secrets, path: '/:id' }, 'keyed: option "endpoint" is required']
  ] as const) {
    const plugin = KEYED as unknown as FastifyPluginAsync<Record<string, unknown>>
    const host = createHost(t).app.register(plugin, { ...options, handleEvent })
    await t.rejects(async () => { await host.ready() }, { message })
  }
}))

t.test('a URL is signed only if no header carries it', quiet(async (t) => {
  const square = createProvider({
    name: 'square',
    summary: 'Events',
    scheme: {
      algorithm: 'hmac-sha256', headers: { 'x-square-hmacsha256-signature': '{base64}' }, signed: '{endpoint}{body}'
    },
    body: Type.Object({})
  })
  const secret = SECRET
  const endpoint = 'https://shop.example:8443/square?a=1'
  const headers = square.sign({ secret, body: '{}', endpoint })
  t.equal(headers['x-square-hmacsha256-signature'], createHmac('sha256', SECRET).update(`${endpoint}{}`).digest('base64'))
  t.strictSame(square.verify({ secret, headers, body: Buffer.from('{}'), endpoint }), { ok: true, secretIndex: 0 })
  t.strictSame(square.verify({ secret, headers, body: Buffer.from('{}'), endpoint: '/square?a=1' }), {
    ok: false, reason: 'mismatch'
  })
  const { app } = createHost(t)
  let handled = 0
  app.register(square, { secret, endpoint, handleEvent () { handled++ } })
  const send = async (payload: string) =>
    (await app.inject({ method: 'POST', url: '/square', headers, payload })).statusCode
  t.equal(await send('{} '), 403)
  t.equal(handled, 0)
  t.equal(await send('{}'), 204)
  t.equal(handled, 1)
  for (const wrong of ['shop.example/square', 'ftp://shop.example/square', 'https://shop.example', 'https:///square', 'https://a b/c', '']) {
    const host = createHost(t).app.register(square, { secret, endpoint: wrong, handleEvent () {} })
    await t.rejects(async () => { await host.ready() }, {
      message: 'square: option "endpoint" must be a path or a URL, with an optional query'
    }, wrong)
  }
}))

t.test('a plugin signs and verifies without a server', quiet(async (t) => {
  const [secret, other] = STRIPE_SECRETS
  const body = '{"id":"1"}'
  const headers = stripePlugin.sign({ secret, body, timestamp: NOW })
  const verify = (changes: object = {}) =>
    stripePlugin.verify({ secret: [other, secret], headers, body: Buffer.from(body), now, ...changes })
  t.strictSame(headers, {
    'content-type': 'application/json',
    'stripe-signature': `t=${NOW},v1=${createHmac('sha256', secret).update(`${NOW}.${body}`).digest('hex')}`
  })
  t.strictSame(verify(), { ok: true, secretIndex: 1 })
  const after = define({
    scheme: { algorithm: 'hmac-sha256', headers: { a: '{hex}', b: '{timestamp}' }, signed: '{body}.{timestamp}' }
  }) as unknown as typeof stripePlugin
  const sent = after.sign({ secret, body, timestamp: NOW })
  t.equal(sent['a'], createHmac('sha256', secret).update(`${body}.${NOW}`).digest('hex'))
  t.strictSame(after.verify({ secret, headers: sent, body: Buffer.from(body), now }), { ok: true, secretIndex: 0 })
  t.strictSame(verify({ body: Buffer.from('{}') }), { ok: false, reason: 'mismatch' })
  t.strictSame(verify({ headers: {} }), { ok: false, reason: 'missing_header' })
  t.strictSame(verify({ now: () => 0 }), { ok: false, reason: 'future' })
  t.match(stripePlugin.sign({ secret, body: Buffer.from(body) })['stripe-signature'], /^t=\d{10},v1=/)
  for (const [call, message] of [
    [() => verify({ secret: undefined }), 'stripe.verify: option "secret" must be a string'],
    [() => verify({ tolerance: 0 }), /^stripe.verify: option "tolerance" /],
    [() => stripePlugin.sign({ secret: '', body }), 'stripe.sign: option "secret" must not be empty'],
    [() => standardWebhooksPlugin.sign({ secret: STANDARD_SECRET, body }), 'standard-webhooks.sign: option "id" is required'],
    [() => standardWebhooksPlugin.sign({ secret: STANDARD_SECRET, body, id: '' }), 'standard-webhooks.sign: option "id" must be a non-empty string'],
    [() => KEYED.verify({ headers: {}, body: Buffer.from(''), endpoint: '/' }), 'keyed.verify: option "secrets" must be an object or a Map'],
    [() => KEYED.verify({ secrets: {}, headers: {}, body: Buffer.from('') }), 'keyed.verify: option "endpoint" must be a path with an optional query']
  ] as const) t.throws(call, { code: 'FST_VERIFICATION_INVALID_OPTION', message })
}))

t.test('a scheme that cannot be searched has no diagnosis', quiet(async (t) => {
  for (const [scheme, searched] of [
    [{ headers: { a: '{hex}', b: '{timestamp}' }, signed: '{timestamp}.{body}' }, true],
    [{ headers: { a: '{hex}', b: 't={timestamp}' }, signed: '{timestamp}.{body}' }, false],
    [{ headers: { a: '{hex}', b: '{timestamp}' }, signed: 'v0:{timestamp}:{body}' }, false],
    [{ headers: { a: '{hex}!' }, signed: '{body}' }, false],
    [{ headers: { a: '{hex}' }, signed: '{endpoint}{body}' }, false],
    [{ headers: { a: list(',', 'v1={hex}') }, signed: '{body}' }, false]
  ] as const) {
    const error = await refusal(t, { scheme: { algorithm: 'hmac-sha256', ...scheme } }, { diagnose: true })
    t.equal(error === undefined, searched, scheme.signed)
  }
}))

const WEAK = 'must be at least 24 bytes long; "allowWeakSecret" allows shorter secrets'

t.test('invalid options are refused at registration, under the name of the provider', quiet(async (t) => {
  const encoded = { secretEncoding: (text: string) => text.startsWith('x') ? Buffer.from(text) : undefined }
  const cases: [what: string, options: object, option: string, expected: string, definition?: object][] = [
    ['no secret', { secret: undefined }, 'secret', 'is required'],
    ['no handler', { handleEvent: undefined }, 'handleEvent', 'is required'],
    ['an invalid handler', { handleEvent: 'canary' }, 'handleEvent', 'must be a function'],
    ['a typo', { tolerence: 5 }, 'tolerence', 'is not known'],
    ['diagnose without a scheme', { diagnose: true }, 'diagnose', 'requires a "scheme" that supports diagnosis'],
    ['diagnose that is no boolean', { diagnose: 'canary' }, 'diagnose', 'must be a boolean'],
    ['a path that is none', { path: 'canary' }, 'path', 'must be a path that starts with "/", without a query'],
    ['a lease that is too short', { lease: 10 }, 'lease', 'must be longer than "handlerTimeout"'],
    ['a weak secret', { secret: 'canary' }, 'secret', WEAK],
    ['the same secret twice', { secret: [SECRET, SECRET] }, 'secret', 'must not contain the same secret twice'],
    ['five secrets', { secret: Array(5).fill(SECRET) }, 'secret', 'must have 1 to 4 secrets'],
    ['an untrimmed secret', { secret: ` ${SECRET}` }, 'secret', 'must not begin or end with white space'],
    ['no base64', { secret: 'canary!' }, 'secret', 'must be canonical base64', { secretEncoding: 'base64' }],
    ['not its secrets', { secret: SECRET }, 'secret', 'does not have the format of the secrets of this provider', encoded],
    ['one not of its secrets', { secret: [`x${SECRET}`, SECRET] }, 'secret', 'does not have the format of the secrets of this provider', encoded],
    ['a secret that is weak once it is decoded', { secret: `${SECRET}` }, 'secret', WEAK,
      { secretEncoding: () => Buffer.from('canary') }],
    ['a secret of no bytes', { secret: SECRET, allowWeakSecret: true }, 'secret', 'must not be all zeros',
      { secretEncoding: () => new Uint8Array() }],
    ...[(text: string) => text, async (text: string) => Buffer.from(text), () => null, () => { throw new Error('canary') }]
      .map((secretEncoding): [string, object, string, string, object] => [
        `${secretEncoding}`, {}, 'secret', 'does not have the format of the secrets of this provider', { secretEncoding }
      ])
  ]
  for (const [what, options, option, expected, definition = {}] of cases) {
    refuses(t, await refusal(t, definition, options), `mine: option "${option}" ${expected}`, what)
  }
  t.equal(await refusal(t, encoded, { secret: `x${SECRET}` }), undefined)
}))

t.test('if a resolver returns an invalid secret, nothing is authentic', async (t) => {
  const { reports } = watch(t)
  const secretEncoding = (text: string) => text.startsWith('whsec_') ? Buffer.from(text.slice(6)) : undefined
  for (const [secret, outcome] of [
    [`whsec_${SECRET}`, '204'], [SECRET, '403 FORBIDDEN'], [undefined, '403 FORBIDDEN']
  ]) {
    const { deliver } = createOwn(t, { secretEncoding }, { secret: async () => secret })
    t.equal(outcomeOf(await deliver()), outcome)
  }
  t.strictSame(reports.map(({ reason }) => reason), ['handled', 'unknown_key', 'unknown_key'])
})

t.test('with a scheme, the log names the mistake that explains a signature that does not match', quiet(async (t) => {
  const { name, sign, event, secrets: [secret, other], signature } = GITHUB_PROVIDER
  const body = JSON.stringify(event)
  const base64 = createHmac('sha256', secret).update(body).digest('base64')
  const cases: [headers: Record<string, string>, payload: string, says: RegExp][] = [
    [{ ...await sign(body), [signature]: `sha256=${base64}` }, body, /base64.*hex/],
    [await sign(body, `${secret}\n`), body, /line break/],
    [await sign(body), JSON.stringify(event, null, 2), /body/],
    [await sign(body, other), body, /^no known mistake/]
  ]
  const { lines, post } = createServer(t, GITHUB_PROVIDER, { diagnose: true })
  for (const [headers, payload, says] of cases) {
    lines.length = 0
    t.equal(outcomeOf(await post(payload, headers)), '403 FORBIDDEN')
    const [line] = lines.filter(({ msg }) => msg === 'delivery rejected')
    t.match(line, { provider: name, diagnosis: says })
  }
  t.equal(outcomeOf(await post(body, await sign(body))), '204')
  const standard = createOwn(t, {
    scheme: { algorithm: 'hmac-sha256', key: 'base64', headers: { 'x-mac': '{hex}' }, signed: '{body}' }
  }, { secret: Buffer.from(SECRET).toString('base64'), diagnose: true })
  t.equal(outcomeOf(await standard.deliver('{ }', '{}')), '403 FORBIDDEN')
  t.match(standard.lines.find(({ msg }) => msg === 'delivery rejected'), { diagnosis: /body/ })
  t.equal(outcomeOf(await standard.deliver('{}')), '204')
}))

t.test('its route is on API pages, in a valid document', quiet(async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'Webhooks', version: '1' } } })
  for (const provider of OWN_PROVIDERS) await provider.register(app)
  app.register(define({ reply: Type.Object({ n: Type.Number() }) }), { secret: SECRET, handleEvent () {} })
  await app.ready()
  const document = JSON.parse(JSON.stringify(app.swagger()))
  const { valid, errors } = await new Validator().validate(document)
  t.ok(valid, JSON.stringify(errors))
  for (const { name, headers } of OWN_PROVIDERS) {
    const { tags, parameters, responses, description } = document.paths[`/${name}`].post
    t.strictSame(tags, [name])
    t.match(description, 'HMAC-SHA256')
    const required = parameters.filter((parameter: { required: boolean }) => parameter.required)
    t.strictSame(required.map((parameter: { name: string }) => parameter.name), headers)
    t.strictSame(Object.keys(responses), ['204', '400', '403', '408', '413', '415', '422', '500', '503', '4XX', 'default'])
  }
  const { responses, requestBody } = document.paths['/mine'].post
  t.strictSame(responses['200'].content['application/json'].schema.required, ['n'])
  t.equal(requestBody.content['application/json'].schema.type, 'object')
}))

t.test('a schema of a custom kind that throws is a 500, and no handler runs', async (t) => {
  TypeRegistry.Set('Throws', () => { throw new Error('canary') })
  t.teardown(() => TypeRegistry.Delete('Throws'))
  const { deliver, events } = createOwn(t, { body: Type.Unsafe({ [Kind]: 'Throws' }) })
  t.equal((await deliver()).statusCode, 500)
  t.strictSame(events, [])
})

t.test('each example is a file of at most 40 lines, which uses only exported functions', async (t) => {
  for (const { name } of OWN_PROVIDERS) {
    const source = read(`test/support/own-providers/${name}.ts`)
    const { length } = source.trimEnd().split('\n')
    t.ok(length > 10 && length <= 40, `${name}: ${length} lines`)
    const imports = [...source.matchAll(/from '(.*)'/g)].map((match) => match[1])
    t.strictSame(imports, ['../../../plugins/provider.js'])
  }
  const index: Readonly<Record<string, unknown>> = everything
  for (const [name, value] of Object.entries(own)) t.equal(index[name], value, `${name} is in the index`)
})

t.test('Fastify knows it by its name, and for the versions of the package', async (t) => {
  const meta = Reflect.get(define(), Symbol.for('plugin-meta'))
  const { fastify } = JSON.parse(read('package.json')).peerDependencies
  t.strictSame(meta, { name: 'fastify-verification-mine', fastify, encapsulate: true })
})
