import { Kind, Type, TypeRegistry } from '@sinclair/typebox'
import Fastify, { type InjectOptions } from 'fastify'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import http2 from 'node:http2'
import { connect, type AddressInfo } from 'node:net'
import t from 'tap'
import {
  aghanimOptions, aghanimPlugin, altdentifierPlugin, identityValidationPlugin, signAghanim, signAltdentifier,
  signIdentityValidation, type AghanimOptions, type RejectedDelivery
} from '../../plugins/index.js'
import { API_KEY, API_SECRET, bodyOf, NOW, now, PLAYER, PROVIDERS, SECRET, SESSIONS } from '../support/deliveries.js'
import { createHost, exchange, listen, portOf, rawRequest, statusOf, type Line, type Test } from '../support/host.js'
import { quiet } from '../support/quiet.js'
import { gateOf, until } from '../support/waiting.js'

const AGHANIM = PROVIDERS[1]!
const BODY = bodyOf(AGHANIM)
const OTHER_SECRET = 'another secret that is long enough'

function createServer (test: Test, options: Partial<AghanimOptions> = {}) {
  const { app, lines } = createHost(test)
  const calls: unknown[] = []
  AGHANIM.register(app, calls, options)
  const deliver = (body = BODY, headers: Record<string, string> = AGHANIM.sign(body)) =>
    app.inject({ method: 'POST', url: '/aghanim', headers, payload: body })
  return { app, lines, calls, deliver }
}

const pairs = (headers: Record<string, string>): [string, string][] => Object.entries(headers)
const warnings = (lines: Line[]): Line[] => lines.filter(({ level }) => level >= 40)

t.test('any error of a handler is answered with one fixed message, and the log contains no word of it', quiet(async (t) => {
  const failure = Object.assign(new Error('canary message', { cause: new Error('canary cause') }), {
    statusCode: 418, headers: { 'x-canary': 'canary' }, config: { apiKey: 'canary' }, code: 'ECONNRESET'
  })
  const thrown = [failure, new AggregateError([failure], 'canary'), 'canary', undefined, null, 0, { canary: true }]
  for (const value of thrown) {
    const handlers: (() => never | Promise<never>)[] = [
      () => { throw value },
      () => Promise.reject(value),
      async () => {
        await new Promise(setImmediate)
        throw value
      }
    ]
    for (const verifyPlayer of handlers) {
      const { deliver, lines } = createServer(t, { verifyPlayer })
      const reply = await deliver()
      t.equal(reply.statusCode, 500)
      t.equal(reply.headers['x-canary'], undefined)
      t.strictSame(reply.json(), {
        statusCode: 500,
        code: 'FST_VERIFICATION_HANDLER_FAILED',
        error: 'Internal Server Error',
        message: 'The handler failed'
      })
      const [line] = warnings(lines)
      t.match(line, { msg: 'delivery failed', reason: 'handler_failed' })
      t.notMatch(JSON.stringify(lines), /canary/)
      if (value === failure) {
        const { type, code, stack } = line?.['failure'] as Record<string, string>
        t.equal(type, 'Error')
        t.equal(code, 'ECONNRESET')
        t.match(stack, /^ {4}at .*delivery\.[jt]s/, 'and its origin')
      }
    }
  }
}))

t.test('a thrown value that cannot be inspected is a failure like any other', quiet(async (t) => {
  const boom = () => { throw new Error('canary') }
  const hostile = [
    Object.defineProperty(new Error('x'), 'stack', { get: boom }), Object.defineProperty(new Error('x'), 'code', { get: boom }),
    Object.assign(new Error('x'), { message: Symbol('x') }), new Proxy({}, { getPrototypeOf: boom, get: boom, has: boom })
  ]
  for (const value of hostile) {
    for (const verifyPlayer of [() => { throw value }, async () => { throw value }]) {
      const { deliver, lines } = createServer(t, { verifyPlayer })
      t.equal((await deliver()).json().code, 'FST_VERIFICATION_HANDLER_FAILED')
      t.match(warnings(lines), [{ reason: 'handler_failed', failure: { type: 'unreadable' } }])
    }
  }
}))

