import type { FastifyInstance, FastifyPluginAsync, InjectOptions } from 'fastify'
import { createHash } from 'node:crypto'
import { inspect } from 'node:util'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import {
  aghanimPlugin, altdentifierPlugin, deny, humandetectApiPlugin, humandetectPlugin, identityValidationPlugin,
  issueToken, memoryDeliveries, openToken, redisDeliveries, signAghanim, signAltdentifier, signIdentityValidation,
  verifyAghanim, verifyAltdentifier, verifyIdentityValidation, type RejectedDelivery
} from '../../plugins/index.js'
import { CLOSE, deliveryOf, requestBytes, TARGETS, type Attack } from '../support/attacks/attack.js'
import { THEMES } from '../support/attacks/index.js'
import { createScan } from '../support/canaries.js'
import { FORBIDDEN, GUILD, MEMBER, NOW, now, PLAYER, SECRET, SESSIONS, VERIFY_EVENT } from '../support/deliveries.js'
import { createTable } from '../support/table.js'
import { createHost, exchange, rawRequest, statusOf } from '../support/host.js'
import { createReceiver, scriptedStore } from '../support/life-cycle.js'
import { scriptedClient } from '../support/stores.js'
import { json, startUpstream, verdict } from '../support/upstream.js'
import { watchRejections } from '../support/waiting.js'

const rejections = watchRejections()
const turn = () => new Promise((resolve) => setImmediate(resolve))

// Tests of the scanner itself, on which all other tests depend.

const PLANTED = 'planted/secret+with"quotes\\and é'
const WRITTEN: [form: string, write: (text: string) => string][] = [
  ['as it is', (text) => text],
  ['in JSON', (text) => JSON.stringify({ a: text })],
  ['in JSON in JSON', (text) => JSON.stringify({ a: JSON.stringify({ b: text }) })],
  ['as it is printed', (text) => inspect({ a: text })],
  ['in a URL', (text) => `redis://:${encodeURIComponent(text)}@localhost`],
  ...[0, 1, 2, 3].flatMap((before): [string, (text: string) => string][] => [
    [`in base64 after ${before} bytes`, (text) => Buffer.from(`${'x'.repeat(before)}${text}yz`).toString('base64')],
    [`in base64url after ${before} bytes`, (text) => Buffer.from(`${'x'.repeat(before)}${text}yz`).toString('base64url')]
  ]),
  ['in hex', (text) => Buffer.from(text).toString('hex')],
  ['in upper-case hex', (text) => Buffer.from(text).toString('hex').toUpperCase()],
  ['as a Buffer in JSON', (text) => JSON.stringify(Buffer.from(text))],
  ['as a Buffer that is printed', (text) => inspect(Buffer.from(text))],
  ['as bytes that are printed', (text) => inspect(new Uint8Array(Buffer.from(text)))]
]

t.test('a scan finds a canary in any encoding, and nothing in other strings', async (t) => {
  const scan = createScan([PLANTED, 'another one'])
  for (const [form, write] of WRITTEN) {
    t.strictSame(scan(`before ${write(PLANTED)} after`), [PLANTED], form)
    t.strictSame(scan(write('something else altogether, é')), [], form)
  }
  const key = Buffer.from('the bytes of a secret in base64').toString('base64')
  for (const written of [key, 'the bytes of a secret in base64', inspect(Buffer.from(key, 'base64'))]) {
    t.strictSame(createScan([key])(written), [key])
  }
})

t.test('a test whose host logs a canary fails, unless it says so', async (t) => {
  /** Returns the failure of a test whose host logs `text`. */
  const ending = async (text: string, tells?: string[]) => {
    let tidy: () => unknown = () => {}
    const { app } = createHost({ teardown: (given) => { tidy = given } }, {}, tells)
    app.get('/', (request) => {
      request.log.trace({ deep: [{ text }] }, 'of the host')
      return ''
    })
    await app.inject('/')
    return Promise.resolve(tidy()).then(() => 'passes', () => 'fails')
  }
  t.equal(await ending('nothing'), 'passes')
  t.equal(await ending(SECRET), 'fails')
  t.equal(await ending(Buffer.from(SECRET).toString('hex')), 'fails')
  t.equal(await ending(SECRET, [SECRET]), 'passes')
  t.equal(await ending(SECRET, [MEMBER.username]), 'fails')
})

// Canaries in every place that can contain foreign strings.

const canary = (place: string): string =>
  `canary-of-${place}-${createHash('sha256').update(place).digest('hex').slice(0, 12)}`
