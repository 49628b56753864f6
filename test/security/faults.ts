import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Pool } from 'undici'
import { limitShutdown } from '../../example-server.js'
import {
  aghanimPlugin, altdentifierPlugin, humandetectApiPlugin, humandetectPlugin, identityValidationPlugin, openToken,
  signIdentityValidation
} from '../../plugins/index.js'
import {
  API_KEY, API_SECRET, bodyOf, NOW, now, PLAYER, PROVIDERS, SECRET, type ProviderCase
} from '../support/deliveries.js'
import { createHost, exchange, listen, NO_REQUEST_LOG, portOf, rawRequest, type Test } from '../support/host.js'
import { IDENTIFIER, mint, SERVICE_KEY, startService, TOKEN_SECRET } from '../support/humandetect.js'
import { scriptedStore, warningsIn } from '../support/life-cycle.js'
import { gateOf, until, watchLag, watchRejections } from '../support/waiting.js'

const rejections = watchRejections()
const [ALTDENTIFIER, AGHANIM, IDENTITY] = PROVIDERS as [ProviderCase, ProviderCase, ProviderCase]
const FILES = '/identity-validation/required-files'
const CANARY = 'canary of a callback'
const turn = () => new Promise((resolve) => setImmediate(resolve))

/**
 * How long what is due at once may take, in milliseconds: far more than a busy machine needs for it, and far less than
 * Node keeps a connection that nobody ends.
 */
const HELD_UP = 8000

type Act = () => unknown
type Settle = (value?: unknown) => void

const failure = (): Error => Object.assign(new Error(CANARY, { cause: new Error(CANARY) }), {
  statusCode: 418, code: 'ECANARY', headers: { 'x-canary': CANARY }, config: { url: CANARY }
})
const fail = (): never => { throw failure() }
const hostile = (): object => Object.defineProperties({}, Object.fromEntries(
  ['then', 'message', 'stack', 'code', 'name', 'statusCode', 'cause', 'toString', 'toJSON'].map((key) =>
    [key, { get: fail, enumerable: true }])))
const proxy = (): object => new Proxy({}, { get: fail, has: fail, getPrototypeOf: fail, ownKeys: fail })
const shapes: [what: string, thrown: () => unknown][] = [
  ['an Error', failure],
  ['a text', () => CANARY],
  ['null', () => null],
  ['undefined', () => undefined],
  ['zero', () => 0],
  ['a symbol', () => Symbol(CANARY)],
  ['a frozen object', () => Object.freeze({ statusCode: 200, message: CANARY })],
  ['an object whose getters throw', hostile],
  ['a proxy that throws', proxy],
  ['an Error that cannot be read', () => Object.defineProperty(new Error(CANARY), 'stack', { get: fail })]
]
const thenable = (then: (resolve: Settle, reject: Settle) => unknown) => () => ({ then })

/** Every way in which a callback can fail at once. */
const THROWS: [what: string, act: Act][] = shapes.map(([what, thrown]) => [`throws ${what}`, () => { throw thrown() }])

/** And those in which what it returns fails, now or later. */
const REJECTS: [what: string, act: Act][] = [
  ...shapes.flatMap(([what, thrown]): [string, Act][] => [
    [`rejects with ${what}`, () => new Promise((_resolve, reject) => { reject(thrown()) })], // a hostile value as it is
    [`rejects with ${what}, later`, () => turn().then(() => { throw thrown() })]
  ]),
  ['returns a thenable that rejects', thenable((_resolve, reject) => reject(failure()))],
  ['returns a thenable that rejects twice', thenable((_resolve, reject) => { reject(failure()); reject(CANARY) })],
  ['returns a thenable that rejects and throws', thenable((_resolve, reject) => { reject(failure()); fail() })],
  ['returns a thenable that rejects and then resolves', thenable((resolve, reject) => {
    reject(failure())
    resolve(PLAYER)
  })],
  ['returns a thenable that throws', thenable(fail)],
  ['returns a thenable of a thenable that throws', thenable((resolve) => resolve({ then: fail }))],
  ['returns a thenable of a promise that rejects', thenable((resolve) => resolve(Promise.reject(failure())))],
  ['returns what cannot be looked at', hostile]
]
const FAULTS = [...THROWS, ...REJECTS]
/** Where a number is asked for, and no promise: the last of them fails as soon as it is looked at. */
const [THROWS_AT_ONCE, REJECTS_LATER] = [[...THROWS, ...REJECTS.slice(-1)], REJECTS.slice(0, -1)]

