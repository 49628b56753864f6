import type { FastifyInstance } from 'fastify'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import {
  aghanimPlugin, deny, humandetectApiPlugin, memoryDeliveries, type DeliveryReport, type Reason, type WebhookOptions
} from '../../plugins/index.js'
import { enqueue } from '../../plugins/queue.js'
import { API_KEY, NOW, now, PROVIDERS, SECRET, VERIFY_EVENT, bodyOf, type ProviderCase } from '../support/deliveries.js'
import { tableOf } from '../support/docs.js'
import { read } from '../support/project.js'
import { queueThat } from '../support/scripted-queue.js'
import { createHost, exchange, listen, NO_REQUEST_LOG, portOf, rawRequest, type Line, type Test } from '../support/host.js'
import { createGuardedHost, IDENTIFIER, mint, startService, TOKEN_SECRET } from '../support/humandetect.js'
import { createReceiver, ITEM, MEMBER_EVENT, SESSION, VERIFY } from '../support/life-cycle.js'
import { gateOf, until } from '../support/waiting.js'
import { countsOf, watch } from '../support/watch.js'

const [ALTDENTIFIER, AGHANIM, IDENTITY] = PROVIDERS as [ProviderCase, ProviderCase, ProviderCase]
const OTHER = 'another secret of thirty-two bytes'

/** Causes an outcome, the last one if it causes several, and returns the log of the host. */
type Cause = (test: Test) => Promise<readonly Line[]>

interface Case {
  readonly name: string
  readonly told: Pick<DeliveryReport, 'provider' | 'outcome' | 'reason'> & Partial<DeliveryReport>
  /** Log level: debug 20, info 30, warn 40, error 50. */
  readonly level: number
  readonly cause: Cause
}

/** Creates a host with one webhook. */
function receive (test: Test, provider: ProviderCase, options: WebhookOptions & Record<string, unknown> = {}) {
  const { app, lines } = createHost(test)
  provider.register(app, [], options)
  const send = (body: string | Buffer, headers: Record<string, string> = provider.sign(body)) =>
    app.inject({ method: 'POST', url: provider.url, headers, payload: body })
  return { app, lines, send }
}

/** Sends one delivery to a host with one webhook. */
const sent = (
  provider: ProviderCase, options: WebhookOptions & Record<string, unknown>, body: string | Buffer,
  change: (headers: Record<string, string>) => Record<string, string> = (headers) => headers
): Cause => async (test) => {
  const { lines, send } = receive(test, provider, options)
  await send(body, change(provider.sign(body)))
  return lines
}
const aghanim = (options: Record<string, unknown>, event: object = VERIFY_EVENT) =>
  sent(AGHANIM, options, JSON.stringify(event))
const fail = () => { throw new Error('canary') }

/** Writes a request to the player.verify route over a raw socket. */
const written = (options: Record<string, unknown>, headers: [string, string][], body = '{}'): Cause => async (test) => {
  const { app, lines } = receive(test, AGHANIM, options)
  await exchange(app, [rawRequest('/aghanim', headers, body)])
  return lines
}

const rejection = (reason: Reason, more: Partial<Case['told']> = {}, level = 30) =>
  ({ level, told: { provider: 'aghanim', outcome: 'rejected', reason, path: '/aghanim', status: 403, ...more } }) as const
const without = (name: string) => (headers: Record<string, string>) => {
  const { [name]: _, ...rest } = headers
  return rest
}
const failure = (reason: Reason, status: number) =>
  ({ level: 50, told: { provider: 'aghanim', outcome: 'failed', reason, status } }) as const
const BODY = bodyOf(AGHANIM)
const BYTES = Buffer.byteLength(BODY)

