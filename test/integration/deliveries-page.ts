import type { FastifyInstance, InjectOptions } from 'fastify'
import { once } from 'node:events'
import { get, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import { REASONS } from '../../examples/deliveries-page/reasons.js'
import { redactBody, redactHeaders } from '../../examples/deliveries-page/redact.js'
import type { Sample } from '../../examples/deliveries-page/samples.js'
import { build } from '../../example-server.js'
import type { DeliveryReport } from '../../plugins/lib/telemetry.js'
import { DEMO } from '../../cli/demo.js'
import { createScan } from '../support/canaries.js'
import { API_KEY, API_SECRET, SECRET } from '../support/deliveries.js'
import { createPage, deliveries, JSON_TYPE, REPORT } from '../support/deliveries-page.js'
import { portOf } from '../support/host.js'
import { until, within } from '../support/waiting.js'

interface Told { readonly name: string, readonly data: any }

/** Opens the page's stream of events, and collects them. */
async function openStream (app: FastifyInstance) {
  const request = get({ port: portOf(app), path: '/deliveries/events', agent: false })
  const [response] = await once(request, 'response') as [IncomingMessage]
  const events: Told[] = []
  let text = ''
  let rest = ''
  response.setEncoding('utf8').on('error', () => {}).on('data', (chunk: string) => {
    text += chunk
    const parts = (rest + chunk).split('\n\n')
    rest = parts.pop()!
    for (const part of parts) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(part)!
      events.push({ name: name!, data: JSON.parse(data!) })
    }
  })
  return { response, events, told: () => text }
}

t.test('a delivery is sent at once, with its explanation, and again to later viewers', async (t) => {
  const { app, report } = await createPage(t)
  const stream = await openStream(app)
  await report({ reason: 'stale', ageSeconds: 400, secretIndex: 0, delivery: 'abc' }, {
    url: '/sessions?token=1',
    headers: { 'x-timestamp': '1790000000', 'content-type': JSON_TYPE },
    payload: '{"session":{"id":"1"}}'
  })
  await until(() => stream.events.length === 2)
  const [start, { name, data }] = stream.events as [Told, Told]
  t.strictSame(start, { name: 'start', data: { samples: [], deliveries: [] } })
  t.equal(name, 'delivery')
  t.match(data, {
    ...REPORT, reason: 'stale', ageSeconds: 400, secretIndex: 0, delivery: 'abc', explanation: REASONS.stale
  })
  t.ok(Math.abs(Date.now() - data.at) < 60_000)
  t.strictSame({ ...data.request, headers: data.request.headers.slice(0, 2) }, {
    method: 'POST',
    path: '/sessions?…',
    headers: [['x-timestamp', '1790000000'], ['content-type', 'application/json']],
    body: '{ session: { id: string } }'
  })
  const later = await openStream(app)
  await until(() => later.events.length === 1)
  t.strictSame(later.events[0]?.data.deliveries, [data])
})

t.test('the last 200 are kept', async (t) => {
  const { app, report } = await createPage(t)
  const early = await openStream(app)
  for (let count = 0; count < 205; count++) await report({ bytes: count })
  await until(() => early.events.length === 206)
  const { events } = await openStream(app)
  await until(() => events.length === 1)
  const kept = events[0]!.data.deliveries.map(({ bytes }: DeliveryReport) => bytes)
  t.strictSame(kept, Array.from({ length: 200 }, (_, index) => index + 5))
})

t.test('deliveries of other servers in the process are not shown, nor reasons without an explanation', async (t) => {
  const one = await createPage(t)
  const other = await createPage(t)
  const streams = [await openStream(one.app), await openStream(other.app)]
  await one.report({ bytes: 1 })
  await other.report({ bytes: 2 })
  deliveries.publish({ ...REPORT, requestId: 'req-1' })
  await one.report({ bytes: 3, reason: 'constructor' })
  await until(() => streams[0]!.events.length === 3)
  const seen = streams.map(({ events }) => events.slice(1).map(({ data }) => [data.bytes, data.explanation]))
  t.strictSame(seen, [[[1, REASONS.mismatch], [3, '']], [[2, REASONS.mismatch]]])
})

t.test('only the shown requests are remembered', async (t) => {
  const { app, report, hold } = await createPage(t)
  const { events } = await openStream(app)
  const release = hold()
  const early = report({ bytes: 1 })
  await new Promise((resolve) => setImmediate(resolve))
  for (let count = 0; count < 200; count++) await app.inject({ method: 'POST', url: '/unreported' })
  release()
  await early
  await report({ bytes: 2 })
  await until(() => events.length === 2)
  t.equal(events[1]!.data.bytes, 2)
})