const WEBHOOK_SECRET = canary('the-webhook-secret')
const KYC_SECRET = Buffer.from(canary('the-kyc-secret')).toString('base64')
const SERVICE_KEY = canary('the-service-key')
const TOKEN_SECRET = canary('the-token-secret')
const EMAIL = `${canary('the-email')}@example.com`
const [NAME, VALUE, KEY, HEADER, THROWN, URL_SECRET, UPSTREAM] =
  ['a-name', 'a-value', 'an-unknown-key', 'a-header', 'an-error', 'a-url', 'an-upstream'].map(canary) as
    [string, string, string, string, string, string, string]
/** Strings that nobody may see; the signatures of each delivery are added to them. */
const CANARIES = [
  'canary', WEBHOOK_SECRET, KYC_SECRET, SERVICE_KEY, TOKEN_SECRET, EMAIL, NAME, VALUE, KEY, HEADER, THROWN, URL_SECRET,
  UPSTREAM
]

const failing = (): never => {
  throw Object.assign(new Error(THROWN, { cause: new Error(THROWN) }), {
    statusCode: 418,
    headers: { 'x-thrown': THROWN },
    config: { url: `redis://:${URL_SECRET}@localhost`, headers: { 'x-api-key': THROWN } }
  })
}
const EXTRA = { authorization: HEADER, cookie: HEADER, 'x-extra': HEADER, 'user-agent': HEADER, traceparent: HEADER }
const FIELDS = { email: EMAIL, name: NAME, [KEY]: { [KEY]: VALUE } }

interface Webhook {
  readonly name: string
  readonly plugin: FastifyPluginAsync<any>
  readonly options: Record<string, unknown>
  readonly handler: string
  /** Name of the option with the secret. */
  readonly secrets: string
  readonly good: unknown
  readonly success: number
  readonly url: string
  readonly event: Record<string, unknown>
  readonly sign: (body: string, timestamp?: number) => Record<string, string>
  readonly signature: string
  /** Events that violate the schema. */
  readonly invalid: readonly object[]
}

const WEBHOOKS: readonly Webhook[] = [
  {
    name: 'altdentifier',
    plugin: altdentifierPlugin,
    options: { secret: WEBHOOK_SECRET, dedupe: 60 },
    handler: 'handleEvent',
    secrets: 'secret',
    good: VALUE,
    success: 204,
    url: '/altdentifier',
    event: { OP: 1, member: { ...MEMBER, username: NAME, ...FIELDS }, guild: { ...GUILD, name: NAME }, ...FIELDS },
    sign: (body) => signAltdentifier({ secret: WEBHOOK_SECRET, body }),
    signature: 'digest',
    invalid: [{ OP: VALUE }, { OP: { [KEY]: VALUE } }, { member: VALUE }, { member: { id: VALUE } }, { guild: [VALUE] }]
  },
  {
    name: 'aghanim',
    plugin: aghanimPlugin,
    options: { secret: WEBHOOK_SECRET, now },
    handler: 'verifyPlayer',
    secrets: 'secret',
    good: { ...PLAYER, name: 'Ada' },
    success: 200,
    url: '/aghanim',
    event: {
      ...VERIFY_EVENT, event_data: { player_id: PLAYER.player_id, ...FIELDS }, idempotency_key: VALUE, context: FIELDS
    },
    sign: (body, timestamp = NOW) => signAghanim({ secret: WEBHOOK_SECRET, body, timestamp }),
    signature: 'x-aghanim-signature',
    invalid: [
      { event_id: { [KEY]: VALUE } }, { event_data: VALUE }, { event_data: { [KEY]: VALUE } }, { sandbox: VALUE },
      { event_type: [VALUE] }, { event_type: VALUE }, { event_data: { player_id: { [KEY]: VALUE } } }
    ]
  },
  {
    name: 'identity-validation',
    plugin: identityValidationPlugin,
    options: { apiKeys: { 'a-key': KYC_SECRET }, now, endpoints: { sessions: SESSIONS } },
    handler: 'handleSession',
    secrets: 'apiKeys',
    good: VALUE,
    success: 204,
    url: SESSIONS,
    event: { session: { id: VALUE, status: VALUE, ...FIELDS }, idempotency_key: VALUE, ...FIELDS },
    sign: (body, timestamp = NOW) =>
      signIdentityValidation({ apiKey: 'a-key', secret: KYC_SECRET, endpoint: SESSIONS, body, timestamp }),
    signature: 'x-signature',
    invalid: [
      { session: VALUE }, { session: [VALUE] }, { session: { id: { [KEY]: VALUE } } }, { idempotency_key: [VALUE] }
    ]
  }
]