const WEBHOOKS: readonly Case[] = [
  ...PROVIDERS.map((provider): Case => ({
    name: `${provider.name}: handled`,
    level: 20,
    told: {
      provider: provider.name,
      outcome: 'accepted',
      reason: 'handled',
      path: provider.url,
      status: provider.success,
      bytes: Buffer.byteLength(bodyOf(provider)),
      secretIndex: 0,
      requestId: 'req-1',
      ...(provider === IDENTITY && { keyId: API_KEY })
    },
    cause: sent(provider, {}, bodyOf(provider))
  })),
  {
    name: 'handled, signed by the second of two secrets',
    level: 20,
    told: { provider: 'aghanim', outcome: 'accepted', reason: 'handled', secretIndex: 1 },
    cause: aghanim({ secret: [OTHER, SECRET] })
  },
  {
    name: 'an OP that is not known',
    level: 40,
    told: { provider: 'altdentifier', outcome: 'accepted', reason: 'acknowledged', status: 204 },
    cause: sent(ALTDENTIFIER, {}, '{"OP":9}')
  },
  ...[VERIFY, ITEM, SESSION, MEMBER_EVENT].map((keyed): Case => ({
    name: `${keyed.name}: sent again`,
    level: 30,
    told: {
      provider: keyed.provider.name, outcome: 'duplicate', reason: 'replayed', status: keyed.provider.success, secretIndex: 0
    },
    async cause (test) {
      const { deliver, lines } = createReceiver(test, keyed)
      await deliver()
      await deliver()
      return lines
    }
  })),
  {
    name: 'sent again while it is handled',
    level: 30,
    told: { provider: 'aghanim', outcome: 'duplicate', reason: 'in_progress', status: 503 },
    async cause (test) {
      const gate = gateOf<unknown>()
      const { deliver, lines, events } = createReceiver(test, VERIFY, () => gate.promise)
      const first = deliver()
      await until(() => events.length === 1)
      await deliver()
      const seen = [...lines]
      test.teardown(() => first)
      gate.resolve(VERIFY.good)
      return seen
    }
  },
  {
    name: 'an id that was used for other content',
    level: 40,
    told: { provider: 'aghanim', outcome: 'rejected', reason: 'id_reused', status: 422 },
    async cause (test) {
      const { deliver, send, lines } = createReceiver(test, VERIFY)
      await deliver()
      await send(VERIFY.altered!('id-1'))
      return lines
    }
  },
  ...[() => null, () => { throw deny({ statusCode: 401 }) }].map((verifyPlayer): Case => ({
    name: `denied by ${verifyPlayer}`,
    level: 30,
    told: { provider: 'aghanim', outcome: 'denied', reason: 'denied', status: 401 },
    cause: aghanim({ verifyPlayer })
  })),
  {
    name: 'no signature',
    ...rejection('missing_header', { bytes: BYTES }),
    cause: sent(AGHANIM, {}, BODY, without('x-aghanim-signature'))
  },
  {
    name: 'two signatures',
    ...rejection('duplicate_header'),
    cause: (test) => written({}, [
      ['Content-Type', 'application/json'], ['Content-Length', '2'], ['X-Aghanim-Signature', 'a'],
      ['x-aghanim-signature', 'b'], ['X-Aghanim-Signature-Timestamp', String(NOW)], ['Connection', 'close']
    ])(test)
  },
  {
    name: 'a signature that is not hex',
    ...rejection('malformed_header'),
    cause: sent(AGHANIM, {}, BODY, (headers) => ({ ...headers, 'x-aghanim-signature': 'x' }))
  },
  {
    name: 'signed long ago',
    ...rejection('stale', { ageSeconds: 301 }, 40),
    cause: aghanim({ now: () => now() + 301_000 })
  },
  {
    name: 'signed ahead of time',
    ...rejection('future', { ageSeconds: -61 }),
    cause: aghanim({ now: () => now() - 61_000 })
  },
  {
    name: 'an api-key that is not known',
    ...rejection('unknown_key', { provider: 'identity-validation', path: IDENTITY.url }),
    cause: sent(IDENTITY, {}, bodyOf(IDENTITY), (headers) => ({ ...headers, 'x-api-key': 'other' }))
  },
  {
    name: 'the endpoint of somebody else',
    ...rejection('wrong_endpoint', { provider: 'identity-validation', path: IDENTITY.url }),
    cause: sent(IDENTITY, {}, bodyOf(IDENTITY), (headers) => ({ ...headers, 'x-endpoint': '/other' }))
  },
  { name: 'signed with another secret', ...rejection('mismatch', { bytes: BYTES }), cause: aghanim({ secret: OTHER }) },
  {
    name: 'signed with another secret of a known api-key',
    ...rejection('mismatch', { provider: 'identity-validation', path: IDENTITY.url, keyId: API_KEY }),
    cause: sent(IDENTITY, { apiKeys: { [API_KEY]: Buffer.alloc(32, 1).toString('base64') } }, bodyOf(IDENTITY))
  },
  {
    name: 'no body',
    ...rejection('no_body', { bytes: 0 }),
    async cause (test) {
      const { app, lines } = receive(test, AGHANIM)
      await app.inject({ method: 'POST', url: '/aghanim' })
      return lines
    }
  },
  {
    name: 'no JSON by its type',
    ...rejection('unsupported_media_type', { status: 415, bytes: 0 }),
    cause: sent(AGHANIM, {}, BODY, (headers) => ({ ...headers, 'content-type': 'text/plain' }))
  },
  { name: 'too large', ...rejection('body_too_large', { status: 413, bytes: 0 }), cause: sent(AGHANIM, { bodyLimit: 10 }, BODY) },
  {
    name: 'too slow',
    ...rejection('body_timeout', { status: 408, bytes: 0 }),
    cause: written({ bodyTimeout: 10 }, [['Content-Type', 'application/json'], ['Content-Length', '3']])
  },
  {
    name: 'an unsupported transfer coding',
    ...rejection('bad_request', { status: 400 }),
    cause: written({}, [
      ['Content-Type', 'application/json'], ['Transfer-Encoding', 'gzip, chunked'], ['Connection', 'close']
    ], '0\r\n\r\n')
  },
  {
    name: 'a body whose sender disconnects',
    ...rejection('bad_request', { status: 400, bytes: 0 }),
    async cause (test) {
      const { app, lines } = receive(test, AGHANIM)
      await listen(app)
      const socket = connect(portOf(app), '127.0.0.1')
      const headers = Object.entries(AGHANIM.sign(BODY))
      socket.write(rawRequest(AGHANIM.url, [...headers, ['content-length', '50']], '{"cut":'))
      const [request] = await once(app.server, 'request')
      await until(() => request.socket.bytesRead > 0 && request.readableFlowing === true)
      socket.resetAndDestroy()
      await until(() => lines.some(({ msg }) => msg === 'delivery rejected'))
      return lines
    }
  },
  { name: 'signed, but no JSON', ...rejection('invalid_json', { status: 400, secretIndex: 0 }), cause: sent(AGHANIM, {}, '{') },
  { name: 'signed, but no event', ...rejection('invalid_payload', { status: 400 }), cause: aghanim({}, {}) },
  {
    name: 'an event without a handler',
    ...rejection('unknown_event', { status: 400 }),
    cause: aghanim({}, { ...VERIFY_EVENT, event_type: 'item.add' })
  },
  { name: 'a handler that fails', ...failure('handler_failed', 500), cause: aghanim({ verifyPlayer: fail }) },
  { name: 'an invalid reply', ...failure('invalid_reply', 500), cause: aghanim({ verifyPlayer: () => true }) },
  {
    name: 'a handler that is too slow',
    ...failure('handler_timeout', 503),
    cause: aghanim({ verifyPlayer: () => new Promise(() => {}), handlerTimeout: 1 })
  },
  {
    name: 'a store that fails',
    ...failure('store_unavailable', 503),
    cause: aghanim({ deliveries: { ...memoryDeliveries(), claim: fail } }, { ...VERIFY_EVENT, idempotency_key: 'key' })
  },
  { name: 'a resolver that fails', ...failure('secret_unavailable', 503), cause: aghanim({ secret: fail }) },
  {
    name: 'a queue that fails',
    ...failure('queue_unavailable', 503),
    cause: aghanim({ handleEvent: enqueue(queueThat(fail)) }, { ...VERIFY_EVENT, event_type: 'item.add' })
  },
  {
    name: 'an event that is nested too deep for a queue',
    ...rejection('not_serializable', { status: 400 }),
    cause: sent(AGHANIM, { handleEvent: enqueue(queueThat(async (_name, data) => JSON.stringify(data))) },
      JSON.stringify({ ...VERIFY_EVENT, event_type: 'item.add', deep: 0 })
        .replace('"deep":0', `"deep":${'['.repeat(25_000)}${']'.repeat(25_000)}`))
  },
  { name: 'a clock that fails', ...failure('verification_failed', 500), cause: aghanim({ now: fail }) },
  {
    name: 'a hook of the host that fails',
    ...failure('internal_error', 500),
    async cause (test) {
      const { app, lines, send } = receive(test, AGHANIM)
      app.addHook('preHandler', async () => fail())
      await send(BODY)
      return lines
    }
  }
]