for (const [name, ending, outcome] of [
  ['succeeds', (resolve: (value: unknown) => void) => resolve(PLAYER), 200],
  ['fails', (_resolve: unknown, reject: (reason: unknown) => void) => reject(new Error('late')), 500]
] as const) {
  t.test(`a handler over its time limit is answered with 503; that it ${name} later is logged, not sent`, async (t) => {
    const gate = gateOf<unknown>()
    const { app, lines } = createServer(t, { handlerTimeout: 20, verifyPlayer: () => gate.promise as never })
    const request = rawRequest('/aghanim', [...pairs(AGHANIM.sign(BODY)), ['content-length', String(BODY.length)]], BODY)
    const { text } = await exchange(app, [request], (text) => text.includes('FST_'))
    t.equal(statusOf(text), 503)
    t.match(text, /retry-after: 5\r\n/)
    t.match(text, '"code":"FST_VERIFICATION_TIMEOUT"')
    ending(gate.resolve, gate.reject)
    await until(() => lines.some(({ msg }) => msg === 'handler ended after its timeout'))
    t.equal(lines.find(({ msg }) => msg === 'handler ended after its timeout')?.['statusCode'], outcome)
    t.strictSame(lines.filter(({ err }) => err !== undefined), [], 'nor was it tried')
  })
}

t.test('a handler that ends in time leaves no timer', async (t) => {
  const { deliver, lines } = createServer(t, { handlerTimeout: 10, verifyPlayer: async () => PLAYER })
  t.equal((await deliver()).statusCode, 200)
  await new Promise((resolve) => setTimeout(resolve, 30))
  t.strictSame(warnings(lines), [])
})

t.test("of an error of the host's hooks the client sees the status, and the code only if it is Fastify's", async (t) => {
  for (const code of ['CANARY', 'FST_OF_THE_HOST']) {
    const { app, calls, deliver } = createServer(t)
    app.addHook('onRequest', async () => { throw Object.assign(new Error('canary'), { statusCode: 429, code }) })
    const told = code === 'CANARY' ? {} : { code }
    t.strictSame((await deliver()).json(), {
      statusCode: 429, ...told, error: 'Too Many Requests', message: 'Too Many Requests'
    })
    t.equal(calls.length, 0)
  }
})

t.test('an invalid status of an error becomes 500', quiet(async (t) => {
  const errors: [statusCode: unknown, told: number][] = [
    [400, 400], [451, 451], [503, 503], [200, 500], [302, 500], [399, 500], [499, 500], [999, 500], ['404', 500], [[404], 500],
    [NaN, 500], [undefined, 500], [null, 500]
  ]
  for (const [statusCode, told] of errors) {
    const { app, calls, deliver, lines } = createServer(t)
    app.addHook('preHandler', async () => { throw Object.assign(new Error('canary'), { statusCode }) })
    const reply = await deliver()
    t.equal(reply.statusCode, told, String(statusCode))
    t.equal(reply.json().statusCode, told)
    t.equal(calls.length, 0)
    t.match(lines.find(({ reason }) => reason !== undefined), { failure: { type: 'Error', stack: String } })
  }
  const { app, calls, deliver } = createServer(t)
  app.addHook('preHandler', async () => { throw Object.defineProperty(new Error('x'), 'statusCode', { get () { throw new Error('y') } }) })
  t.equal((await deliver()).statusCode, 500)
  t.equal(calls.length, 0)
}))

t.test('a thenable is awaited like a promise; one that cannot be inspected is a failure', async (t) => {
  const hostile = createServer(t, { verifyPlayer: () => ({ get then () { throw new Error('canary') } }) as never })
  t.equal((await hostile.deliver()).json().code, 'FST_VERIFICATION_HANDLER_FAILED')
  const { deliver } = createServer(t, {
    verifyPlayer: () => ({ then: (resolve: (value: unknown) => void) => resolve(PLAYER) }) as never
  })
  t.strictSame((await deliver()).json(), PLAYER)
})