const ask = (app: FastifyInstance, request: InjectOptions) => app.inject({ method: 'POST', ...request })

/** A request of a scenario, and its expected answer. */
interface Sent {
  readonly headers?: Record<string, string>
  readonly body?: string | Buffer
  readonly raw?: (url: string) => Buffer
}
interface Scenario {
  readonly name: string
  readonly status: number | readonly number[]
  /** Options that replace or extend those of the webhook. */
  readonly options?: (webhook: Webhook) => Record<string, unknown>
  /** Deliveries sent one after the other; the last answer counts. */
  readonly send: (webhook: Webhook) => readonly Sent[]
  readonly only?: string
}

const signed = ({ sign }: Webhook, body: string | Buffer, headers: Record<string, string> = {}): Sent => {
  const signature = sign(body as string)
  return { headers: { ...signature, ...EXTRA, ...headers }, body }
}
const event = (webhook: Webhook, more: object = {}): Sent =>
  signed(webhook, JSON.stringify({ ...webhook.event, ...more }))
const altered = (webhook: Webhook, headers: Record<string, string>): Sent => {
  const { body, ...sent } = event(webhook)
  return { headers: { ...sent.headers, ...headers }, body: body! }
}
const handled = (handle: () => unknown) => ({ handler }: Webhook) => ({ [handler]: handle })
const stored = (script: Parameters<typeof scriptedStore>[0]) => () => ({ deliveries: scriptedStore(script).store })
const resolved = (resolve: () => unknown) => ({ secrets }: Webhook) => ({ [secrets]: resolve })
const one = (webhook: Webhook): Sent[] => [event(webhook)]