/** Creates a guarded host, posts these bodies to it, and returns its log. */
async function guard (test: Test, options: object, ...bodies: object[]) {
  const { baseUrl } = await startService(test)
  const { app, lines } = await createGuardedHost(test, baseUrl, options)
  for (const payload of bodies) await app.inject({ method: 'POST', url: '/signup', payload })
  return lines
}
const signup = (token: unknown, email: unknown = IDENTIFIER) => ({ email, token })

const TOKENS: readonly [reason: Reason, bodies: () => object[], options?: object][] = [
  ['token_required', () => [signup(undefined)]],
  ['no_identifier', () => [signup(mint(), '')]],
  ['malformed_token', () => [signup('x')]],
  ['bot', () => [signup(mint({ human: false }))]],
  ['other_identifier', () => [signup(mint(), 'eve@example.com')]],
  ['stale', () => [signup(mint({ timestamp: new Date(0) }))]],
  ['future', () => [signup(mint({ timestamp: new Date(Date.now() + 1e9) }))]],
  ['used', () => Array(2).fill(signup(mint()))],
  ['service_unavailable', () => [signup(mint())], { apiKey: 'canary-of-another' }],
  ['store_unavailable', () => [signup(mint())], { deliveries: { ...memoryDeliveries(), claim: fail } }],
  ['verification_failed', () => [signup(mint())], { now: fail }]
]