t.test('every reason has its own explanation', async (t) => {
  const sentences = Object.values(REASONS)
  t.equal(new Set(sentences).size, sentences.length)
  for (const sentence of sentences) t.match(sentence, /^[A-Z].{30,}\.$/)
})

t.test('headers are shown if they are public, and others by their form', async (t) => {
  const cases: [name: string, value: string, shown: string][] = [
    ['Content-Type', 'application/json; charset=utf-8', 'application/json; charset=utf-8'],
    ['content-type', 'text/canary', 'hidden: 11 characters, other'],
    ['content-length', '12', '12'],
    ['content-encoding', 'gzip', 'gzip'],
    ['transfer-encoding', 'chunked', 'chunked'],
    ['x-timestamp', '1790000000', '1790000000'],
    ['X-Timestamp', '1790000000000000', 'hidden: 16 characters, digits'],
    ['x-aghanim-signature-timestamp', 'yesterday', 'hidden: 9 characters, other'],
    ['x-aghanim-signature', 'ab'.repeat(32), 'hidden: 64 characters, hex'],
    ['digest', 'MD5=00ff', 'hidden: 8 characters, a prefix with hex'],
    ['x-signature', `hmac-sha256 ${API_SECRET}`, 'hidden: 56 characters, a prefix with base64'],
    ['x-signature', API_SECRET, 'hidden: 44 characters, base64'],
    ['x-endpoint', '/webhooks/sessions', '/webhooks/sessions'],
    ['x-endpoint', '/sessions', 'hidden: 9 characters, a path'],
    ['x-api-key', 'live key', 'hidden: 8 characters, other'],
    ['signature', '', 'hidden: 0 characters, other']
  ]
  t.strictSame(redactHeaders(cases.flatMap(([name, value]) => [name, value]), '/webhooks/sessions'), [
    ...cases.map(([name, , shown]) => [name.toLowerCase(), shown]), ['others', '0']
  ])
  t.strictSame(redactHeaders(['digest', 'a', 'Digest', 'é', 'cookie', 'canary', 'x-canary', '1'], '/'), [
    ['digest', 'hidden: 1 characters, hex'], ['digest', 'hidden: 1 characters, other'], ['others', '2']
  ])
})

t.test('a body is shown by its known fields and their types', async (t) => {
  const names = new Set(['a', 'b'])
  const cases: [body: unknown, shown: string][] = [
    [undefined, 'none'],
    [Buffer.from('{"a":"canary","b":1}'), '{ a: string, b: number }'],
    [Buffer.from('{"a":null,"b":true,"canary":1}'), '{ a: null, b: boolean, 1 other fields }'],
    [Buffer.from('{"a":{"a":{"a":{"a":{"a":"canary"}}}}}'), '{ a: { a: { a: { a: { 1 other fields } } } } }'],
    [Buffer.from('{"a":["canary"],"b":{}}'), '{ a: [ 1 items ], b: {} }'],
    [Buffer.from('{"__proto__":1}'), '{ 1 other fields }'],
    [Buffer.from('"canary"'), 'string'],
    [Buffer.from('canary'), 'not JSON'],
    [{ a: 'canary' }, '{ a: string }']
  ]
  for (const [body, shown] of cases) t.equal(redactBody(body, names), shown)
})

const asked = (app: FastifyInstance, url: string, headers: IncomingHttpHeaders, payload?: object) =>
  app.inject({ method: payload === undefined ? 'GET' : 'POST', url, headers, ...(payload !== undefined && { payload }) })

t.test('a sample is sent from the page itself, not from another site', async (t) => {
  let sent = 0
  const samples = ['valid', 'other'].map((kind): Sample => ({
    provider: 'a', kind, requests: () => { sent++; return Array(2).fill({ method: 'POST', url: '/sessions' }) }
  }))
  const { app } = await createPage(t, samples)
  const { events } = await openStream(app)
  const sample = { provider: 'a', kind: 'valid' }
  const own = { host: '127.0.0.1:3000', origin: 'http://127.0.0.1:3000' }
  const statusOf = async (headers: IncomingHttpHeaders, payload = sample) =>
    (await asked(app, '/deliveries/samples', headers, payload)).statusCode

  for (const headers of [
    { host: own.host }, { ...own, origin: 'null' },
    { ...own, origin: 'http://127.0.0.1:3001' }, { ...own, origin: 'https://127.0.0.1:3000' },
    { ...own, origin: 'http://example.com' },
    { host: 'example.com', origin: 'http://example.com' },
    { host: '127.0.0.1.example.com', origin: 'http://127.0.0.1.example.com' }, { host: '', origin: 'http://' }
  ]) t.equal(await statusOf(headers), 403, JSON.stringify(headers))
  t.equal(await statusOf(own, { provider: 'a', kind: 'none' }), 404)
  t.equal(await statusOf(own, { provider: 'a' } as typeof sample), 400)
  t.equal(sent, 0)
  for (const host of [own.host, 'localhost', 'LOCALHOST:80', '[::1]:3000']) {
    t.equal(await statusOf({ host, origin: `http://${host}` }), 204, host)
  }
  t.equal(sent, 4)
  await until(() => events.length === 9)
  t.strictSame(events[0]!.data.samples, [sample, { ...sample, kind: 'other' }])
})