const SCENARIOS: readonly Scenario[] = [
  { name: 'accepted', status: [200, 204], send: one },
  { name: 'replayed', status: [200, 204], send: (webhook) => [event(webhook), event(webhook)] },
  {
    name: 'an id that was used for other content',
    status: [204, 422],
    send: (webhook) => [event(webhook), event(webhook, { event_data: { player_id: 'x', email: EMAIL }, session: null })]
  },
  { name: 'another MAC', status: 403, send: (webhook) => [{ ...event(webhook), body: JSON.stringify(FIELDS) }] },
  {
    name: 'a watcher that throws',
    status: 403,
    options: () => ({ onRejected: failing }),
    send: (webhook) => [{ ...event(webhook), body: JSON.stringify(FIELDS) }]
  },
  ...['digest', 'x-aghanim-signature', 'x-aghanim-signature-timestamp', 'x-api-key', 'x-signature', 'x-timestamp',
    'x-endpoint'].map((name): Scenario => ({
    name: `a canary for ${name}`,
    status: [200, 204, 403],
    send: (webhook) => [altered(webhook, { [name]: HEADER })]
  })),
  { name: 'neither headers nor a body', status: 403, send: () => [{ headers: EXTRA }] },
  {
    name: 'another content type',
    status: 415,
    send: (webhook) => [altered(webhook, { 'content-type': `text/${HEADER}` })]
  },
  {
    name: 'another content coding',
    status: 415,
    send: (webhook) => [altered(webhook, { 'content-encoding': HEADER })]
  },
  {
    name: 'a body over the limit',
    status: 413,
    options: () => ({ bodyLimit: 100 }),
    send: (webhook) => [event(webhook)]
  },
  {
    name: 'a body that does not arrive',
    status: 408,
    options: () => ({ bodyTimeout: 20 }),
    send: (webhook) => {
      const { headers, body } = event(webhook)
      const pairs = [...Object.entries(headers!), ['content-length', '9999']] as [string, string][]
      return [{ raw: (url) => rawRequest(url, pairs, body!) }]
    }
  },
  ...[
    VALUE, `${VALUE}{}`, `{"${KEY}":${VALUE}}`, `{"${KEY}":"${VALUE}`, `["${VALUE}"]`, `"${VALUE}"`,
    `\uFEFF{"${KEY}":"${VALUE}"}`, `{"__proto__":{"${KEY}":"${VALUE}"}}`, `{"constructor":{"prototype":"${VALUE}"}}`,
    Buffer.concat([Buffer.from(`{"${KEY}":"${VALUE}`), Buffer.from([0xff]), Buffer.from('"}')])
  ].map((body): Scenario => ({
    name: `signed, but ${String(body).slice(0, 20)}`,
    status: 400,
    send: (webhook) => [signed(webhook, body)]
  })),
  ...['', 'nested in '].map((kind): Scenario => ({
    name: `${kind}a value that the schema refuses`,
    status: [200, 204, 400],
    send: (webhook) => webhook.invalid.map((more) => event(webhook, kind === '' ? more : { ...more, [KEY]: more }))
  })),
  { name: 'a handler that throws', status: 500, options: handled(failing), send: one },
  { name: 'a handler that rejects', status: 500, options: handled(async () => failing()), send: one },
  { name: 'a handler that throws a string', status: 500, options: handled(() => { throw THROWN }), send: one },
  {
    name: 'a handler over its time',
    status: 503,
    options: (webhook) => ({ handlerTimeout: 10, ...handled(() => new Promise(() => {}))(webhook) }),
    send: one
  },
  ...[
    { ...PLAYER, name: { [KEY]: VALUE } }, { ...PLAYER, country: VALUE }, { ...PLAYER, player_id: VALUE }, VALUE,
    [VALUE], { [KEY]: VALUE }, { ...PLAYER, attributes: { level: VALUE, [KEY]: VALUE } },
    { ...PLAYER, get name () { return failing() } }
  ].map((reply, index): Scenario => ({
    name: `reply ${index} that the schema refuses`, status: 500, options: handled(() => reply), send: one, only: 'aghanim'
  })),
  {
    name: 'a reply with more than the schema names',
    status: 200,
    options: handled(() => ({ ...PLAYER, [KEY]: VALUE, password: VALUE })),
    send: one,
    only: 'aghanim'
  },
  { name: 'a denial', status: 401, options: handled(() => null), send: one, only: 'aghanim' },
  {
    name: 'a denial in its own words',
    status: 403,
    options: handled(() => { throw deny({ statusCode: 403, code: 'banned', message: 'Not you' }) }),
    send: one,
    only: 'aghanim'
  },
  ...[failing, async () => failing()].map((resolve): Scenario => ({
    name: `a resolver, ${resolve}`, status: 503, options: resolved(resolve), send: one
  })),
  ...[() => ({ secret: VALUE }), () => [VALUE, 5], () => VALUE.slice(0, 9)].map((resolve): Scenario => ({
    name: `a resolver with what is no secret, ${resolve}`, status: 403, options: resolved(resolve), send: one
  })),
  { name: 'a resolver with nothing', status: 403, options: resolved(() => ''), send: one },
  { name: 'a claim that throws', status: 503, options: stored({ claim: failing }), send: one },
  {
    name: 'an invalid claim',
    status: 503,
    options: stored({ claim: () => ({ state: VALUE, token: VALUE }) }),
    send: one
  },
  {
    name: 'a completion that rejects',
    status: [200, 204],
    options: stored({ complete: async () => failing() }),
    send: one
  },
  {
    name: 'a release that throws',
    status: 500,
    options: (webhook) => ({ ...stored({ release: failing })(), ...handled(failing)(webhook) }),
    send: one
  },
  {
    name: 'a Redis that refuses, with its address in the error',
    status: 503,
    options: () => ({ deliveries: redisDeliveries({ client: scriptedClient(failing).client, prefix: VALUE }) }),
    send: one
  },
  {
    name: 'a watch that throws',
    status: [200, 204],
    options: () => ({ deliveries: { ...memoryDeliveries(), watch: failing } }),
    send: one
  },
  {
    name: 'a clock that throws',
    status: [204, 500],
    options: () => ({ now: failing }),
    send: one
  }
]

const scanAll = createScan(CANARIES)
/** Creates a scan for all canaries and for strings of a single delivery. */
function scanWith (...more: string[]): (text: string) => string[] {
  const scan = createScan(more)
  return (text) => [...scanAll(text), ...scan(text)]
}

for (const webhook of WEBHOOKS) {
  const scenarios = SCENARIOS.filter(({ only }) => only === undefined || only === webhook.name)

  t.test(`${webhook.name}: over ${scenarios.length} outcomes, no canary in a log or a reply`, async (t) => {
    const { wrong, same: compare } = createTable()
    const { app, lines } = createHost(t)
    for (const [index, { options }] of scenarios.entries()) {
      app.register(webhook.plugin, {
        ...webhook.options, [webhook.handler]: () => webhook.good, ...options?.(webhook), prefix: `/${index}`
      })
    }
    await app.ready()
    compare('registration', scanAll(JSON.stringify(lines.splice(0))), [])
    for (const [index, { name, status, send }] of scenarios.entries()) {
      const said = await play(app, { ...webhook, url: `/${index}${webhook.url}` }, send(webhook))
      const logged = lines.splice(0).map((line) => JSON.stringify(line))
      const expected = [status].flat()
      compare(`${name}: its status`, expected.includes(said.status) ? expected : said.status, expected)
      compare(`${name}: whether it is logged`, logged.length > 0, true)
      for (const text of [...said.replies, ...logged]) compare(`${name}: ${text.slice(0, 900)}`, said.scan(text), [])
    }
    t.strictSame(wrong, [])
  })
}