const GUARDED: readonly Case[] = [
  ...TOKENS.map(([reason, bodies, options = {}]): Case => {
    const failed = /_unavailable|_failed/.test(reason)
    const status = failed ? 503 : reason === 'token_required' ? 400 : 403
    const outcome = failed ? 'failed' : 'rejected'
    return {
      name: `a token: ${reason}`,
      level: failed ? 50 : 30,
      told: { provider: 'humandetect', outcome, reason, path: '/signup', status },
      cause: (test) => guard(test, options, ...bodies())
    }
  }),
  {
    name: 'a human at a guarded route, whose answer is its own',
    level: 20,
    told: { provider: 'humandetect', outcome: 'accepted', reason: 'handled', path: '/signup', status: undefined! },
    cause: (test) => guard(test, {}, signup(mint()))
  },
  ...[[mint, 'accepted', 'handled', 20], [() => 'x', 'rejected', 'malformed_token', 30]].map(
    ([token, outcome, reason, level]): Case => ({
      name: `verify(): ${reason}`,
      level: level as number,
      told: { provider: 'humandetect', outcome, reason, path: '', requestId: '', bytes: 0 } as Case['told'],
      async cause (test) {
        const { baseUrl } = await startService(test)
        const { app, lines } = await createGuardedHost(test, baseUrl)
        await app.humandetect.verify((token as () => string)(), { identifier: IDENTIFIER }).catch(() => {})
        return lines
      }
    })),
  ...[[mint, 204, 'accepted', 'handled', 20], [() => 'x', 403, 'rejected', 'malformed_token', 30]].map(
    ([token, status, outcome, reason, level]): Case => ({
      name: `the route of the plugin: ${reason}`,
      level: level as number,
      told: { provider: 'humandetect', outcome, reason, status, path: '/humandetect' } as Case['told'],
      async cause (test) {
        const { baseUrl } = await startService(test)
        const { app, lines } = await createGuardedHost(test, baseUrl, { handleResult () {} })
        const payload = { token: (token as () => string)(), identifier: IDENTIFIER }
        await app.inject({ method: 'POST', url: '/humandetect', payload })
        return lines
      }
    })),
  ...[['x', 400, 'malformed_token', {}], ['x', 401, 'unknown_key', { 'x-api-key': 'other' }]].map(
    ([token, status, reason, headers]): Case => ({
      name: `the Token Verification API: ${reason}`,
      level: 30,
      told: {
        provider: 'humandetect-api', outcome: 'rejected', reason, status, path: '/v1/humandetect/verify'
      } as Case['told'],
      async cause (test) {
        const { app, lines } = createHost(test)
        app.register(humandetectApiPlugin, { apiKeys: [TOKEN_SECRET.replaceAll(' ', '')], verifyToken: () => null })
        const key = { 'x-api-key': TOKEN_SECRET.replaceAll(' ', ''), ...headers as object }
        await app.inject({ method: 'POST', url: '/v1/humandetect/verify', headers: key, payload: { token } })
        return lines
      }
    }))
]

