import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import { inspect } from 'node:util'
import t from 'tap'
import {
  aghanimPlugin, altdentifierPlugin, humandetectApiPlugin, humandetectPlugin, identityValidationPlugin, openToken,
  signIdentityValidation
} from '../../plugins/index.js'
import {
  API_KEY, API_SECRET, NOW, now, PLAYER, PROVIDERS, SECRET, type ProviderCase
} from '../support/deliveries.js'
import { fakeClock } from '../support/clock.js'
import { createTable } from '../support/table.js'
import { createHost, exchange, listen, NO_REQUEST_LOG, rawRequest, type Test } from '../support/host.js'
import { read } from '../support/project.js'
import { IDENTIFIER, mint, SERVICE_KEY, startService, TOKEN_SECRET } from '../support/humandetect.js'
import { warningsIn } from '../support/life-cycle.js'
import { until, watchRejections } from '../support/waiting.js'

const rejections = watchRejections()
const [ALTDENTIFIER, AGHANIM, IDENTITY] = PROVIDERS as [ProviderCase, ProviderCase, ProviderCase]
const FILES = '/identity-validation/required-files'
const CANARY = 'canary of a callback'
const FASTIFY: string = JSON.parse(read('node_modules/fastify/package.json')).version
const turn = () => new Promise((resolve) => setImmediate(resolve))

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

/** All ways in which a callback can throw. */
const THROWS: [what: string, act: Act][] = shapes.map(([what, thrown]) => [`throws ${what}`, () => { throw thrown() }])

