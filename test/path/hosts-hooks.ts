import { mock } from 'node:test'
import { PassThrough } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import t, { type Test } from 'tap'
import { aghanimPlugin, altdentifierPlugin, type AghanimOptions } from '../../plugins/index.js'
import {
  bodyOf, FORBIDDEN, NOW, now, PLAYER, PROVIDERS, SECRET, VERIFY_EVENT, type ProviderCase
} from '../support/deliveries.js'
import { createHost, exchange, rawRequest, type Line } from '../support/host.js'
import { createGuardedHost, IDENTIFIER, mint, startService } from '../support/humandetect.js'
import { createReceiver, VERIFY } from '../support/life-cycle.js'
import { quiet } from '../support/quiet.js'
import { gateOf, until, watchRejections } from '../support/waiting.js'
import { watch } from '../support/watch.js'

// Effects of a host's hooks, plugins and platforms on a delivery. The packages themselves are tested in test/hosts.

const [ALTDENTIFIER, AGHANIM] = PROVIDERS as [ProviderCase, ProviderCase, ProviderCase]
const BODY = bodyOf(AGHANIM)
const rejections = watchRejections()

const deliver = (app: FastifyInstance, { url, sign }: ProviderCase, body: string) =>
  app.inject({ method: 'POST', url, headers: sign(body), payload: body })

/** Creates a host with Aghanim's webhook, registered after `setup`, and records the calls of its handler. */
function receive (
  test: Test, setup: (app: FastifyInstance) => unknown, options: Partial<AghanimOptions> = {}, server = {}
) {
  const { app, lines } = createHost(test, server, ['canary']) // logged by the host's own hooks
  const calls: unknown[] = []
  setup(app)
  AGHANIM.register(app, calls, options)
  return { app, lines, calls, send: (body = BODY) => deliver(app, AGHANIM, body) }
}

const logged = (lines: readonly Line[]) => lines.filter(({ msg }) => msg.startsWith('delivery '))

t.test('a plugin that a host wraps again in fastify-plugin keeps its scope', async (t) => {
  const { app } = createHost(t)
  const calls: unknown[] = []
  app.register(fp(aghanimPlugin), {
    secret: SECRET,
    now,
    verifyPlayer (event) {
      calls.push(event)
      return PLAYER
    }
  })
  app.register(fp(async (app) => {
    app.register(fp(altdentifierPlugin, { name: 'again' }), { secret: SECRET, handleEvent: (event) => { calls.push(event) } })
  }))
  app.post('/host', (request) => request.body)
  t.strictSame((await app.inject({ method: 'POST', url: '/host', payload: { n: 1 } })).json(), { n: 1 })
  t.notOk(app.hasDecorator('verifyPlayer'))
  t.equal((await deliver(app, AGHANIM, BODY)).statusCode, 200)
  t.equal((await deliver(app, ALTDENTIFIER, bodyOf(ALTDENTIFIER))).statusCode, 204)
  t.equal(calls.length, 2)
})

t.test("an option of fastify-cli's test helper, which loaders pass on, is accepted", async (t) => {
  for (const provider of PROVIDERS) {
    const { app } = createHost(t)
    provider.register(app, [], { skipOverride: true } as object)
    t.equal((await deliver(app, provider, bodyOf(provider))).statusCode, provider.success)
  }
})

t.test('its replies are excluded from @fastify/response-validation, which refuses schemas with examples', async (t) => {
  const routes: object[] = []
  const { app } = receive(t, (app) => app.addHook('onRoute', (route) => { routes.push(route) }))
  await app.ready()
  t.match(routes, [{ url: '/aghanim', responseValidation: false }])
})