/** Sends deliveries one after the other, and returns the answers and a scan for everything they contain. */
async function play (app: FastifyInstance, { url, signature }: Webhook, sent: readonly Sent[]) {
  const signatures = sent.map(({ headers }) => headers?.[signature]).filter((text) => text !== undefined)
  const macs = signatures.map((text) => text.replace(/^(?:MD5=|hmac-sha256 )/, '')).filter((text) => text !== HEADER)
  const replies: string[] = []
  let status = 0
  for (const { headers = {}, body, raw } of sent) {
    if (raw === undefined) {
      const reply = await ask(app, { url, headers, ...(body !== undefined && { payload: body }) })
      status = reply.statusCode
      replies.push(`${reply.statusMessage} ${JSON.stringify(reply.headers)} ${reply.body}`)
    } else {
      const { text } = await exchange(app, [raw(url)])
      status = statusOf(text)
      replies.push(text)
    }
  }
  await turn()
  return { status, replies, scan: scanWith(...macs) }
}

// HumanDetect: the guard, its own route, and the API.

const tokenOf = (claims: object = {}): string =>
  issueToken({ secret: TOKEN_SECRET, identifier: EMAIL, human: true, ...claims })
const asked = (token: unknown, more: object = {}) => JSON.stringify({ token, identifier: EMAIL, email: EMAIL, ...more })
const UPSTREAM_FIELDS = { [KEY]: UPSTREAM, email: EMAIL }
/** Returns an answer of the service about the identifier of the request, unless `fields` change it. */
const says = (fields: object = {}) => json(verdict({ identifier: EMAIL, ...UPSTREAM_FIELDS, ...fields }))

const VERDICTS: [what: string, status: number, answer: string | Buffer, options?: object][] = [
  ['a human', 204, says()],
  ['a bot', 403, says({ valid: false })],
  ['another identifier', 403, says({ identifier: UPSTREAM })],
  ['a token that is old', 403, says({ timestamp: '2020-09-22T14:52:11.104-0500' })],
  ['a token that is not known', 403, json(JSON.stringify({ code: 'badRequest', message: UPSTREAM }), 400)],
  ['another 400', 503, json(JSON.stringify({ code: UPSTREAM, message: UPSTREAM }), 400)],
  ['a key that is refused', 503, json(JSON.stringify({ code: 'unauthorized', message: `${SERVICE_KEY} is wrong` }), 401)],
  ['a failure', 503, json(JSON.stringify({ code: 'internalError', message: UPSTREAM }), 500)],
  ['a verdict of another shape', 503, says({ valid: UPSTREAM, version: UPSTREAM })],
  ['a verdict of no time', 503, says({ timestamp: UPSTREAM })],
  ['no JSON', 503, json(`${UPSTREAM} is no JSON`)],
  ['bytes that are not HTTP', 503, `${UPSTREAM}\r\n\r\n`],
  ['a redirect', 503, `HTTP/1.1 302 ${UPSTREAM}\r\nlocation: http://${UPSTREAM}/\r\ncontent-length: 0\r\n\r\n`],
  ['a store that throws', 503, says(), { deliveries: { ...memoryDeliveries(), claim: failing } }],
  ['a clock that throws', 503, says(), { now: failing }],
  ['a handler that throws', 500, says(), { handleResult: failing }],
  ['a reply that the schema refuses', 500, says(), {
    handleResult: () => ({ [KEY]: VALUE, name: { [KEY]: VALUE } }), reply: Type.Object({ name: Type.String() })
  }]
]
const TOKENS: [what: string, status: number, body: string][] = [
  ['a token that is too long', 400, asked(VALUE.repeat(300))],
  ['an invalid token', 400, asked({ [KEY]: VALUE })],
  ['an invalid identifier', 400, JSON.stringify({ token: VALUE, identifier: { [KEY]: VALUE } })],
  ['no JSON', 400, `${VALUE} {"token":`]
]