t.test('a body that does not arrive is ended with 408', quiet(async (t) => {
  for (const provider of PROVIDERS) {
    const { app, lines } = createHost(t)
    const calls: unknown[] = []
    provider.register(app, calls, { bodyTimeout: 30 })
    const body = bodyOf(provider)
    const headers = pairs(provider.sign(body))
    const unfinished = [
      rawRequest(provider.url, [...headers, ['content-length', '500']], ''),
      rawRequest(provider.url, [...headers, ['content-length', '500']], body),
      rawRequest(provider.url, [...headers, ['transfer-encoding', 'chunked']], '10\r\n{"a":')
    ]
    for (const request of unfinished) {
      const { text, closed } = await exchange(app, [request])
      t.equal(statusOf(text), 408)
      t.match(text, '"code":"FST_VERIFICATION_BODY_TIMEOUT"')
      t.match(text, /\r\nconnection: close\r\n/)
      t.ok(closed, 'by the server')
    }
    t.equal(calls.length, 0)
    t.strictSame(warnings(lines), [])

    const whole = rawRequest(provider.url, [...headers, ['content-length', String(body.length)]], body)
    const { text } = await exchange(app, [whole], (text) => text.includes('\r\n\r\n'))
    t.equal(statusOf(text), provider.success, 'a body that arrives in time is not ended')
  }
}))

t.test('the time limit of the body also applies while a hook of the host holds the request', async (t) => {
  const { app, calls, lines } = createServer(t, { bodyTimeout: 20 })
  const gate = gateOf<undefined>()
  app.addHook('onRoute', (route) => {
    route.preParsing = async (_request: unknown, _reply: unknown, payload: unknown) => {
      await gate.promise
      return payload
    }
  })
  const request = rawRequest('/aghanim', [...pairs(AGHANIM.sign(BODY)), ['content-length', String(BODY.length)]], BODY)
  const { text } = await exchange(app, [request])
  gate.resolve(undefined)
  await new Promise(setImmediate)
  t.equal(statusOf(text), 408)
  t.equal(calls.length, 0)
  t.strictSame(warnings(lines), [])
})

t.test('the answer of a host that answers before the body has arrived is not overwritten', async (t) => {
  const { app, lines } = createServer(t, { bodyTimeout: 10 })
  app.addHook('onRoute', (route) => {
    route.preParsing = (_request, reply) => { reply.code(429).send('of the host') }
  })
  const request = rawRequest('/aghanim', [...pairs(AGHANIM.sign(BODY)), ['content-length', '500']], 'x')
  const { text } = await exchange(app, [request], (text) => text.includes('of the host'))
  t.equal(statusOf(text), 429)
  await new Promise((resolve) => setTimeout(resolve, 30))
  t.strictSame(warnings(lines), [])
})

t.test('a reply that a host hijacks before the body has arrived is not answered', async (t) => {
  const { app, lines } = createServer(t, { bodyTimeout: 10 })
  app.addHook('onRoute', (route) => {
    route.preParsing = (_request, reply) => {
      reply.hijack()
      setTimeout(() => reply.raw.end('of the host'), 40)
    }
  })
  const request = rawRequest('/aghanim', [...pairs(AGHANIM.sign(BODY)), ['content-length', '500']], 'x')
  const { text } = await exchange(app, [request], (text) => text.includes('of the host'))
  t.equal(statusOf(text), 200)
  t.strictSame(warnings(lines), [])
})