const STAGES = ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const
type Stage = typeof STAGES[number]
type Hook = (request: FastifyRequest, reply: FastifyReply, ...rest: any[]) => unknown
const WAYS: Record<string, Hook> = {
  'a reply from a callback' (_request, reply) { reply.code(401).send({ host: 'says no' }) },
  'a reply from an async function': async (_request, reply) => reply.code(401).send({ host: 'says no' }),
  'a later reply': async (_request, reply) => {
    setImmediate(() => { reply.code(401).send({ host: 'says no' }) })
    return reply
  },
  'an error from a callback' (_request, _reply, ...rest) { rest.at(-1)(Object.assign(new Error('canary'), { statusCode: 401 })) },
  'an error from an async function': async () => { throw Object.assign(new Error('canary'), { statusCode: 401 }) },
  'a hijacked reply, from a callback' (_request, reply) {
    reply.hijack()
    reply.raw.writeHead(401).end()
  },
  'a hijacked reply, from an async function': async (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(401).end()
  }
}
/** Places of a hook: on the server, or on the route, after the plugin's own. */
const PLACES: Record<string, (app: FastifyInstance, stage: Stage, hook: Hook) => void> = {
  'of the server': (app, stage, hook) => { app.addHook(stage as 'onRequest', hook as never) },
  'added to the route': (app, stage, hook) => {
    app.addHook('onRoute', (route: RouteOptions) => {
      route[stage] = [...(route[stage] as never[] | undefined ?? []), hook] as never
    })
  }
}
const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

for (const [way, hook] of Object.entries(WAYS)) {
  t.test(`${way} of a hook is the only answer, and is reported once`, quiet(async (t) => {
    for (const stage of STAGES) {
      for (const [place, add] of Object.entries(PLACES)) {
        const what = `${stage} ${place}`
        const { reports } = watch(t)
        const { app, lines, calls, send } = receive(t, (app) => add(app, stage, hook))
        await app.ready()
        const before = timers()
        const reply = await send()
        t.equal(reply.statusCode, 401, what)
        if (way.startsWith('a reply')) t.equal(reply.body, '{"host":"says no"}', what)
        t.equal(timers(), before, `${what}: no timer remains`)
        t.strictSame(calls, [], what)
        t.strictSame(reports.map(({ path, outcome, reason, status }) => [path, outcome, reason, status]),
          [['/aghanim', 'rejected', 'bad_request', 401]], what)
        const [line, ...more] = logged(lines)
        t.strictSame(more, [], what)
        t.match(line!.msg, 'delivery rejected', what)
        if (!way.startsWith('an error')) t.equal(line!['problem'], 'a hook of the server sent a response', what)
        t.strictSame(lines.filter(({ level }) => level >= 40), [], `${what}: nothing is sent twice`)
      }
    }
    t.strictSame(rejections, [])
  }))
}

t.test('a hook that answers with a 5xx is a failure, for which onFailed is called once', async (t) => {
  const { reports } = watch(t)
  const failures: unknown[][] = []
  const { send } = receive(t, (app) => {
    app.addHook('onRequest', async (_request, reply) => reply.code(502).send('away'))
  }, { onFailed: (error, { reason }) => { failures.push([(error as Error).message, reason]) } })
  t.equal((await send()).body, 'away')
  t.match(reports, [{ outcome: 'failed', reason: 'internal_error', status: 502 }])
  t.equal(reports.length, 1)
  t.strictSame(failures, [['Bad Gateway', 'internal_error']])
})

t.test('a connection that a hook destroys has no answer, and no report of one', async (t) => {
  const { reports } = watch(t)
  const { app } = receive(t, (app) => {
    app.addHook('onRequest', async (_request, reply) => {
      reply.hijack()
      reply.raw.emit('error', new Error('canary'))
      reply.raw.destroy()
    })
  })
  const { text } = await exchange(app, [rawRequest('/aghanim', Object.entries(AGHANIM.sign(BODY)), BODY)])
  t.equal(text, '')
  t.strictSame(reports, [])
})