t.test('HumanDetect: for every answer of the service, no canary in a log or a reply', async (t) => {
  const plays = [
    ...VERDICTS.map(([what, status, answer, options]) => ({ what, status, answer, options, body: asked(tokenOf()) })),
    ...TOKENS.map(([what, status, body]) => ({ what, status, answer: says(), options: {}, body }))
  ]
  const { wrong, same: compare } = createTable()
  for (const { what, status, answer, options, body } of plays) {
    const { port } = await startUpstream(t, [answer])
    const baseUrl = `http://127.0.0.1:${port}`
    const { app, lines } = createHost(t)
    app.register(humandetectPlugin, {
      apiKey: SERVICE_KEY, baseUrl, allowHttp: true, timeout: 2000, handleResult () {}, ...options
    })
    app.register(async (scope) => {
      await scope.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl, allowHttp: true, timeout: 2000 })
      const preHandler = scope.humandetect.requireHuman({ identifier: EMAIL })
      scope.post('/guarded', { preHandler }, async (_request, reply) => { reply.code(204) })
    })
    const scan = scanWith(...TOKEN.exec(body)?.slice(1) ?? [])
    const headers = { 'content-type': 'application/json', ...EXTRA }
    const reply = await ask(app, { url: '/humandetect', headers, payload: body })
    compare(`${what}: its status`, reply.statusCode, status)
    const replies = [reply]
    // The host's own parser, not the plugin, answers a body that is not JSON.
    if (body.startsWith('{')) replies.push(await ask(app, { url: '/guarded', headers, payload: body }))
    for (const { headers, body } of replies) compare(`${what}: ${body}`, scan(JSON.stringify(headers) + body), [])
    compare(`${what}: whether it is logged`, lines.length > 0, true)
    compare(`${what}: ${JSON.stringify(lines).slice(0, 900)}`, scan(JSON.stringify(lines)), [])
  }
  t.strictSame(wrong, [])
})
const TOKEN = /"token":"([^"]{20,})"/

t.test('the Token Verification API: for all its outcomes, no canary in a log or a refusal', async (t) => {
  const results: [what: string, verifyToken: (token: string) => any][] = [
    ['opens it', (token) => openToken({ secret: TOKEN_SECRET, token })],
    ['knows none', () => null],
    ['throws', failing],
    ['rejects', async () => failing()],
    ['returns another shape', () => ({ valid: VALUE, identifier: { [KEY]: VALUE }, timestamp: VALUE })],
    ['returns no time', () => ({ valid: true, identifier: EMAIL, timestamp: VALUE, checksum: VALUE, version: 1 })],
    ['never ends', () => new Promise(() => {})]
  ]
  const key = { 'x-api-key': SERVICE_KEY }
  const sent: [what: string, headers: Record<string, string>, body: string][] = [
    ['a token', key, asked(tokenOf())],
    ['a token of nobody', key, asked(VALUE)],
    ['no token', key, JSON.stringify({ [KEY]: VALUE, token: [VALUE] })],
    ['no JSON', key, `${VALUE} {"token":`],
    ['a wrong key', { 'x-api-key': HEADER }, asked(tokenOf())],
    ['no key', {}, asked(tokenOf())],
    ['another content type', { ...key, 'content-type': `text/${HEADER}` }, VALUE]
  ]
  const { wrong, same: compare } = createTable()
  for (const [how, verifyToken] of results) {
    const { app, lines } = createHost(t)
    app.register(humandetectApiPlugin, { apiKeys: [SERVICE_KEY], verifyToken, handlerTimeout: 20, onRejected: failing })
    await app.listen({ port: 0, host: '127.0.0.1' })
    for (const [what, headers, body] of sent) {
      const scan = scanWith(...TOKEN.exec(body)?.slice(1) ?? [])
      const reply = await ask(app, {
        url: '/v1/humandetect/verify', headers: { 'content-type': 'application/json', ...EXTRA, ...headers }, payload: body
      })
      await turn()
      const text = JSON.stringify(lines.splice(0))
      compare(`${how}, ${what}: ${text}`, scan(text), [])
      if (reply.statusCode === 200) continue // the answer to a valid request contains the contents of its token
      compare(`${how}, ${what}: ${reply.body}`, scan(JSON.stringify(reply.headers) + reply.body), [])
    }
  }
  t.strictSame(wrong, [])
})

// Printable objects. An options object contains the secret that its owner put there, and Fastify keeps that object:
// printing it or a whole Fastify instance prints the secret. Objects made by the plugins show none.