t.test('the page answers to names of this machine only, and may load nothing from elsewhere', async (t) => {
  const { app } = await createPage(t)
  const files = [['', 'text/html'], ['/page.js', 'text/javascript'], ['/style.css', 'text/css']] as const
  for (const [path, type] of files) {
    const { statusCode, headers, body } = await asked(app, `/deliveries${path}`, { host: 'localhost:3000' })
    t.equal(statusCode, 200)
    t.equal(headers['content-type'], `${type}; charset=utf-8`)
    t.match(headers['content-security-policy'], /^default-src 'none'; script-src 'self'; style-src 'self'; connect-src /)
    t.notMatch(headers['content-security-policy'], /unsafe/)
    t.match(headers, {
      'x-content-type-options': 'nosniff', 'cross-origin-resource-policy': 'same-origin', 'cache-control': 'no-store'
    })
    t.notMatch(body, /\bstyle=|\bon\w+=|https?:|innerHTML/)
  }
  for (const path of ['', '/events', '/page.js']) {
    for (const host of ['example.com', 'localhost.example.com', 'localhost:3000:80', '0.0.0.0:3000']) {
      const { statusCode, body } = await asked(app, `/deliveries${path}`, { host })
      t.equal(statusCode, 403, host)
      t.notMatch(body, /<|event/)
    }
  }
})

t.test('the number of viewers is limited', async (t) => {
  const { app } = await createPage(t)
  const streams = await Promise.all(Array.from({ length: 20 }, () => openStream(app)))
  t.strictSame(streams.map(({ response }) => response.statusCode), Array(20).fill(200))
  const statusOf = async () => (await fetch(`http://127.0.0.1:${portOf(app)}/deliveries/events`)).status
  t.equal(await statusOf(), 503)
  streams[0]!.response.destroy()
  while (await statusOf() === 503);
  t.pass('a viewer that leaves makes room for another')
})