t.test('the answer of a host that does not wait for the handler is the only one', async (t) => {
  const { reports } = watch(t)
  const gate = gateOf<unknown>()
  const held: FastifyReply[] = []
  const { deliver, events, lines } = createReceiver(t, VERIFY, () => gate.promise, {}, {}, (app) => {
    app.addHook('onRequest', async (_request, reply) => { held.push(reply) })
  })
  const first = deliver()
  await until(() => events.length === 1)
  held[0]!.code(504).send({ host: 'has waited for long enough' })
  t.equal((await first).statusCode, 504)
  gate.resolve(VERIFY.good)
  await until(() => lines.some(({ msg }) => msg === 'handler ended after its timeout'))
  t.strictSame(reports.map(({ outcome, status }) => [outcome, status]), [['failed', 504]])
  const copy = await deliver()
  t.equal(copy.statusCode, 200)
  t.equal(copy.headers['idempotency-replayed'], 'true')
})

const thrown = (more: object) => async () => { throw Object.assign(new Error('canary'), { statusCode: 503 }, more) }
const RETRY_AFTERS: [what: string, hook: Parameters<typeof receive>[1], expected: string | undefined][] = [
  ['none', (app) => app.addHook('preHandler', thrown({})), '5'],
  ["a header of the host's reply", (app) => {
    app.addHook('onRequest', async (_request, reply) => { reply.header('Retry-After', 77) })
    app.addHook('preHandler', thrown({}))
  }, '77'],
  ["a header of Node's response, as Express sets it", (app) => {
    app.addHook('onRequest', async (_request, reply) => { reply.raw.setHeader('Retry-After', '78') })
    app.addHook('preHandler', thrown({}))
  }, '78'],
  ['a header set in onSend', (app) => {
    app.addHook('onSend', async (_request, reply) => { reply.header('retry-after', '79') })
    app.addHook('preHandler', thrown({}))
  }, '79'],
  ['a header of the error', (app) => app.addHook('preHandler', thrown({ headers: { 'retry-after': 80 } })), '80'],
  ['the same, in another case', (app) => app.addHook('preHandler', thrown({ headers: { 'Retry-After': '81' } })), '81'],
  ['a date', (app) => app.addHook('onRequest', thrown({ headers: { 'retry-after': 'Fri, 31 Dec 1999 23:59:59 GMT' } })),
    'Fri, 31 Dec 1999 23:59:59 GMT'],
  ['something else', (app) => app.addHook('onRequest', thrown({ headers: { 'retry-after': 'canary' } })), '5'],
  ['headers that cannot be read', (app) => app.addHook('onRequest', thrown({
    headers: { get 'retry-after' () { throw new Error('canary') } }
  })), undefined]
]

for (const [what, setup, expected] of RETRY_AFTERS) {
  t.test(`Retry-After: ${what}`, async (t) => {
    const { app } = receive(t, setup)
    const { text } = await exchange(app,
      [rawRequest('/aghanim', [...Object.entries(AGHANIM.sign(BODY)), ['content-length', `${Buffer.byteLength(BODY)}`]], BODY)],
      (text) => text.includes('\r\n\r\n'))
    const sent = [...text.matchAll(/^retry-after: (.*)\r$/gim)].map(([, value]) => value)
    t.strictSame(sent, expected === undefined ? [] : [expected])
    t.notMatch(text, 'canary')
  })
}

t.test("the message of a rate limit reaches the sender if its error is made for clients; no other error's does", async (t) => {
  for (const [statusCode, expose, message] of [
    [429, true, 'canary: come again in an hour'], [429, false, 'Too Many Requests'], [429, undefined, 'Too Many Requests'],
    [400, true, 'Bad Request']
  ] as const) {
    const { send } = receive(t, (app) => app.addHook('onRequest', async () => {
      throw Object.assign(new Error('canary: come again in an hour'), { statusCode, expose })
    }))
    const reply = await send()
    t.equal(reply.statusCode, statusCode)
    t.equal(reply.json().message, message)
  }
})