t.test('HTTP/2 works like HTTP/1.1', async (t) => {
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  const reasons: string[] = []
  const calls: unknown[] = []
  app.register(aghanimPlugin, {
    secret: SECRET,
    now,
    bodyTimeout: 20,
    verifyPlayer (event) {
      calls.push(event)
      return PLAYER
    },
    onRejected: ({ reason }) => { reasons.push(reason) }
  })
  let open = 0
  app.server.on('stream', (stream: http2.ServerHttp2Stream) => {
    open++
    stream.on('close', () => { open-- })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const session = http2.connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => session.destroy())
  const send = async (headers: http2.OutgoingHttpHeaders, body: string, whole = true, trailers = {}) => {
    const stream = session.request({ ':method': 'POST', ':path': '/aghanim', ...headers }, { waitForTrailers: true })
    stream.on('wantTrailers', () => { stream.sendTrailers(trailers) })
    if (whole) stream.end(body)
    else stream.write(body)
    stream.resume()
    const [answer] = await once(stream, 'response')
    await until(() => open === 0) // an unread body must not keep its stream open
    return answer[':status']
  }
  t.equal(await send(AGHANIM.sign(BODY), BODY), 200)
  t.equal(await send(AGHANIM.sign(BODY), `${BODY} `), 403)
  t.equal(await send({}, ''), 403)
  t.equal(await send(AGHANIM.sign(BODY), BODY, false), 408)
  t.equal(await send({ 'content-type': 'text/plain' }, BODY, false), 415)
  const { 'x-aghanim-signature': signature, ...rest } = AGHANIM.sign(BODY) as Record<string, string>
  t.equal(await send({ ...rest, 'x-aghanim-signature': [signature!, signature!] }, BODY), 403)
  t.equal(await send({ ...rest, 'x-aghanim-signature': ['0'.repeat(64), signature!] }, BODY), 403)
  t.equal(await send({ ...rest }, BODY, true, { 'x-aghanim-signature': signature! }), 403, 'in a trailer only')
  t.strictSame(reasons, ['mismatch', 'no_body', 'duplicate_header', 'duplicate_header', 'missing_header'])
  t.equal(calls.length, 1, 'the handler ran for the accepted one')
  t.equal(await send(AGHANIM.sign(BODY), BODY), 200)
})

t.test('a refused request leaves no deadline that could answer again', async (t) => {
  const { app, lines } = createServer(t, { bodyTimeout: 10 })
  const refused = await app.inject({ method: 'POST', url: '/aghanim' })
  t.equal(refused.statusCode, 403)
  const closing = rawRequest('/aghanim', [['content-type', 'application/json'], ['content-length', '99999999']], '')
  t.equal(statusOf((await exchange(app, [closing])).text), 413)
  await new Promise((resolve) => setTimeout(resolve, 30))
  t.strictSame(warnings(lines), [])
})

t.test('a handler may take longer than a body may take to arrive', async (t) => {
  const { app } = createServer(t, {
    bodyTimeout: 10,
    verifyPlayer: async () => {
      await new Promise((resolve) => setTimeout(resolve, 50))
      return PLAYER
    }
  })
  const request = rawRequest('/aghanim', [
    ...pairs(AGHANIM.sign(BODY)), ['content-length', String(BODY.length)], ['connection', 'close']
  ], BODY)
  t.equal(statusOf((await exchange(app, [request])).text), 200)
})

t.test('a client that disconnects while its timeout is being answered is not answered again', async (t) => {
  const { app, lines } = createServer(t, { bodyTimeout: 20 })
  const gate = gateOf<undefined>()
  let sends = 0
  app.addHook('onSend', async () => {
    sends++
    await gate.promise
  })
  const answered = once(app.server, 'request').then(([, response]) => once(response, 'close'))
  await listen(app)
  const socket = connect(portOf(app), '127.0.0.1')
  socket.write(rawRequest('/aghanim', [...pairs(AGHANIM.sign(BODY)), ['content-length', '500']], '{"a":'))
  await until(() => sends === 1)
  socket.resetAndDestroy()
  await answered
  gate.resolve(undefined)
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(sends, 1)
  t.equal(lines.filter(({ reason }) => reason !== undefined).length, 1)
  t.strictSame(warnings(lines), [])
})

t.test('a request that is answered without its body is not answered again when the body is due', async (t) => {
  const { app, lines } = createServer(t, { bodyTimeout: 20, bodyLimit: 1000 })
  app.addHook('onSend', async () => { await new Promise((resolve) => setTimeout(resolve, 60)) })
  app.addHook('preValidation', async () => { await new Promise((resolve) => setTimeout(resolve, 60)) })
  const json: [string, string] = ['content-type', 'application/json']
  for (const [headers, status] of [
    [[json, ['content-length', '5000']], 413], [[['content-length', '0'], ['connection', 'close']], 403]
  ] as [[string, string][], number][]) {
    t.equal(statusOf((await exchange(app, [rawRequest('/aghanim', headers, '')])).text), status)
  }
  t.strictSame(warnings(lines), [])
})

t.test('a handler that timed out is answered in the context of its own request', async (t) => {
  const storage = new AsyncLocalStorage<string>()
  const { app, deliver } = createServer(t, { handlerTimeout: 20, verifyPlayer: () => new Promise(() => {}) })
  const answered: [string, string | undefined][] = []
  app.addHook('onRequest', (request, _reply, done) => storage.run(request.id, done))
  app.addHook('onSend', async (request) => { answered.push([request.id, storage.getStore()]) })
  await app.listen({ port: 0, host: '127.0.0.1' }) // a listening socket, which keeps the process alive
  await Promise.all([deliver(), deliver(), deliver()])
  t.strictSame(answered, ['req-1', 'req-2', 'req-3'].map((id) => [id, id]))
})

t.test('a check that throws is an error of the server, with and without a resolver', async (t) => {
  TypeRegistry.Set('Thrower', () => { throw new Error('canary') })
  t.teardown(() => TypeRegistry.Delete('Thrower'))
  for (const secret of [SECRET, async () => SECRET]) {
    const { app } = createHost(t)
    const eventData = Type.Unsafe<object>({ [Kind]: 'Thrower' })
    app.register(aghanimPlugin, aghanimOptions({ secret, now, eventData, verifyPlayer: () => PLAYER }))
    const reply = await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM.sign(BODY), payload: BODY })
    t.equal(reply.statusCode, 500)
    t.notMatch(reply.body, /canary/)
  }
})