const SEEN = { depth: null, showHidden: true, getters: true, maxArrayLength: null, maxStringLength: null }
const shown = (value: unknown): string[] =>
  scanAll(inspect(value, SEEN) + String((Object(value) as Error).stack))

t.test('an error at registration shows no value of an option', async (t) => {
  const plugins: [plugin: FastifyPluginAsync<any>, valid: object, secrets: string][] = [
    ...WEBHOOKS.map(({ plugin, options, handler, secrets }): [FastifyPluginAsync<any>, object, string] =>
      [plugin, { ...options, [handler]: () => {} }, secrets]),
    [humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl: 'https://localhost', handleResult () {} }, 'apiKey'],
    [humandetectApiPlugin, { apiKeys: [SERVICE_KEY], verifyToken: () => null }, 'apiKeys']
  ]
  const bad = [VALUE, [VALUE], { member: VALUE }, Buffer.from(VALUE), new Map([[VALUE, VALUE]]), new Error(VALUE), '']
  const weak = [
    `${WEBHOOK_SECRET} `, [WEBHOOK_SECRET, WEBHOOK_SECRET], [WEBHOOK_SECRET, ''], Array(5).fill(WEBHOOK_SECRET), 'canary',
    { 'a-key': `${KYC_SECRET}=` }, { 'a-key': 'canary' }, { 'canary,key': KYC_SECRET }, { 'a-key': [KYC_SECRET, KYC_SECRET] },
    `${SERVICE_KEY} `, `${SERVICE_KEY}\n`, [SERVICE_KEY, SERVICE_KEY], [`${SERVICE_KEY}, `], 5
  ]
  // All options except `logLevel`, whose value Fastify itself names.
  const names = ['path', 'prefix', 'paths', 'endpoints', 'schemas', 'tolerance', 'now', 'bodyLimit', 'deliveries', 'lease',
    'onRejected', 'keyId', 'httpSignature', 'dedupe', 'eventData', 'baseUrl', 'timeout', 'reply', 'allowHttp', 'maxAge',
    'logSerializers', 'handleEvent', 'verifyPlayer', 'handleSession', 'verifyToken', 'handleResult']
  let refused = 0
  const { wrong, same: compare } = createTable()
  for (const [plugin, valid, secrets] of plugins) {
    const given = [...weak.map((secret) => ({ [secrets]: secret })), ...names.flatMap((name) => bad.map((value) =>
      ({ [name]: value })))]
    const { app, lines } = createHost(t, { pluginTimeout: 0 })
    let tried = 0
    for (const [index, options] of given.entries()) {
      app.register(async (scope) => {
        scope.register(plugin, { ...valid, ...options })
        scope.after((error) => { // keeps the error from reaching the root
          tried++
          if (error) refused++
          const name = Object.keys(options)[0]!
          compare(`${name}: ${error?.message}`, shown(error), [])
          compare(`${name}: ${JSON.stringify(lines)}`, shown(lines.splice(0)), [])
        })
      }, { prefix: `/${index}` })
    }
    await app.ready()
    t.equal(tried, given.length)
  }
  t.strictSame(wrong, [])
  t.ok(refused > 500, `${refused} were refused`)
})