/** Replaces `setTimeout` with one that `mock.timers.tick()` drives. */
function mockTimers (test: Test): void {
  mock.timers.enable({ apis: ['setTimeout'] })
  test.teardown(() => mock.timers.reset())
}

const LIMITS: Record<string, [server: object, setup: (app: FastifyInstance) => unknown]> = {
  server: [{ handlerTimeout: 50 }, () => {}],
  route: [{}, (app) => app.addHook('onRoute', (route) => { route.handlerTimeout = 50 })]
}

for (const [whose, [server, setup]] of Object.entries(LIMITS)) {
  t.test(`a handler beyond the handlerTimeout of the ${whose}: one answer, one report, and its late result counts`, async (t) => {
    const { reports } = watch(t)
    const gate = gateOf<unknown>()
    const { deliver, events, lines } = createReceiver(t, VERIFY, () => gate.promise, {}, server, setup)
    mockTimers(t)
    const first = deliver()
    while (events.length === 0) await new Promise(setImmediate)
    mock.timers.tick(50)
    const reply = await first
    t.equal(reply.statusCode, 503)
    t.equal(reply.json().code, 'FST_VERIFICATION_TIMEOUT')
    t.equal(reply.headers['retry-after'], '5')
    t.equal((await deliver()).json().code, 'FST_VERIFICATION_IN_PROGRESS')
    gate.resolve(VERIFY.good)
    while (!lines.some(({ msg }) => msg === 'handler ended after its timeout')) await new Promise(setImmediate)
    t.equal((await deliver()).headers['idempotency-replayed'], 'true')
    t.strictSame(reports.map(({ outcome, reason }) => [outcome, reason]),
      [['failed', 'handler_timeout'], ['duplicate', 'in_progress'], ['duplicate', 'replayed']])
    t.match(lines.filter(({ msg }) => msg === 'delivery failed'), [{ failure: { code: 'FST_ERR_HANDLER_TIMEOUT' } }])
  })
}

t.test("our own timeout after Fastify's is not a second answer, and a late failure releases the claim", async (t) => {
  const { reports } = watch(t)
  const gates = [gateOf<unknown>(), gateOf<unknown>()]
  const { deliver, events, lines } = createReceiver(
    t, VERIFY, (run) => gates[run - 1]!.promise, { handlerTimeout: 100 }, { handlerTimeout: 50 })
  mockTimers(t)
  const first = deliver()
  while (events.length === 0) await new Promise(setImmediate)
  mock.timers.tick(50)
  t.equal((await first).statusCode, 503)
  gates[0]!.reject(new Error('canary'))
  while (!lines.some(({ msg }) => msg === 'handler ended after its timeout')) await new Promise(setImmediate)
  const second = deliver()
  while (events.length === 1) await new Promise(setImmediate)
  mock.timers.tick(50)
  t.equal((await second).statusCode, 503)
  t.strictSame(reports.map(({ reason }) => reason), ['handler_timeout', 'handler_timeout'])
  gates[1]!.resolve(VERIFY.good)
  while (lines.filter(({ msg }) => msg === 'handler ended after its timeout').length < 2) await new Promise(setImmediate)
  t.equal((await deliver()).headers['idempotency-replayed'], 'true')
  t.strictSame(lines.filter(({ level, msg }) => level >= 40 && !/^delivery failed|^handler ended/.test(msg)), [])
})

t.test("Fastify's timeout while a body arrives is reported as a slow sender, not as a slow handler", async (t) => {
  const { reports } = watch(t)
  const { app, lines } = receive(t, () => {}, {}, { handlerTimeout: 20 })
  const headers: [string, string][] = [...Object.entries(AGHANIM.sign(BODY)), ['content-length', `${BODY.length}`]]
  const { text } = await exchange(app, [rawRequest('/aghanim', headers, BODY.slice(0, 9))])
  t.match(text, /^HTTP\/1\.1 408 /)
  t.match(text, 'FST_VERIFICATION_BODY_TIMEOUT')
  t.strictSame(reports.map(({ outcome, reason, status }) => [outcome, reason, status]), [['rejected', 'body_timeout', 408]])
  await app.close() // resolves after the rest of the body, or the end of its connection
  t.strictSame(lines.filter(({ level }) => level >= 40), [])
})