interface Delivery { readonly url: string, readonly headers: Record<string, string>, readonly body: string }

/** Makes of an honest callback one that does its work unless it is told to do something else. */
type Wrap = (honest: (...args: any[]) => unknown) => any

/** A host on which one callback does as it is told, and a delivery that makes the plugin call it. */
interface Surface {
  readonly name: string
  readonly register: (app: FastifyInstance, callback: Wrap, test: Test) => unknown
  /** No two are the same, or a later one would be taken for a copy. */
  readonly delivery: (count: number) => Delivery
  /** What a delivery is answered with while the callback fails. */
  readonly failed: string
  /** What an honest one is answered with afterwards. */
  readonly good: number
  /** What makes the plugin call the callback, if not an honest delivery. */
  readonly provoke?: (delivery: Delivery) => Delivery
  readonly faults?: typeof FAULTS
  /** What is logged of it. Absent where the host is told instead. */
  readonly logged?: string
}

const signed = ({ url, sign, event }: ProviderCase, more: object): Delivery => {
  const body = JSON.stringify({ ...event, ...more })
  return { url, headers: sign(body), body }
}
const altdentifierEvent = (count: number) => signed(ALTDENTIFIER, { count })
const playerVerify = (count: number) => signed(AGHANIM, { idempotency_key: `key-${count}` })
const itemAdd = (count: number) =>
  signed(AGHANIM, { event_type: 'item.add', event_id: `event-${count}`, event_data: { player_id: 'p' } })
const session = (count: number) => signed(IDENTITY, { count })
const files = (count: number): Delivery => {
  const body = JSON.stringify({ count })
  return {
    url: FILES,
    headers: signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint: FILES, body, timestamp: NOW }),
    body
  }
}
const posted = (url: string, payload: object, headers: Record<string, string> = {}): Delivery =>
  ({ url, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(payload) })
const question = () => posted('/v1/humandetect/verify', { token: mint() }, { 'x-api-key': SERVICE_KEY })
const forged = (delivery: Delivery): Delivery => ({ ...delivery, body: `${delivery.body} ` })
const otherKey = (delivery: Delivery): Delivery => ({ ...delivery, headers: { ...delivery.headers, 'x-api-key': 'other' } })

const HANDLER = { failed: '500 FST_VERIFICATION_HANDLER_FAILED', logged: 'delivery failed: handler_failed' }
const RESOLVER = { failed: '503 FST_VERIFICATION_SECRET_UNAVAILABLE retry', logged: 'delivery failed: secret_unavailable' }
const WATCHER = { failed: '403 FST_VERIFICATION_FORBIDDEN', logged: 'onRejected failed', provoke: forged }
const CLOCK = { failed: '500 FST_VERIFICATION_FAILED', logged: 'delivery failed: verification_failed', faults: THROWS_AT_ONCE }
const GUARD = { failed: '500', good: 201 }

const apiKeys = { [API_KEY]: API_SECRET }
const nothing = () => {}
const verifyToken = (token: string) => openToken({ secret: TOKEN_SECRET, token })

/** A route of the host's behind the guard. */
function guarded (option: 'identifier' | 'token'): Surface['register'] {
  return async (app, callback, test) => {
    const { baseUrl } = await startService(test)
    await app.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl, allowHttp: true })
    // Errors of a host's own routes are the host's to answer.
    app.setErrorHandler((_error, _request, reply) => reply.code(500).send({ statusCode: 500 }))
    const honest = { identifier: () => IDENTIFIER, token: ({ body }: { body: any }) => body.token }
    const preHandler = app.humandetect.requireHuman({ ...honest, [option]: callback(honest[option]) })
    app.post('/signup', { preHandler }, async (request, reply) => {
      reply.code(201)
      return { valid: request.humandetect!.valid }
    })
  }
}
const signup = () => posted('/signup', { token: mint() })