t.test('a log that throws has no effect on the answer', async (t) => {
  const throwing = () => { throw new Error('canary') }
  const sign = signAghanim({ secret: OTHER_SECRET, body: BODY, timestamp: NOW })
  const cases: [Partial<AghanimOptions>, Record<string, string>, number][] = [
    [{ verifyPlayer: async () => { throw new Error('canary') } }, AGHANIM.sign(BODY), 500],
    [{ verifyPlayer: throwing }, AGHANIM.sign(BODY), 500],
    [{ verifyPlayer: async () => ({}) as never }, AGHANIM.sign(BODY), 500],
    [{ secret: throwing }, AGHANIM.sign(BODY), 503],
    [{ onRejected: throwing }, sign, 403],
    [{}, { ...AGHANIM.sign(BODY), 'content-type': 'text/plain' }, 415]
  ]
  for (const [options, headers, status] of cases) {
    const logSerializers = { failure: throwing, reason: throwing, problem: throwing }
    const { deliver } = createServer(t, { ...options, logSerializers })
    t.equal((await deliver(BODY, headers)).statusCode, status)
    await new Promise(setImmediate)
  }
})

t.test("a host's serializer of errors receives no error that breaks it", async (t) => {
  const { deliver, lines } = createServer(t, {
    verifyPlayer: async () => { throw new Error('x') }, logSerializers: { err: (error) => error.message.slice(0, 1) }
  })
  t.equal((await deliver()).json().code, 'FST_VERIFICATION_HANDLER_FAILED')
  t.match(warnings(lines), [{ reason: 'handler_failed' }])
})

t.test('a route whose signature hook is removed accepts nothing', async (t) => {
  for (const provider of PROVIDERS) {
    const { app } = createHost(t)
    const calls: unknown[] = []
    app.addHook('onRoute', (route) => { route.preHandler = async () => {} })
    provider.register(app, calls)
    const body = bodyOf(provider)
    const reply = await app.inject({ method: 'POST', url: provider.url, headers: provider.sign(body), payload: body })
    t.equal(reply.statusCode, 403)
    t.equal(calls.length, 0)
  }
})