t.test('objects that a host receives show no secret when they are printed', async (t) => {
  const deliveries = memoryDeliveries()
  const seen: unknown[] = []
  for (const webhook of WEBHOOKS) {
    const { app } = createHost(t)
    const handler = (_event: unknown, { server }: { server: FastifyInstance }) => {
      seen.push(Reflect.get(server, webhook.handler))
      return webhook.good
    }
    app.register(webhook.plugin, { ...webhook.options, deliveries, [webhook.handler]: handler })
    const { headers, body } = event(webhook, { count: 1 })
    const { statusCode } = await ask(app, { url: webhook.url, headers: headers!, payload: body! })
    t.equal(statusCode, webhook.success)
  }
  const { app } = createHost(t)
  const { baseUrl } = await startUpstream(t, [json('{}', 401)])
  await app.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl, allowHttp: true, deliveries })
  const token = tokenOf()
  seen.push(
    deliveries, app.humandetect, app.humandetect.requireHuman({ identifier: EMAIL }),
    await app.humandetect.verify(token, { identifier: EMAIL }).catch((error: unknown) => error),
    redisDeliveries({ client: scriptedClient().client })
  )
  const [alt, agh, kyc] = WEBHOOKS.map((webhook) => event(webhook))
  const body = (sent: Sent) => Buffer.from(sent.body as string)
  seen.push(
    verifyAltdentifier({ secret: WEBHOOK_SECRET, headers: alt!.headers!, body: body(alt!) }),
    verifyAghanim({ secret: WEBHOOK_SECRET, headers: agh!.headers!, body: body(agh!), now }),
    verifyIdentityValidation({
      apiKeys: { 'a-key': KYC_SECRET }, endpoint: SESSIONS, headers: kyc!.headers!, body: body(kyc!), now
    }),
    verifyAghanim({ secret: WEBHOOK_SECRET, headers: alt!.headers!, body: body(alt!), now })
  )
  t.strictSame(seen.filter((value) => shown(value).length > 0), [])
  t.equal(seen.length, 12)
  for (const misuse of [
    () => verifyAghanim({ secret: 'canary', headers: {}, body: body(agh!), now, tolerance: -1 }),
    () => verifyAghanim({ secret: [WEBHOOK_SECRET, WEBHOOK_SECRET], headers: {}, body: body(agh!) }),
    () => signIdentityValidation({ apiKey: 'a', secret: VALUE, endpoint: '/', body: '' }),
    () => issueToken({ secret: 'canary', identifier: EMAIL, human: true }),
    () => openToken({ secret: 'canary', token: VALUE }),
    () => openToken({ secret: TOKEN_SECRET, token: [VALUE] as never }),
    () => deny({ message: [VALUE] as never })
  ]) {
    try {
      misuse()
      t.fail('this call must throw')
    } catch (error) {
      t.strictSame(shown(error), [], String(error))
    }
  }
})

// A single answer for every delivery that is not authentic.

/** Reasons that every provider has. */
const REASONS = ['duplicate_header', 'malformed_header', 'mismatch', 'missing_header', 'no_body']

const isRefused = (attack: object): attack is Attack =>
  'change' in attack && (attack as Attack).outcome.startsWith('403')

for (const target of TARGETS) {
  const themes = THEMES.map(({ attacks, options, server }) =>
    ({ causes: attacks(target).filter(isRefused), options, server }))
  const causes = themes.reduce((sum, { causes }) => sum + causes.length, 0)

  t.test(`${target.name}: ${causes} causes of a 403 and one answer, to the byte and beyond`, async (t) => {
    const reasons = new Set<string>()
    const onRejected = ({ reason }: RejectedDelivery) => { reasons.add(reason) }
    const answers = new Map<string, string>()
    const { wrong, same: compare } = createTable()
    let count = 0
    const make = () => deliveryOf(target, `id-${count++}`)
    for (const { causes, options, server } of themes) {
      const { app } = createReceiver(t, target.keyed, undefined, { ...options, onRejected }, server)
      const sent = causes.flatMap(({ name, change }) => {
        const delivery = make()
        const changes = [change(delivery)].flat()
        return [...new Set([changes[0]!, changes.at(-1)!])].map((one) => ({ name, delivery: { ...delivery, ...one } }))
      })
      while (sent.length > 0) { // many on one socket, each followed by an honest delivery
        const some = sent.splice(0, 25)
        const { text } = await exchange(app, [Buffer.concat([
          ...some.flatMap(({ delivery }) => [requestBytes(delivery), requestBytes(make())]),
          requestBytes(make(), CLOSE)
        ])])
        const replies = text.split('HTTP/1.1 ').slice(1)
        for (const [index, { name }] of some.entries()) {
          const [first = '', second = ''] = replies.slice(2 * index)
          answers.set(first.replace(/\r\nDate: [^\r]*/, '\r\nDate: '), name)
          compare(`${name}: the next delivery on its socket`, second.slice(0, 3), String(target.success))
        }
      }
    }
    t.strictSame(wrong, [])
    t.strictSame([...reasons].sort(), [...REASONS, ...target.timestamp === undefined ? [] : ['future', 'stale'],
      ...target.required.includes('x-endpoint') ? ['unknown_key', 'wrong_endpoint'] : []].sort(), 'all reasons')
    t.strictSame([...answers.keys()], [[
      '403 Forbidden', 'content-type: application/json; charset=utf-8', 'content-length: 116', 'Date: ',
      'Connection: keep-alive', 'Keep-Alive: timeout=72', '',
      FORBIDDEN
    ].join('\r\n')], [...answers.values()].join(', '))
  })
}

t.test('no promise was rejected without being handled', async (t) => {
  await turn()
  t.strictSame(rejections, [])
})