const SURFACES: readonly Surface[] = [
  {
    ...HANDLER,
    name: "altdentifier's handleEvent",
    register: (app, callback) => app.register(altdentifierPlugin, { secret: SECRET, handleEvent: callback(nothing) }),
    delivery: altdentifierEvent,
    good: 204
  },
  {
    ...HANDLER,
    name: "altdentifier's handleEvent, with dedupe",
    register: (app, callback) =>
      app.register(altdentifierPlugin, { secret: SECRET, dedupe: 60, handleEvent: callback(nothing) }),
    delivery: altdentifierEvent,
    good: 204
  },
  {
    ...HANDLER,
    name: "aghanim's verifyPlayer",
    register: (app, callback) =>
      app.register(aghanimPlugin, { secret: SECRET, now, verifyPlayer: callback(() => PLAYER) }),
    delivery: playerVerify,
    good: 200
  },
  {
    ...HANDLER,
    name: "aghanim's verifyPlayer, without a key",
    register: (app, callback) =>
      app.register(aghanimPlugin, { secret: SECRET, now, verifyPlayer: callback(() => PLAYER) }),
    delivery: () => signed(AGHANIM, {}),
    good: 200
  },
  {
    ...HANDLER,
    name: "aghanim's handleEvent",
    register: (app, callback) => app.register(aghanimPlugin, {
      secret: SECRET, now, verifyPlayer: () => null, handleEvent: callback(nothing)
    }),
    delivery: itemAdd,
    good: 200
  },
  {
    ...HANDLER,
    name: "identity validation's handleSession",
    register: (app, callback) =>
      app.register(identityValidationPlugin, { apiKeys, now, handleSession: callback(nothing) }),
    delivery: session,
    good: 204
  },
  {
    ...HANDLER,
    name: "identity validation's handleRequiredFiles",
    register: (app, callback) =>
      app.register(identityValidationPlugin, { apiKeys, now, handleRequiredFiles: callback(nothing) }),
    delivery: files,
    good: 204
  },
  {
    ...HANDLER,
    name: "humandetect's handleResult",
    register: async (app, callback, test) => {
      const { baseUrl } = await startService(test)
      const handleResult = callback(nothing)
      app.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl, allowHttp: true, handleResult })
    },
    delivery: () => posted('/humandetect', { token: mint(), identifier: IDENTIFIER }),
    good: 204
  },
  {
    name: "the Token Verification API's verifyToken",
    register: (app, callback) => app.register(humandetectApiPlugin, {
      apiKeys: [SERVICE_KEY], verifyToken: callback(verifyToken)
    }),
    delivery: question,
    failed: '500 internalError',
    good: 200,
    logged: 'delivery failed: handler_failed'
  },
  {
    ...RESOLVER,
    name: "altdentifier's secret",
    register: (app, callback) =>
      app.register(altdentifierPlugin, { secret: callback(() => SECRET), handleEvent () {} }),
    delivery: altdentifierEvent,
    good: 204
  },
  {
    ...RESOLVER,
    name: "aghanim's secret",
    register: (app, callback) =>
      app.register(aghanimPlugin, { secret: callback(() => SECRET), now, verifyPlayer: () => PLAYER }),
    delivery: playerVerify,
    good: 200
  },
  {
    ...RESOLVER,
    name: "identity validation's apiKeys",
    register: (app, callback) =>
      app.register(identityValidationPlugin, { apiKeys: callback(() => API_SECRET), now, handleSession () {} }),
    delivery: session,
    good: 204
  },
  {
    ...WATCHER,
    name: "altdentifier's onRejected",
    register: (app, callback) =>
      app.register(altdentifierPlugin, { secret: SECRET, handleEvent () {}, onRejected: callback(nothing) }),
    delivery: altdentifierEvent,
    good: 204
  },
  {
    ...WATCHER,
    name: "aghanim's onRejected",
    register: (app, callback) =>
      app.register(aghanimPlugin, { secret: SECRET, now, verifyPlayer: () => PLAYER, onRejected: callback(nothing) }),
    delivery: playerVerify,
    good: 200
  },
  {
    ...WATCHER,
    name: "identity validation's onRejected",
    register: (app, callback) =>
      app.register(identityValidationPlugin, { apiKeys, now, handleSession () {}, onRejected: callback(nothing) }),
    delivery: session,
    good: 204
  },
  {
    ...WATCHER,
    name: "the Token Verification API's onRejected",
    register: (app, callback) => app.register(humandetectApiPlugin, {
      apiKeys: [SERVICE_KEY], verifyToken, onRejected: callback(nothing)
    }),
    delivery: question,
    provoke: otherKey,
    failed: '401 unauthorized',
    good: 200
  },
  {
    ...CLOCK,
    name: "aghanim's clock",
    register: (app, callback) =>
      app.register(aghanimPlugin, { secret: SECRET, now: callback(now), verifyPlayer: () => PLAYER }),
    delivery: playerVerify,
    good: 200
  },
  {
    ...CLOCK,
    name: "identity validation's clock",
    register: (app, callback) =>
      app.register(identityValidationPlugin, { apiKeys, now: callback(now), handleSession () {} }),
    delivery: session,
    good: 204
  },
  {
    name: "humandetect's clock",
    register: async (app, callback, test) => {
      const { baseUrl } = await startService(test)
      const handleResult = nothing
      app.register(humandetectPlugin, {
        apiKey: SERVICE_KEY, baseUrl, allowHttp: true, now: callback(Date.now), handleResult
      })
    },
    delivery: () => posted('/humandetect', { token: mint(), identifier: IDENTIFIER }),
    faults: THROWS_AT_ONCE,
    failed: '503 FST_HUMANDETECT_UNAVAILABLE retry',
    good: 204,
    logged: 'delivery failed: verification_failed'
  },
  { ...GUARD, name: "the guard's identifier", register: guarded('identifier'), delivery: signup },
  { ...GUARD, name: "the guard's token", register: guarded('token'), delivery: signup }
]