/** All reasons. A new one does not compile until it is listed here, and fails until a case above causes it. */
const REASONS: Readonly<Record<Reason, true>> = {
  handled: true,
  acknowledged: true,
  replayed: true,
  in_progress: true,
  denied: true,
  missing_header: true,
  duplicate_header: true,
  malformed_header: true,
  stale: true,
  future: true,
  unknown_key: true,
  wrong_endpoint: true,
  mismatch: true,
  no_body: true,
  unsupported_media_type: true,
  body_too_large: true,
  body_timeout: true,
  bad_request: true,
  invalid_json: true,
  invalid_payload: true,
  unknown_event: true,
  id_reused: true,
  not_serializable: true,
  token_required: true,
  no_identifier: true,
  malformed_token: true,
  bot: true,
  other_identifier: true,
  used: true,
  handler_failed: true,
  handler_timeout: true,
  invalid_reply: true,
  store_unavailable: true,
  secret_unavailable: true,
  queue_unavailable: true,
  verification_failed: true,
  service_unavailable: true,
  internal_error: true
}

const CASES = [...WEBHOOKS, ...GUARDED]

t.test('every reason has a case', async (t) => {
  t.strictSame([...new Set(CASES.map(({ told }) => told.reason))].sort(), Object.keys(REASONS).sort())
})

t.test('docs/diagnostics.md lists each of them, with its outcome and status', async (t) => {
  const rows = tableOf(read('docs/diagnostics.md'), '## Outcomes and reasons')
  t.strictSame(rows.map(([, reason]) => reason).sort(), Object.keys(REASONS).sort())
  const answered = CASES.filter(({ told: { status } }) => status !== undefined)
  const wrong = answered.filter(({ told: { outcome, reason, status } }) => {
    const row = rows.find((row) => row[0] === outcome && row[1] === reason)
    return !row?.[2]!.split(', ').some((text) => text === `${status}` || text === `${status}`.replace(/..$/, 'xx'))
  })
  t.strictSame(wrong.map(({ name, told: { status } }) => `${name} (${status})`), [])
})