t.test('any other timeout of Fastify is a failure of this server', async (t) => {
  for (const [setup, options] of [
    [() => {}, { secret: () => new Promise<never>(() => {}) }],
    [(app: FastifyInstance) => app.addHook('onRequest', () => new Promise<never>(() => {})), {}]
  ] as [Parameters<typeof receive>[1], Partial<AghanimOptions>][]) {
    const { reports } = watch(t)
    const { send } = receive(t, setup, options, { handlerTimeout: 20 })
    t.match((await send()).json(), { statusCode: 503, code: 'FST_ERR_HANDLER_TIMEOUT' })
    t.strictSame(reports.map(({ outcome, reason }) => [outcome, reason]), [['failed', 'internal_error']])
  }
})

t.test("the clock is read each time, so that node:test's mock timers control it", async (t) => {
  const apps = PROVIDERS.map((provider) => {
    const { app } = createHost(t)
    provider.register(app, [], { now: undefined })
    return [provider, app] as const
  })
  const { baseUrl } = await startService(t)
  const { app: guarded } = await createGuardedHost(t, baseUrl)
  for (const [, app] of apps) await app.ready()
  const token = mint()
  mock.timers.enable({ apis: ['Date'], now: now() })
  t.teardown(() => mock.timers.reset())
  for (const [provider, app] of apps) {
    t.equal((await deliver(app, provider, bodyOf(provider))).statusCode, provider.success, provider.name)
    if (provider.timestamp === undefined) continue
    const stale = bodyOf(provider)
    const headers = provider.sign(stale, NOW - 301)
    t.equal((await app.inject({ method: 'POST', url: provider.url, headers, payload: stale })).body, FORBIDDEN)
  }
  mock.timers.setTime(NOW * 1000 + 10 * 365 * 86_400_000)
  t.equal((await guarded.humandetect.verify(token, { identifier: IDENTIFIER }).then(() => 'in', ({ code }) => code)),
    'FST_HUMANDETECT_NOT_HUMAN')
})

async function read (payload: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of payload) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Creates a host that reads the body before any plugin, and stores `kept` of it as `rawBody`, like some platforms. */
const reader = (kept: (body: Buffer) => unknown) => (app: FastifyInstance) => {
  app.addHook('onRequest', async ({ raw }) => { Object.assign(raw, { rawBody: kept(await read(raw)) }) })
}

t.test('a body that a platform has read is taken from its rawBody, with the same rules', async (t) => {
  const { reports } = watch(t)
  const { app, calls, send } = receive(t, reader((body) => body))
  t.equal((await send()).statusCode, 200)
  t.strictSame(calls, [VERIFY_EVENT])
  t.equal(reports[0]!.bytes, Buffer.byteLength(BODY))
  const forged = await app.inject({
    method: 'POST', url: '/aghanim', headers: AGHANIM.sign(BODY), payload: BODY.replace('{', '{ ')
  })
  t.equal(forged.body, FORBIDDEN)
  t.equal((await send(' '.repeat(65_537))).statusCode, 413)
  t.equal((await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM.sign('{}') })).body, FORBIDDEN)
  t.equal(calls.length, 1)
})

t.test('a rawBody that changes after its authentication has no effect', async (t) => {
  const gate = gateOf<string>()
  const kept: Buffer[] = []
  const { calls, send } = receive(t, reader((body) => {
    kept.push(body)
    return body
  }), { secret: () => gate.promise })
  const sending = send()
  await until(() => kept.length === 1)
  await new Promise(setImmediate)
  kept[0]!.fill(' ')
  gate.resolve(SECRET)
  t.equal((await sending).statusCode, 200)
  t.strictSame(calls, [VERIFY_EVENT])
})