const outcomeOf = (statusCode: number, body: string, retry: boolean): string => {
  const { code } = Object(body === '' ? undefined : JSON.parse(body)) as { code?: string }
  return [statusCode, ...(code === undefined ? [] : [code]), ...(retry ? ['retry'] : [])].join(' ')
}

/** A host with the surface on it. `fault` is what its callback does, where that is not its work. */
async function open (test: Test, surface: Surface, server: FastifyServerOptions = {}) {
  const { app, lines } = createHost(test, server)
  const state = { fault: undefined as Act | undefined, called: 0, sent: 0 }
  await surface.register(app, (honest) => (...args: unknown[]) => {
    state.called++
    return state.fault === undefined ? honest(...args) : state.fault()
  }, test)
  const next = (): Delivery => {
    const delivery = surface.delivery(++state.sent)
    return state.fault !== undefined && surface.provoke ? surface.provoke(delivery) : delivery
  }
  const inject = async () => {
    const { url, headers, body } = next()
    const reply = await app.inject({ method: 'POST', url, headers, payload: body })
    return {
      text: JSON.stringify(reply.headers) + reply.body,
      outcome: outcomeOf(reply.statusCode, reply.body, reply.headers['retry-after'] !== undefined)
    }
  }
  const overSocket = async () => {
    const { url, headers, body } = next()
    const length: [string, string] = ['content-length', String(Buffer.byteLength(body))]
    const { text } = await exchange(app, [
      rawRequest(url, [...Object.entries(headers), length, ['connection', 'close']], body)
    ])
    const [head = '', content = ''] = text.split('\r\n\r\n')
    return { text, outcome: outcomeOf(Number(head.split(' ')[1]), content, head.includes('retry-after: ')) }
  }
  return { app, lines, state, inject, overSocket }
}

for (const surface of SURFACES) {
  const { name, failed, good, logged, faults = FAULTS } = surface

  t.test(`${name}: ${faults.length} ways to fail, one answer, and the next delivery is taken`, async (t) => {
    const { lines, state, inject } = await open(t, surface)
    for (const [what, act] of faults) {
      lines.length = state.called = 0
      state.fault = act
      const { outcome, text } = await inject()
      t.equal(outcome, failed, what)
      t.notMatch(text, /canary/i, `${what}: nothing of it is sent`)
      t.equal(state.called, 1, `${what}: called once`)
      if (logged === WATCHER.logged) await until(() => lines.some(({ msg }) => msg === logged))
      if (logged !== undefined) {
        t.strictSame(warningsIn(lines), [{ level: 50, msg: logged }], `${what}: logged once`)
        t.notMatch(JSON.stringify(lines), /canary of/, `${what}: nothing of it is logged`)
      }
      state.fault = undefined
      t.equal((await inject()).outcome, String(good), `${what}: and the next is taken`)
    }
  })

  t.test(`${name}: the same over a socket`, async (t) => {
    const { state, overSocket } = await open(t, surface)
    for (const [what, act] of faults.filter((_, index) => index % 4 === 0)) {
      state.fault = act
      const { outcome, text } = await overSocket()
      t.equal(outcome, failed, what)
      t.notMatch(text, /canary/i, `${what}: nothing of it is sent`)
      state.fault = undefined
      t.equal((await overSocket()).outcome, String(good), `${what}: and the next is taken`)
    }
  })
}