for (const { name, told, level, cause } of CASES) {
  t.test(`channel, metrics and log agree: ${name}`, async (t) => {
    const { reports, registry } = watch(t)
    const lines = await cause(t)
    const { provider, outcome, reason } = told
    const theirs = reports.filter((report) => report.provider === provider)
    const report = theirs.at(-1)!
    t.match(report, told)
    t.ok(report.duration >= 0 && report.duration < performance.now(), `${report.duration} ms`)
    t.equal(theirs.filter((one) => one.reason === reason).length, 1, 'one message')

    const logged = lines.filter((line) => line.provider === provider && line.reason === reason)
    t.equal(logged.length, 1, 'one line')
    t.match(logged[0], { level, msg: `delivery ${outcome}`, provider, reason, path: report.path })
    t.equal(logged[0]!.statusCode, report.status)
    for (const field of ['secretIndex', 'keyId', 'ageSeconds', 'delivery'] as const) t.equal(logged[0]![field], report[field])

    const counted = `provider=${provider},outcome=${outcome},reason=${reason}: 1`
    t.ok((await countsOf(registry, 'fastify_verification_deliveries_total')).includes(counted), counted)
  })
}

t.test('a guard that finds its token outside of the body reports on requests without one', async (t) => {
  const { reports } = watch(t)
  const { baseUrl } = await startService(t)
  const { app } = await createGuardedHost(t, baseUrl)
  const guard = app.humandetect.requireHuman({ identifier: IDENTIFIER, token: ({ headers }) => headers['x-token'] })
  app.get('/guarded', { preHandler: guard }, async () => ({}))
  app.setNotFoundHandler({ preHandler: guard }, (_request, reply) => { reply.code(404).send({}) })
  t.equal((await app.inject({ url: '/guarded', headers: { 'x-token': mint() } })).statusCode, 200)
  t.equal((await app.inject({ url: '/nowhere', headers: { 'x-token': mint() } })).statusCode, 404)
  t.match(reports.filter(({ provider }) => provider === 'humandetect'), [
    { outcome: 'accepted', path: '/guarded', bytes: 0 }, { outcome: 'accepted', path: '', bytes: 0 }
  ])
})

t.test('copies have the same hash, other deliveries another, and deliveries that are handled each time none', async (t) => {
  const { reports } = watch(t)
  const { deliver, send } = createReceiver(t, VERIFY)
  for (const id of ['a', 'b', 'a']) await deliver(id)
  await send(VERIFY_EVENT)
  const [first, second, copy, unkeyed] = reports.map(({ delivery }) => delivery)
  t.match(first, /^[\w-]{43}$/)
  t.equal(copy, first)
  t.not(second, first)
  t.equal(unkeyed, undefined)
})

t.test('a hook of the host that fails after the handler is reported as well', async (t) => {
  const { reports } = watch(t)
  const { app, send } = receive(t, AGHANIM)
  let sends = 0
  app.addHook('onSend', async () => { if (++sends === 1) fail() })
  t.equal((await send(BODY)).statusCode, 500)
  t.strictSame(reports.map(({ outcome, reason, status }) => [outcome, reason, status]), [
    ['accepted', 'handled', 200], ['failed', 'internal_error', 500]
  ])
})

t.test('a request that a hook of the host refuses before the plugin sees it is reported as well', async (t) => {
  const { reports } = watch(t)
  const { app } = createHost(t)
  app.addHook('onRequest', async () => { throw Object.assign(new Error('canary'), { statusCode: 429 }) })
  AGHANIM.register(app, [])
  t.equal((await app.inject({ method: 'POST', url: '/aghanim', payload: {} })).statusCode, 429)
  t.match(reports, [{ outcome: 'rejected', reason: 'bad_request', status: 429, duration: 0, bytes: 0 }])
})

t.test('listeners can subscribe at any time; without one an accepted delivery logs nothing at info', async (t) => {
  const { app, lines } = createHost(t, { logger: { level: 'info' }, ...NO_REQUEST_LOG })
  AGHANIM.register(app, [])
  const send = () => app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM.sign(BODY), payload: BODY })
  await app.ready()
  lines.length = 0
  await send()
  t.strictSame(lines, [])
  await t.test('with one', async (t) => {
    const { reports } = watch(t)
    await send()
    t.equal(reports.length, 1)
  })
  t.equal((await send()).statusCode, 200)
})