t.test('a rawBody whose length is not the announced one is refused', async (t) => {
  const { calls, send } = receive(t, reader(() => Buffer.from(`${BODY} `)))
  const reply = await send(BODY)
  t.equal(reply.statusCode, 400)
  t.equal(reply.json().code, 'FST_ERR_CTP_INVALID_CONTENT_LENGTH')
  t.strictSame(calls, [])
})

t.test('a rawBody has no effect if the body itself is unread', async (t) => {
  const { app, send } = receive(t, (app) => {
    app.addHook('onRequest', async ({ raw }) => { Object.assign(raw, { rawBody: Buffer.from('{}') }) })
  })
  t.equal((await send()).statusCode, 200)
  t.equal((await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM.sign('{}'), payload: '{ }' })).body, FORBIDDEN)
})

const CONSUMERS: Record<string, (app: FastifyInstance) => unknown> = {
  'a hook that keeps nothing': reader(() => undefined),
  'a platform that keeps text': reader(String),
  'a platform that keeps an object': reader((body) => JSON.parse(String(body))),
  'a preParsing hook that drains it': (app) => {
    app.addHook('preParsing', async (_request, _reply, payload) => { await read(payload as never) })
  },
  'a preParsing hook that hands on a stream that is over': (app) => {
    app.addHook('preParsing', async () => new PassThrough().destroy())
  },
  'a hook that reads a part of it': (app) => {
    app.addHook('onRequest', async ({ raw }) => {
      await new Promise((resolve) => raw.once('readable', resolve))
      raw.read(3)
    })
  }
}

for (const [what, setup] of Object.entries(CONSUMERS)) {
  t.test(`a body that is read by ${what} is a failure that names its cause, at once`, async (t) => {
    const { reports } = watch(t)
    const seen: Error[] = []
    const { app, lines, calls, send } = receive(t, (app) => {
      setup(app)
      app.addHook('onError', async (_request, _reply, error) => { seen.push(error) })
    })
    await app.ready()
    const before = timers()
    const reply = await send()
    t.strictSame(reply.json(), {
      statusCode: 500,
      code: 'FST_VERIFICATION_BODY_CONSUMED',
      error: 'Internal Server Error',
      message: 'The body was read before the plugin could read it'
    })
    t.strictSame(reports.map(({ outcome, reason }) => [outcome, reason]), [['failed', 'internal_error']])
    t.match(logged(lines), [{ level: 50, problem: /read the body without setting "rawBody"/ }])
    t.match(seen, [{ code: 'FST_VERIFICATION_BODY_CONSUMED' }])
    t.strictSame(calls, [])
    t.equal(timers(), before)
  })
}

t.test('over a socket as well, with and without a rawBody of the platform', async (t) => {
  const headers: [string, string][] = [...Object.entries(AGHANIM.sign(BODY)), ['content-length', `${Buffer.byteLength(BODY)}`]]
  const chunked: [string, string][] = [...Object.entries(AGHANIM.sign(BODY)), ['transfer-encoding', 'chunked']]
  const inChunks = `${Buffer.byteLength(BODY).toString(16)}\r\n${BODY}\r\n0\r\n\r\n`
  for (const [kept, status] of [[(body: Buffer) => body, 200], [() => undefined, 500]] as const) {
    for (const request of [rawRequest('/aghanim', headers, BODY), rawRequest('/aghanim', chunked, inChunks)]) {
      const { app } = receive(t, reader(kept))
      const { text } = await exchange(app, [request], (text) => text.includes('}'))
      t.match(text, new RegExp(`^HTTP/1\\.1 ${status} `))
    }
  }
})