t.test('a viewer that does not read is disconnected, and uses no more memory', async (t) => {
  const { app, report } = await createPage(t)
  const { events } = await openStream(app)
  const deaf = connect(portOf(app), '127.0.0.1').on('error', () => {})
  t.teardown(() => deaf.destroy())
  deaf.write('GET /deliveries/events HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await once(deaf, 'readable') // reads nothing from here on
  const connections = () => new Promise((resolve) => app.server.getConnections((_error, count) => resolve(count)))
  t.equal(await connections(), 2)
  let count = 0
  for (; count < 100 && await connections() === 2; count++) {
    await report({ path: 'x'.repeat(200_000) })
    await until(() => events.length === count + 2)
  }
  t.equal(await connections(), 1, `dropped after ${count} deliveries`)
})

t.test('a server that closes does not wait for viewers', async (t) => {
  const { app } = await createPage(t)
  const { response } = await openStream(app)
  t.equal(await within(5_000, app.close().then(() => 'closed')), 'closed')
  await until(() => response.closed)
  t.equal(deliveries.hasSubscribers, false, 'and no longer listens')
})

t.test('no secret of a delivery is shown, wherever it is', async (t) => {
  const canaries = ['canary', SECRET, API_KEY, API_SECRET, 'ada@example.com']
  const scan = createScan(canaries)
  const { app, report } = await createPage(t)
  const { told, events } = await openStream(app)
  const everywhere = canaries.flatMap((canary): InjectOptions[] => [
    { headers: { 'x-api-key': canary, 'x-signature': canary, digest: `MD5=${canary}`, 'x-timestamp': canary } },
    { headers: { cookie: canary, authorization: canary, signature: canary } },
    {
      headers: { [`x-${canary.replace(/\W/g, '')}`]: '', 'x-endpoint': `/${canary}`, 'content-type': JSON_TYPE },
      payload: canary
    },
    { url: `/sessions?${encodeURIComponent(canary)}=${encodeURIComponent(canary)}` },
    {
      headers: { 'content-type': JSON_TYPE },
      payload: JSON.stringify({ [canary]: canary, event_id: canary, session: { id: canary, [canary]: 1, status: [1] } })
    }
  ])
  for (const request of everywhere) await report({ keyId: API_KEY }, request)
  await until(() => events.length === everywhere.length + 1)
  t.strictSame(scan(told()), [])
  t.match(told(), /session: { id: string, status: \[ 1 items \], 1 other fields }/)
})

/** Outcome of each sample of a provider. */
const COMES_TO: Record<string, Record<string, string>> = {
  altdentifier: {
    valid: 'accepted handled 204',
    tampered: 'rejected mismatch 403',
    duplicate: 'accepted handled 204, accepted handled 204',
    'wrong-key': 'rejected mismatch 403',
    truncated: 'rejected mismatch 403',
    unsigned: 'rejected missing_header 403',
    'unknown OP': 'accepted acknowledged 204',
    'not JSON': 'rejected invalid_json 400'
  },
  aghanim: {
    valid: 'accepted handled 200',
    tampered: 'rejected mismatch 403',
    expired: 'rejected stale 403',
    future: 'rejected future 403',
    duplicate: 'accepted handled 200, duplicate replayed 200',
    'wrong-key': 'rejected mismatch 403',
    truncated: 'rejected mismatch 403',
    'unknown player': 'denied denied 401',
    'invalid payload': 'rejected invalid_payload 400'
  },
  'identity-validation': {
    valid: 'accepted handled 204',
    tampered: 'rejected mismatch 403',
    expired: 'rejected stale 403',
    future: 'rejected future 403',
    duplicate: 'accepted handled 204, duplicate replayed 204',
    'wrong-key': 'rejected mismatch 403',
    'wrong-endpoint': 'rejected wrong_endpoint 403',
    truncated: 'rejected mismatch 403'
  },
  humandetect: {
    valid: 'accepted handled 204',
    tampered: 'rejected malformed_token 403',
    expired: 'rejected stale 403',
    future: 'rejected future 403',
    duplicate: 'accepted handled 204, rejected used 403',
    'wrong-key': 'rejected malformed_token 403',
    truncated: 'rejected malformed_token 403',
    bot: 'rejected bot 403'
  },
  'humandetect-api': {
    valid: 'accepted handled 200',
    tampered: 'rejected malformed_token 400',
    duplicate: 'accepted handled 200, accepted handled 200',
    'wrong-key': 'rejected malformed_token 400',
    truncated: 'rejected malformed_token 400',
    'wrong API key': 'rejected unknown_key 401'
  }
}

const SECRETS = {
  ALTDENTIFIER_SECRET: 'canary of altdentifier',
  AGHANIM_SECRET: 'canary of aghanim, long enough',
  IDENTITY_API_KEY: 'canary-key',
  IDENTITY_API_SECRET: Buffer.from('canary of identity, long enough').toString('base64'),
  HUMANDETECT_API_KEY: 'canary-key-of-humandetect',
  HUMANDETECT_TOKEN_SECRET: 'canary-of-tokens, which is long enough'
}

for (const [whose, env] of [['demo secrets', {}], ['secrets of its own', SECRETS]] as const) {
  t.test(`the example server with ${whose}: each sample has the outcome in its name`, async (t) => {
    const app = await build(env)
    t.teardown(() => app.close())
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { events, told } = await openStream(app)
    await until(() => events.length === 1)
    const { samples } = events[0]!.data
    t.equal(samples.length, Object.values(COMES_TO).flatMap(Object.keys).length)
    for (const { provider, kind } of samples) {
      const own = { host: '127.0.0.1', origin: 'http://127.0.0.1' }
      const { statusCode } = await asked(app, '/deliveries/samples', own, { provider, kind })
      t.equal(statusCode, 204)
      const expected = COMES_TO[provider]?.[kind]
      const count = expected?.split(',').length ?? 1
      await until(() => events.length === 1 + count)
      const seen = events.splice(1).map(({ data }) => {
        t.equal(data.provider, provider)
        t.equal(data.explanation, REASONS[data.reason as keyof typeof REASONS])
        return `${data.outcome} ${data.reason} ${data.status}`
      })
      t.equal(seen.join(', '), expected, `${provider}, ${kind}`)
    }
    t.strictSame(createScan([...Object.values({ ...DEMO, ...env }), 'ada@example.com', 'Auxim'])(told()), [])
  })
}

t.test('the page does not exist in production, or where others can reach the server', async (t) => {
  for (const env of [{ NODE_ENV: 'production' }, { HOST: '0.0.0.0' }]) {
    const app = await build({ ...SECRETS, ...env })
    t.teardown(() => app.close())
    for (const path of ['', '/events', '/page.js', '/samples']) {
      t.equal((await asked(app, `/deliveries${path}`, { host: 'localhost' })).statusCode, 404)
    }
    const own = { host: 'localhost', origin: 'http://localhost' }
    const sample = { provider: 'aghanim', kind: 'valid' }
    t.equal((await asked(app, '/deliveries/samples', own, sample)).statusCode, 404)
  }
})