/** What is no time. */
const NO_TIMES = [NaN, Infinity, -Infinity, String(NOW * 1000), BigInt(NOW * 1000), null, undefined].map((value) =>
  [`returns ${typeof value} ${value}`, () => value] as const)

t.test('a clock that tells no time makes nothing fresh', async (t) => {
  for (const surface of SURFACES.filter(({ failed }) => failed === CLOCK.failed)) {
    const { state, inject } = await open(t, surface)
    for (const [what, act] of [...REJECTS_LATER, ...NO_TIMES] as const) {
      state.fault = act
      t.equal((await inject()).outcome, WATCHER.failed, what)
    }
  }
})

t.test("what a host's hook throws cannot be looked at, and is answered all the same", async (t) => {
  const surface = SURFACES.find(({ name }) => name === "aghanim's verifyPlayer")!
  let thrown: unknown
  const { app, inject } = await open(t, surface)
  app.addHook('preHandler', async () => { if (thrown !== undefined) throw thrown })
  for (const [what, create] of shapes.filter(([what]) => / (getters|proxy|read)/.test(what))) {
    thrown = create()
    const { outcome, text } = await inject()
    t.equal(outcome, '500', what)
    t.notMatch(text, /canary/i, `${what}: nothing of it is sent`)
  }
  thrown = undefined
  t.equal((await inject()).outcome, '200')
})