t.test('a connection is kept open unless a body may still be on its way', quiet(async (t) => {
  for (const provider of PROVIDERS) {
    const { app } = createHost(t)
    const calls: unknown[] = []
    provider.register(app, calls)
    const body = bodyOf(provider)
    const { url, success } = provider
    const headers = provider.sign(body)
    const connectionOf = async (request: InjectOptions, status: number) => {
      const reply = await app.inject({ method: 'POST', url, headers, ...request })
      t.equal(reply.statusCode, status)
      return reply.headers.connection
    }
    t.equal(await connectionOf({ payload: body }, success), 'keep-alive')
    const { length } = calls
    t.equal(await connectionOf({ payload: `${body} ` }, 403), 'keep-alive')
    t.equal(await connectionOf({}, 403), 'keep-alive', 'the body is empty')
    t.equal(await connectionOf({ headers: {} }, 403), 'keep-alive', 'there is none')
    t.equal(await connectionOf({ payload: body, headers: { ...headers, 'content-type': 'text/plain' } }, 415), 'close')
    t.equal(calls.length, length, 'the handler did not run again')
  }
}))

t.test('the limits are 64 KiB, and 256 KiB for identity validation', async (t) => {
  for (const provider of PROVIDERS) {
    const { app } = createHost(t)
    provider.register(app, [])
    const limit = provider.name === 'identity-validation' ? 262_144 : 65_536
    for (const [length, status] of [[limit, provider.success], [limit + 1, 413]] as const) {
      const body = bodyOf(provider).padEnd(length)
      const reply = await app.inject({ method: 'POST', url: provider.url, headers: provider.sign(body), payload: body })
      t.equal(reply.statusCode, status)
    }
  }
})

t.test('an unfinished body of the wrong type does not keep its socket open', async (t) => {
  const { app } = createServer(t)
  for (const headers of [[['content-type', 'text/plain']], [['content-encoding', 'gzip']], []] as [string, string][][]) {
    const { text, closed } = await exchange(app, [rawRequest('/aghanim', [...headers, ['content-length', '500']], 'x')])
    t.equal(statusOf(text), 415)
    t.ok(closed)
  }
})

t.test('replacing the clock affects plugins registered before, and restoring it those registered after', async (t) => {
  for (const provider of PROVIDERS.filter(({ timestamp }) => timestamp !== undefined)) {
    const body = bodyOf(provider)
    const hosts = [createHost(t).app, createHost(t).app] as const
    const register = async (app: typeof hosts[0]) => {
      provider.register(app, [], { now: undefined })
      await app.ready()
    }
    const statuses = (timestamp: number) => Promise.all(hosts.map(async (app) =>
      (await app.inject({ method: 'POST', url: provider.url, headers: provider.sign(body, timestamp), payload: body })).statusCode))
    const today = Math.floor(Date.now() / 1000)
    await register(hosts[0])
    const clock = t.intercept(Date, 'now', { value: () => 1_600_000_000_000 })
    await register(hosts[1])
    t.strictSame(await statuses(1_600_000_000), [provider.success, provider.success], provider.name)
    t.strictSame(await statuses(today), [403, 403], provider.name)
    clock.restore()
    t.strictSame(await statuses(1_600_000_000), [403, 403], provider.name)
    t.strictSame(await statuses(today), [provider.success, provider.success], provider.name)
  }
})

t.test('during a rotation both secrets are accepted', quiet(async (t) => {
  const sign = (secret: string) => signAghanim({ secret, body: BODY, timestamp: NOW })
  for (const [secret, old, fresh] of [
    [SECRET, 200, 403], [OTHER_SECRET, 403, 200],
    [[SECRET, OTHER_SECRET], 200, 200], [[OTHER_SECRET, SECRET], 200, 200],
    [() => [OTHER_SECRET, SECRET], 200, 200]
  ] as const) {
    const { deliver } = createServer(t, { secret })
    t.equal((await deliver(BODY, sign(SECRET))).statusCode, old)
    t.equal((await deliver(BODY, sign(OTHER_SECRET))).statusCode, fresh)
    t.equal((await deliver(BODY, sign('a third secret that is long enough'))).statusCode, 403)
  }
}))