/** All ways in which the result of a callback can fail, at once or later. */
const REJECTS: [what: string, act: Act][] = [
  ...shapes.flatMap(([what, thrown]): [string, Act][] => [
    [`rejects with ${what}`, () => new Promise((_resolve, reject) => { reject(thrown()) })], // the hostile value itself
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
/** Faults of callbacks that return a number, not a promise; the last of them fails as soon as it is inspected. */
const [THROWS_AT_ONCE, REJECTS_LATER] = [[...THROWS, ...REJECTS.slice(-1)], REJECTS.slice(0, -1)]

interface Delivery { readonly url: string, readonly headers: Record<string, string>, readonly body: string }

/** Wraps an honest callback so that a test can make it fail. */
type Wrap = (honest: (...args: any[]) => unknown) => any

/** A host with one callback that can fail, and deliveries that make the plugin call it. */
interface Surface {
  readonly name: string
  readonly register: (app: FastifyInstance, callback: Wrap, test: Test) => unknown
  /** Returns a delivery that differs from all others, so that it is not treated as a copy. */
  readonly delivery: (count: number) => Delivery
  /** Answer to a delivery while the callback fails. */
  readonly failed: string
  /** Status of an honest delivery afterwards. */
  readonly good: number
  /** Turns an honest delivery into one that makes the plugin call the callback. Default: the delivery itself. */
  readonly provoke?: (delivery: Delivery) => Delivery
  readonly faults?: typeof FAULTS
  /** Message logged about the failure. Absent where the error is passed to the host instead. */
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
/** Excludes a fault that Fastify before 5.5 leaves unanswered: a hook that throws a proxy which throws. */
const isAnswered = ([what]: readonly [what: string, ...rest: unknown[]]): boolean =>
  !what.includes('a proxy that throws') || !/^5\.[0-4]\./.test(FASTIFY)
const GUARD = { failed: '500', good: 201, faults: FAULTS.filter(isAnswered) }

const apiKeys = { [API_KEY]: API_SECRET }
const nothing = () => {}
const verifyToken = (token: string) => openToken({ secret: TOKEN_SECRET, token })

/** Registers a route of the host behind the guard. */
function guarded (option: 'identifier' | 'token'): Surface['register'] {
  return async (app, callback, test) => {
    const { baseUrl } = await startService(test)
    await app.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl, allowHttp: true })
    // The host itself answers the errors of its own routes.
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

/** Creates a host with the surface. Its callback does the `fault` of the state, or its honest work if there is none. */
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

const isShown = (text: string) => /canary/i.test(text)

for (const surface of SURFACES) {
  const { name, failed, good, logged, faults = FAULTS } = surface

  t.test(`${name}: ${faults.length} ways to fail, one answer, and the next delivery is accepted`, async (t) => {
    const { lines, state, inject, overSocket } = await open(t, surface)
    const { wrong, same: compare } = createTable()
    for (const [what, act] of faults) {
      lines.length = state.called = 0
      state.fault = act
      const { outcome, text } = await inject()
      if (logged === WATCHER.logged) await until(() => lines.some(({ msg }) => msg === logged))
      const log = { lines: warningsIn(lines), shown: /canary of/.test(JSON.stringify(lines)) }
      const seen = { outcome, shown: isShown(text), called: state.called, log: logged === undefined ? undefined : log }
      state.fault = undefined
      compare(what, { ...seen, next: (await inject()).outcome }, {
        outcome: failed,
        shown: false,
        called: 1,
        log: logged === undefined ? undefined : { lines: [{ level: 50, msg: logged }], shown: false },
        next: String(good)
      })
    }
    for (const [what, act] of faults.filter((_, index) => index % 4 === 0)) {
      state.fault = act
      const { outcome, text } = await overSocket()
      state.fault = undefined
      compare(`${what}, over a socket`, { outcome, shown: isShown(text), next: (await overSocket()).outcome },
        { outcome: failed, shown: false, next: String(good) })
    }
    t.strictSame(wrong, [], 'called once, nothing of it sent or logged, logged once, and the next is accepted')
  })
}

/** Values that are not a time. */
const NO_TIMES = [NaN, Infinity, -Infinity, String(NOW * 1000), BigInt(NOW * 1000), null, undefined].map((value) =>
  [`returns ${typeof value} ${value}`, () => value] as const)

t.test('with a clock that returns no time nothing is fresh', async (t) => {
  const { wrong, same: compare } = createTable()
  for (const surface of SURFACES.filter(({ failed }) => failed === CLOCK.failed)) {
    const { state, inject } = await open(t, surface)
    for (const [what, act] of [...REJECTS_LATER, ...NO_TIMES] as const) {
      state.fault = act
      compare(`${surface.name} ${what}`, (await inject()).outcome, WATCHER.failed)
    }
  }
  t.strictSame(wrong, [])
})

t.test("an error of a host's hook that cannot be inspected is answered all the same", async (t) => {
  const surface = SURFACES.find(({ name }) => name === "aghanim's verifyPlayer")!
  let thrown: unknown
  const { app, inject } = await open(t, surface)
  app.addHook('preHandler', async () => { if (thrown !== undefined) throw thrown })
  for (const [what, create] of shapes.filter(isAnswered).filter(([what]) => / (getters|proxy|read)/.test(what))) {
    thrown = create()
    const { outcome, text } = await inject()
    t.equal(outcome, '500', what)
    t.notMatch(text, /canary/i, `${what}: nothing of it is sent`)
  }
  thrown = undefined
  t.equal((await inject()).outcome, '200')
})

/** Loggers that break once `state.broken` is set: through a stream that throws, or methods that all throw. */
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
  t.test(`${what} that throws has no effect on the answer`, async (t) => {
    const { wrong, same: compare } = createTable()
    for (const surface of SURFACES) {
      const log = { broken: false }
      // Fastify's own log lines of a request would throw outside of any handler.
      const server = { ...create(log), ...NO_REQUEST_LOG }
      const { app, state, inject, overSocket } = await open(t, surface, server)
      await app.ready()
      await listen(app)
      for (const send of [inject, overSocket]) {
        for (const [, act] of [THROWS[0]!, REJECTS[0]!].filter((fault) => (surface.faults ?? FAULTS).includes(fault))) {
          log.broken = true
          state.fault = act
          const { outcome } = await send()
          state.fault = undefined
          compare(`${surface.name} by ${send.name}`, [outcome, (await send()).outcome],
            [surface.failed, String(surface.good)])
          log.broken = false
        }
      }
    }
    t.strictSame(wrong, [])
  })
}

t.test('an unknown OP is acknowledged even if the log fails', async (t) => {
  const { app } = createHost(t)
  app.register(altdentifierPlugin, { secret: SECRET, handleEvent () {}, logSerializers: { OP: fail } })
  const { url, headers, body } = signed(ALTDENTIFIER, { OP: 9 })
  t.equal((await app.inject({ method: 'POST', url, headers, payload: body })).statusCode, 204)
})

const RESOLVERS = SURFACES.filter(({ logged }) => logged === RESOLVER.logged)

/** Results of a resolver that are not a secret. All have the same answer; those that are mistakes are logged. */
const FOUND: [value: unknown, none: boolean][] = [
  ...[undefined, null, '', []].map((value): [unknown, boolean] => [value, true]),
  ...[0, 7, NaN, 1n, true, false, {}, { length: 0 }, { secret: SECRET }, () => SECRET, Symbol('x'), new Map(), new Date(0),
    Buffer.from(SECRET), new Uint8Array(0), [''], [[]], [undefined], [SECRET, 7], Array(5).fill(SECRET), 'short', ' '
  ].map((value): [unknown, boolean] => [value, false])
]

for (const surface of RESOLVERS) {
  t.test(`${surface.name}: an invalid secret is returned`, async (t) => {
    const { state, inject, lines } = await open(t, surface)
    const clock = fakeClock(t)
    const { wrong, same: compare } = createTable()
    for (const [value, none] of FOUND) {
      for (const found of [() => value, async () => value, thenable((resolve) => resolve(value))]) {
        state.fault = found
        lines.length = 0
        compare(inspect(value), (await inject()).outcome, WATCHER.failed)
        const errors = lines.filter(({ level, msg }) => level === 50 && msg === 'the secret for a delivery is invalid')
        compare(`${inspect(value)}: errors`, errors.length, none ? 0 : 1)
        await clock.advance(1001) // Absent secrets are cached for one second.
      }
    }
    t.strictSame(wrong, [])
    state.fault = undefined
    t.equal((await inject()).outcome, String(surface.good))
  })
}

t.test('no promise was rejected without being handled', async (t) => {
  await turn()
  t.strictSame(rejections, [])
})