t.test('a logger that cannot tell, or throws instead of telling, if a level is enabled is called', async (t) => {
  const asked: string[] = []
  const note = (level: string) => (details: unknown, message?: unknown) => { asked.push(`${level} ${message ?? details}`) }
  for (const more of [{}, { isLevelEnabled: fail }]) {
    asked.length = 0
    const loggerInstance = {
      ...Object.fromEntries(['fatal', 'error', 'warn', 'info', 'debug', 'trace'].map((level) => [level, note(level)])),
      level: 'debug',
      silent () {},
      child: () => loggerInstance,
      ...more
    } as any
    const { app } = createHost(t, { loggerInstance, ...NO_REQUEST_LOG })
    AGHANIM.register(app as unknown as FastifyInstance, [])
    await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM.sign(BODY), payload: BODY })
    t.ok(asked.includes('debug delivery accepted'))
  }
})

t.test('onRejected receives the report of the channel, and only for deliveries that are not authentic', async (t) => {
  const { reports } = watch(t)
  const seen: unknown[] = []
  const { send } = receive(t, AGHANIM, {
    onRejected: (report: DeliveryReport) => {
      seen.push(report)
      Object.assign(report, { outcome: 'accepted', status: 200, ok: true })
    }
  })
  for (const body of ['{', '{}', BODY]) await send(body)
  t.strictSame(seen, [])
  t.equal((await send(BODY, { ...AGHANIM.sign(BODY), 'x-aghanim-signature': 'x' })).statusCode, 403)
  t.strictSame(seen, reports.slice(-1))
})

t.test("a store's calls are reported by method and result, synchronous or not", async (t) => {
  const base = memoryDeliveries()
  const later = {
    claim: async (...args: Parameters<typeof base.claim>) => base.claim(...args),
    complete: async (...args: Parameters<typeof base.complete>) => base.complete(...args),
    release: async (...args: Parameters<typeof base.release>) => base.release(...args)
  }
  for (const [name, deliveries] of [['at once', memoryDeliveries()], ['later', later]] as const) {
    const { calls, registry } = watch(t)
    const { app } = createHost(t)
    let work = fail as () => any
    app.register(aghanimPlugin, { secret: SECRET, now, deliveries, verifyPlayer: () => work() })
    const deliver = (more: object = {}) => {
      const body = JSON.stringify({ ...VERIFY_EVENT, idempotency_key: 'key', ...more })
      return app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM.sign(body), payload: body })
    }
    await deliver()
    work = () => VERIFY.good
    await deliver()
    await deliver()
    await deliver({ event_data: { player_id: 'p', more: 1 } })
    t.strictSame(calls.map(({ verb, result }) => `${verb} ${result}`), [
      'claim claimed', 'release held', 'claim claimed', 'complete held', 'claim done', 'claim conflict'
    ], name)
    t.ok(calls.every(({ provider, duration }) => provider === 'aghanim' && duration >= 0 && duration < performance.now()))
    const sums = (await countsOf(registry, 'fastify_verification_store_duration_seconds'))
      .filter((text) => text.startsWith('le=+Inf'))
    t.strictSame(sums, [
      'le=+Inf,provider=aghanim,verb=claim,result=claimed: 2', 'le=+Inf,provider=aghanim,verb=claim,result=conflict: 1',
      'le=+Inf,provider=aghanim,verb=claim,result=done: 1', 'le=+Inf,provider=aghanim,verb=complete,result=held: 1',
      'le=+Inf,provider=aghanim,verb=release,result=held: 1'
    ], name)
  }
})

t.test('a store that fails, or has lost a claim, is reported as such', async (t) => {
  const { calls } = watch(t)
  for (const claim of [fail, async () => fail()]) {
    await createReceiver(t, VERIFY, undefined, { deliveries: { ...memoryDeliveries(), claim } }).deliver()
  }
  const forgetful = { ...memoryDeliveries(), complete: () => false }
  await createReceiver(t, VERIFY, undefined, { deliveries: forgetful }).deliver()
  t.strictSame(calls.map(({ verb, result }) => `${verb} ${result}`), [
    'claim failed', 'claim failed', 'claim claimed', 'complete gone'
  ])
})