t.test("a resolver returns the secret of the request's tenant", async (t) => {
  const { app } = createHost(t)
  const secrets = new Map([['a', SECRET], ['b', OTHER_SECRET]])
  const asked: string[] = []
  app.register(aghanimPlugin, {
    path: '/games/:game',
    now,
    secret: async ({ params }) => {
      const { game } = params as { game: string }
      asked.push(game)
      return secrets.get(game)
    },
    verifyPlayer: () => PLAYER
  })
  const deliver = (game: string, secret: string, headers = signAghanim({ secret, body: BODY, timestamp: NOW })) =>
    app.inject({ method: 'POST', url: `/games/${game}`, headers, payload: BODY })
  for (const [game, secret, status] of [
    ['a', SECRET, 200], ['b', OTHER_SECRET, 200], ['a', OTHER_SECRET, 403], ['b', SECRET, 403], ['c', SECRET, 403]
  ] as const) {
    t.equal((await deliver(game, secret)).statusCode, status)
  }
  t.strictSame(asked, ['a', 'b', 'a', 'b', 'c'])
  const signed = signAghanim({ secret: SECRET, body: BODY, timestamp: NOW })
  for (const wrong of [{ 'x-aghanim-signature': 'x' }, { 'x-aghanim-signature-timestamp': `${NOW}0` }]) {
    t.equal((await deliver('a', SECRET, { ...signed, ...wrong })).statusCode, 403)
  }
  t.equal(asked.length, 5, 'malformed headers cost no look-up')
})

t.test('a resolver without a secret is a failed authentication', quiet(async (t) => {
  for (const nothing of [undefined, '', [], null]) {
    for (const secret of [() => nothing, async () => nothing]) {
      const rejected: RejectedDelivery[] = []
      const onRejected = (delivery: RejectedDelivery) => { rejected.push(delivery) }
      const { calls, deliver } = createServer(t, { secret: secret as never, onRejected })
      const reply = await deliver()
      t.equal(reply.statusCode, 403)
      t.equal(reply.json().code, 'FST_VERIFICATION_FORBIDDEN')
      t.equal(rejected[0]?.reason, 'unknown_key')
      t.equal(calls.length, 0)
    }
  }
}))

t.test('the log names the header at fault, if there is one', quiet(async (t) => {
  for (const provider of PROVIDERS) {
    const { app, lines } = createHost(t)
    provider.register(app, [])
    const body = bodyOf(provider)
    const headerOf = async (headers: Record<string, string>) => {
      await app.inject({ method: 'POST', url: provider.url, headers, payload: body })
      return lines.findLast(({ msg }) => msg === 'delivery rejected')!['header']
    }
    const signed = provider.sign(body)
    for (const header of provider.required) {
      const { [header]: _, ...others } = signed
      t.equal(await headerOf(others), header)
      t.equal(await headerOf({ ...signed, [header]: 'no, such' }), header)
    }
    t.equal(await headerOf(provider.sign(`${body} `)), undefined, 'for a mismatch, none')
  }
}))