/** A logger of a host whose every method throws once `state.broken`, and a stream that does. */
const BROKEN_LOGS: [what: string, create: (state: { broken: boolean }) => FastifyServerOptions][] = [
  ['a stream', (state) => ({
    logger: { level: 'trace', stream: { write () { if (state.broken) fail() } } }
  })],
  ['a logger', (state) => {
    const log = () => { if (state.broken) fail() }
    const loggerInstance = {
      ...Object.fromEntries(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'].map((level) => [level, log])),
      level: 'trace',
      child: () => loggerInstance
    }
    return { logger: undefined, loggerInstance } as unknown as FastifyServerOptions
  }]
]

for (const [what, create] of BROKEN_LOGS) {
  t.test(`${what} that throws decides no answer`, async (t) => {
    for (const surface of SURFACES) {
      const log = { broken: false }
      // What Fastify itself logs of each request would throw where nobody catches it.
      const server = { ...create(log), ...NO_REQUEST_LOG }
      const { app, state, inject, overSocket } = await open(t, surface, server)
      await app.ready()
      await listen(app)
      for (const send of [inject, overSocket]) {
        for (const [, act] of [THROWS[0]!, REJECTS[0]!].filter((fault) => (surface.faults ?? FAULTS).includes(fault))) {
          log.broken = true
          state.fault = act
          t.equal((await send()).outcome, surface.failed, surface.name)
          state.fault = undefined
          t.equal((await send()).outcome, String(surface.good), `${surface.name}: and the next is taken`)
          log.broken = false
        }
      }
    }
  })
}

t.test('an unknown OP is acknowledged whatever the log does', async (t) => {
  const { app } = createHost(t)
  app.register(altdentifierPlugin, { secret: SECRET, handleEvent () {}, logSerializers: { OP: fail } })
  const { url, headers, body } = signed(ALTDENTIFIER, { OP: 9 })
  t.equal((await app.inject({ method: 'POST', url, headers, payload: body })).statusCode, 204)
})

const RESOLVERS = SURFACES.filter(({ logged }) => logged === RESOLVER.logged)

/** What a resolver may find that is no secret. Of those that are a mistake, nobody is to be told 403. */
const FOUND: [value: unknown, none: boolean][] = [
  ...[undefined, null, '', []].map((value): [unknown, boolean] => [value, true]),
  ...[0, 7, NaN, 1n, true, false, {}, { length: 0 }, { secret: SECRET }, () => SECRET, Symbol('x'), new Map(), new Date(0),
    Buffer.from(SECRET), new Uint8Array(0), [''], [[]], [undefined], [SECRET, 7], Array(5).fill(SECRET), 'short', ' '
  ].map((value): [unknown, boolean] => [value, false])
]

for (const surface of RESOLVERS) {
  t.test(`${surface.name}: what is found is no secret`, async (t) => {
    const { state, inject } = await open(t, surface)
    for (const [value, none] of FOUND) {
      for (const found of [() => value, async () => value, thenable((resolve) => resolve(value))]) {
        state.fault = found
        t.equal((await inject()).outcome, none ? WATCHER.failed : RESOLVER.failed, typeof value)
      }
    }
    state.fault = undefined
    t.equal((await inject()).outcome, String(surface.good))
  })

  t.test(`${surface.name}: one that hangs has a second, and holds up nobody else`, async (t) => {
    const { app, state, inject, overSocket } = await open(t, surface)
    await listen(app)
    t.equal((await overSocket()).outcome, String(surface.good)) // the first one takes longest
    state.called = 0
    const gate = gateOf<undefined>()
    const start = performance.now()
    state.fault = () => gate.promise.then(() => SECRET)
    const ended: string[] = []
    const note = async (sent: ReturnType<typeof inject>) => { ended.push((await sent).outcome) }
    const hung = [inject(), inject(), overSocket(), overSocket()].map(note)
    await until(() => state.called === 4)
    state.fault = undefined
    t.equal((await overSocket()).outcome, String(surface.good))
    t.strictSame(ended, [], 'while the others wait')
    await Promise.all(hung)
    t.strictSame(ended, Array(4).fill(RESOLVER.failed))
    const time = performance.now() - start
    t.ok(time > 950 && time < HELD_UP, `${time} ms`)
    gate.resolve(undefined)
    t.equal((await inject()).outcome, String(surface.good))
  })
}

const pairs = (headers: Record<string, string>): [string, string][] => Object.entries(headers)
const connectionsOf = (app: FastifyInstance) => new Promise<number>((resolve, reject) => {
  app.server.getConnections((error, count) => error ? reject(error) : resolve(count))
})

interface Client { readonly socket: Socket, text: string, closedAfter: number | undefined }

/** Connects, sends the beginning of a request, and notes what comes back and when the server ends it. */
async function begin (app: FastifyInstance, part: Buffer): Promise<Client> {
  const socket = connect({ port: portOf(app), host: '127.0.0.1', noDelay: true, allowHalfOpen: false })
  const client: Client = { socket, text: '', closedAfter: undefined }
  socket.on('error', () => {}) // a reset is a close
  socket.on('data', (chunk) => { client.text += chunk.toString('latin1') })
  await once(socket, 'connect')
  const start = performance.now()
  socket.on('close', () => { client.closedAfter = performance.now() - start })
  socket.write(part)
  return client
}

for (const provider of PROVIDERS) {
  const body = bodyOf(provider)
  const head = (length: number) =>
    rawRequest(provider.url, [...pairs(provider.sign(body)), ['content-length', String(length)]], '')

  t.test(`${provider.name}: 500 slow clients are ended in time, and honest deliveries are taken meanwhile`, async (t) => {
    const BODY_TIMEOUT = 1000
    const { app } = createHost(t, { logger: false })
    const calls: unknown[] = []
    provider.register(app, calls, { bodyTimeout: BODY_TIMEOUT })
    await listen(app)
    const pool = new Pool(`http://127.0.0.1:${portOf(app)}`, { connections: 4 })
    t.teardown(() => pool.destroy())

    const chunked = rawRequest(provider.url, [...pairs(provider.sign(body)), ['transfer-encoding', 'chunked']], '')
    const bytes = Buffer.from(body)
    const starts = [head(bytes.length), head(bytes.length), chunked]
    const lag = watchLag()
    const slow: Client[] = []
    while (slow.length < 500) { // not all in one turn, or the first would wait for the last
      const begun = Array.from({ length: 25 }, (_, index) => begin(app, starts[(slow.length + index) % 3]!))
      slow.push(...await Promise.all(begun))
    }
    let sent = 0
    const drip = setInterval(() => {
      const byte = bytes.subarray(sent, ++sent)
      for (const [index, { socket }] of slow.entries()) {
        if (socket.writable && index % 3 === 1) socket.write(byte)
        if (socket.writable && index % 3 === 2) socket.write(Buffer.concat([Buffer.from('1\r\n'), byte, Buffer.from('\r\n')]))
      }
    }, 50)
    t.teardown(() => clearInterval(drip))

    let honest = 0
    const refused = new Set<number>()
    const isOver = () => slow.every(({ closedAfter }) => closedAfter !== undefined)
    const deliver = async () => {
      while (!isOver()) {
        const another = JSON.stringify({ ...provider.event, count: ++honest, idempotency_key: `key-${honest}` })
        const { statusCode, body } = await pool.request({
          path: provider.url, method: 'POST', headers: provider.sign(another), body: another
        })
        await body.dump()
        if (statusCode !== provider.success) refused.add(statusCode)
      }
    }
    await Promise.all([deliver(), deliver(), deliver(), deliver()])
    clearInterval(drip)

    t.strictSame([...refused], [], `all ${honest} honest deliveries were taken`)
    t.equal(calls.length, honest, 'the handler ran for those only')
    t.ok(honest > 10)
    const longest = Math.max(...slow.map(({ closedAfter }) => closedAfter!))
    const patience = 1000 + lag()
    t.ok(longest < BODY_TIMEOUT + patience, `the last one was ended after ${longest} ms`)
    t.ok(Math.min(...slow.map(({ closedAfter }) => closedAfter!)) > BODY_TIMEOUT - 100, 'and none before its time')
    const answers = new Set(slow.map(({ text }) => text.slice(0, 12)))
    for (const answer of answers) t.ok(['', 'HTTP/1.1 408'].includes(answer), `"${answer}"`)
    t.ok(answers.has('HTTP/1.1 408'))
    t.comment(`${honest} honest deliveries; slow clients ended after ${Math.ceil(longest)} ms at most, of ${Math.ceil(BODY_TIMEOUT + patience)}`)
    await pool.close()
    const start = performance.now()
    await app.close()
    t.ok(performance.now() - start < HELD_UP, 'and close() is not held up')
  })

  t.test(`${provider.name}: 600 bodies that are cut off leave nothing behind`, async (t) => {
    const { store, asked } = scriptedStore()
    const { app } = createHost(t, { logger: false })
    const calls: unknown[] = []
    const dedupe = provider === ALTDENTIFIER ? { dedupe: 60 } : {}
    // Any deadline that is left would keep its timer for a minute.
    provider.register(app, calls, { deliveries: store, bodyTimeout: 60_000, ...dedupe })
    await listen(app)
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    const before = timers()
    let received = 0
    app.server.on('request', () => { received++ })
    for (const cut of ['end', 'resetAndDestroy'] as const) {
      const begun = await Promise.all(Array.from({ length: 300 }, () =>
        begin(app, Buffer.concat([head(50), Buffer.from('{"cut":')]))))
      await until(() => received === 300)
      t.equal(await connectionsOf(app), 300)
      t.equal(timers(), before + 1, 'one timer for all their deadlines')
      for (const { socket } of begun) socket[cut]()
      await until(() => begun.every(({ closedAfter }) => closedAfter !== undefined))
      while (await connectionsOf(app) > 0) await turn()
      await until(() => timers() === before)
      received = 0
    }
    t.equal(calls.length, 0)
    t.strictSame(asked, [])
    const { statusCode } = await app.inject({ method: 'POST', url: provider.url, headers: provider.sign(body), payload: body })
    t.equal(statusCode, provider.success, 'the whole of it is taken')
    const start = performance.now()
    await app.close()
    t.ok(performance.now() - start < HELD_UP, 'and close() is not held up')
  })
}

t.test('a body that stops halfway holds up close() no longer than bodyTimeout', async (t) => {
  const { app } = createHost(t, NO_REQUEST_LOG)
  const calls: unknown[] = []
  AGHANIM.register(app, calls, { bodyTimeout: 500 })
  await listen(app)
  const body = bodyOf(AGHANIM)
  const headers = [...pairs(AGHANIM.sign(body)), ['content-length', String(body.length)]] as const
  const half = await begin(app, rawRequest(AGHANIM.url, headers, body.slice(0, -1)))
  await once(app.server, 'request')
  const start = performance.now()
  await app.close()
  t.ok(performance.now() - start < HELD_UP)
  await until(() => half.closedAfter !== undefined)
  t.match(half.text, /^HTTP\/1\.1 408 /)
  t.strictSame(calls, [])
})

t.test('docs/production.md: half a head is ended while the server runs, and does not hold it up when it closes', async (t) => {
  const http = { headersTimeout: 300, connectionsCheckingInterval: 100 }
  const { app } = createHost(t, { requestTimeout: 1000, http })
  const calls: unknown[] = []
  AGHANIM.register(app, calls)
  limitShutdown(app, 500)
  await listen(app)
  const head = Buffer.from(`POST ${AGHANIM.url} HTTP/1.1\r\nHost: localhost\r\n`)
  const slow = await begin(app, head)
  await until(() => slow.closedAfter !== undefined)
  t.match(slow.text, /^HTTP\/1\.1 408 /)
  t.ok(slow.closedAfter! > 250 && slow.closedAfter! < HELD_UP)

  const accepted = once(app.server, 'connection') as Promise<[Socket]>
  const late = await begin(app, head)
  const [connection] = await accepted
  await until(() => connection.bytesRead === head.length)
  const start = performance.now()
  await app.close()
  const time = performance.now() - start
  t.ok(time > 450 && time < HELD_UP, `${time} ms`)
  await until(() => late.closedAfter !== undefined)
  t.equal(late.text, '')
  t.strictSame(calls, [])
})

t.test('300 bodies parked before their last byte take what they have sent, and give it back', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const held = () => {
    collect()
    const { external, arrayBuffers, rss } = process.memoryUsage()
    return { external, arrayBuffers, rss }
  }
  const COUNT = 300
  const LIMIT = 65_536
  const BODY_TIMEOUT = 5000 // the default
  const { app } = createHost(t, { logger: false })
  const calls: unknown[] = []
  AGHANIM.register(app, calls)
  const sockets: Socket[] = []
  app.server.on('connection', (socket) => { sockets.push(socket) })
  await listen(app)
  const request = rawRequest(AGHANIM.url, [
    ...pairs(AGHANIM.sign(bodyOf(AGHANIM))), ['content-length', String(LIMIT)]
  ], bodyOf(AGHANIM).padEnd(LIMIT - 1))
  const before = held()
  const parked = await Promise.all(Array.from({ length: COUNT }, () => begin(app, request)))
  await until(() => sockets.reduce((bytes, { bytesRead }) => bytes + bytesRead, 0) >= COUNT * request.length)
  const during = held()
  await until(() => parked.every(({ closedAfter }) => closedAfter !== undefined))
  while (await connectionsOf(app) > 0) await turn()
  sockets.length = 0
  const growth = during.arrayBuffers - before.arrayBuffers
  await until(() => held().arrayBuffers - before.arrayBuffers < growth / 10) // given back, once it is collected
  const after = held()

  const mebibytes = (bytes: number) => Math.round(bytes / 2 ** 20 * 10) / 10
  t.comment('MiB more while they are parked, and once they are ended:', ['arrayBuffers', 'external', 'rss'].map((kind) => {
    const of = kind as keyof typeof before
    return `${kind} ${mebibytes(during[of] - before[of])}, ${mebibytes(after[of] - before[of])}`
  }).join('; '))
  t.ok(growth > 0.5 * COUNT * LIMIT, 'they are there')
  t.ok(growth < 2 * COUNT * LIMIT, 'and take no more than twice what was sent')
  t.strictSame(parked.filter(({ text }) => text !== '' && !text.startsWith('HTTP/1.1 408')), [])
  const longest = Math.max(...parked.map(({ closedAfter }) => closedAfter!))
  t.ok(longest < BODY_TIMEOUT + HELD_UP, `the last one was ended after ${longest} ms`)
  t.equal(calls.length, 0)
})

t.test('no promise was left to reject unseen', async (t) => {
  await turn()
  t.strictSame(rejections, [])
})