t.test('onRejected receives the rejection, and cannot change it', quiet(async (t) => {
  const { app } = createHost(t)
  const seen: RejectedDelivery[] = []
  const onRejected = (delivery: RejectedDelivery) => { seen.push(delivery) }
  app.register(identityValidationPlugin, {
    prefix: '/v1', apiKeys: { [API_KEY]: API_SECRET }, now, handleSession () {}, onRejected
  })
  const provider = PROVIDERS[2]!
  const body = bodyOf(provider)
  const send = (headers: Record<string, string>) =>
    app.inject({ method: 'POST', url: `/v1${SESSIONS}`, headers, payload: body })
  const signed = { ...provider.sign(body), 'x-endpoint': `/v1${SESSIONS}` }
  await send(signed)
  await send(signIdentityValidation({
    apiKey: API_KEY, secret: API_SECRET, endpoint: `/v1${SESSIONS}`, body, timestamp: NOW - 1000
  }))
  await send({ ...signed, 'x-api-key': 'unknown' })
  const base = { provider: 'identity-validation', path: `/v1${SESSIONS}`, outcome: 'rejected', status: 403, bytes: Buffer.byteLength(body) }
  const told = seen.map(({ duration, ...rest }) => {
    t.ok(duration > 0 && duration < performance.now())
    return rest
  })
  t.strictSame(told, [
    { ...base, reason: 'mismatch', keyId: API_KEY, requestId: 'req-1' },
    { ...base, reason: 'stale', ageSeconds: 1000, keyId: API_KEY, requestId: 'req-2' },
    { ...base, reason: 'unknown_key', requestId: 'req-3' }
  ])

  const silent = createHost(t, { logger: { level: 'silent' } })
  const reasons: string[] = []
  silent.app.register(aghanimPlugin, {
    secret: SECRET, now, verifyPlayer: () => PLAYER, onRejected: ({ reason }) => { reasons.push(reason) }
  })
  t.equal((await silent.app.inject({ method: 'POST', url: '/aghanim' })).statusCode, 403)
  t.strictSame([reasons, silent.lines], [['no_body'], []], 'with and without logging')

  for (const onRejected of [() => { throw new Error('canary') }, async () => { throw new Error('canary') }]) {
    const { deliver, lines } = createServer(t, { onRejected })
    const reply = await deliver(BODY, signAghanim({ secret: OTHER_SECRET, body: BODY, timestamp: NOW }))
    t.equal(reply.statusCode, 403)
    await until(() => warnings(lines).length > 0)
    t.equal(warnings(lines)[0]?.msg, 'onRejected failed')
    t.notMatch(JSON.stringify(lines), /canary/)
  }
}))

t.test('close() answers running requests and is not held up by kept-alive clients', quiet(async (t) => {
  const gate = gateOf<undefined>()
  let running = 0
  const { app } = createServer(t, {
    verifyPlayer: async () => {
      running++
      await gate.promise
      return PLAYER
    }
  })
  const request = rawRequest('/aghanim', [...pairs(AGHANIM.sign(BODY)), ['content-length', String(BODY.length)]], BODY)
  const answers = [...Array(20)].map(() => exchange(app, [request]))
  await until(() => running === 20)
  const closed = app.close()
  await until(() => !app.server.listening)
  gate.resolve(undefined)
  for (const { text, closed } of await Promise.all(answers)) {
    t.equal(statusOf(text), 200)
    t.match(text, /\r\nconnection: close\r\n/)
    t.ok(closed)
  }
  await closed
}))

t.test('a client that disconnects changes nothing for the handler', async (t) => {
  const gate = gateOf<undefined>()
  let ended = false
  let running = false
  const { app, lines } = createServer(t, {
    verifyPlayer: async () => {
      running = true
      await gate.promise
      ended = true
      return PLAYER
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const controller = new AbortController()
  const request = fetch(`http://127.0.0.1:${portOf(app)}/aghanim`, {
    method: 'POST', headers: AGHANIM.sign(BODY), body: BODY, signal: controller.signal
  }).catch(() => {})
  await until(() => running)
  controller.abort()
  await request
  gate.resolve(undefined)
  await until(() => ended && lines.some(({ msg }) => msg.includes('request')))
  t.strictSame(warnings(lines), [])
})

t.test('the signed string may have any bytes that JSON allows', async (t) => {
  const { app } = createHost(t)
  const events: unknown[] = []
  app.register(altdentifierPlugin, { secret: SECRET, handleEvent: (event) => { events.push(event) } })
  const body = '{ "OP" : 5e0, "\\u006eame": "Zo\u00eb \\ud83d\\ude00 \u{1F600}" }\r\n'
  const headers = signAltdentifier({ secret: SECRET, body })
  t.equal((await app.inject({ method: 'POST', url: '/altdentifier', headers, payload: body })).statusCode, 204)
  t.strictSame(events, [{ OP: 5, name: 'Zo\u00eb \u{1F600} \u{1F600}' }])
})
