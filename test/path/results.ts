import { AsyncLocalStorage } from 'node:async_hooks'
import { createHmac } from 'node:crypto'
import sensible from '@fastify/sensible'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { aghanimPlugin, createProvider, decodeHex, type DeliveryReport, type WebhookOptions } from '../../plugins/index.js'
import { now, PLAYER, PROVIDERS, SECRET, VERIFY_EVENT } from '../support/deliveries.js'
import { createHost } from '../support/host.js'
import { createReceiver, ITEM, KEYED, scriptedStore, VERIFY } from '../support/life-cycle.js'
import { GITHUB_PROVIDER } from '../support/own-providers/index.js'
import { gateOf, until, watchRejections } from '../support/waiting.js'

// Values that handlers return and throw: rows and results of database drivers, errors of other libraries.

const rejections = watchRejections()
const CANARY = 'canary of an error'
const [, AGHANIM] = PROVIDERS

/** Decimal of a database driver, which serializes as a string. */
class Decimal {
  readonly #text: string
  constructor (text: string) { this.#text = text }
  toJSON () { return this.#text }
}

/** Result of `pg`: an instance that contains its rows. */
class Result {
  readonly command = 'INSERT'
  readonly rowCount = 1
  readonly rows: unknown[] = [{ id: 1 }]
}

t.test('a row whose optional columns are null admits its player', async (t) => {
  const row = {
    ...PLAYER, avatar_url: null, email: null, banned: null, segments: null, custom_attributes: null, balances: null
  }
  const { deliver } = createReceiver(t, VERIFY, () => row)
  t.strictSame((await deliver()).json(), PLAYER)
  const nested = { ...PLAYER, attributes: { level: 2, platform: null, soft_currency_amount: null, guild: null } }
  const reply = await createReceiver(t, VERIFY, () => nested).deliver()
  t.strictSame(reply.json().attributes, { level: 2, guild: null }, 'a member that the schema does not know is kept')
})

t.test('undefined denies like null', async (t) => {
  const players = new Map<string, typeof PLAYER>()
  const { app } = createHost(t)
  app.register(aghanimPlugin, {
    secret: SECRET, now, verifyPlayer: ({ event_data: data }) => players.get(data.player_id)
  })
  const payload = JSON.stringify(VERIFY_EVENT)
  const reply = await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM!.sign(payload), payload })
  t.equal(reply.statusCode, 401)
  t.strictSame(reply.json(), { status: 'error', code: 'not_found', message: 'Player verification failed' })
})

t.test('every problem of a reply is in one log line, with its path', async (t) => {
  const row = {
    player_id: 5n, name: null, attributes: { level: new Decimal('1.50'), soft_currency_amount: 10n }, country: 'usa', banned: 0
  }
  const { lines, deliver } = createReceiver(t, VERIFY, () => row)
  t.equal((await deliver()).json().code, 'FST_VERIFICATION_INVALID_REPLY')
  const failures = lines.filter(({ level }) => level === 50)
  t.equal(failures.length, 1)
  t.strictSame(failures[0]!['problems'], [
    '/player_id: Expected string', '/name: Expected string', '/attributes/level: Expected number',
    '/attributes/soft_currency_amount: Expected number', '/banned: Expected boolean',
    "/country: Expected string to match '^[A-Z]{2}$'"
  ])
})

t.test('a result where none is required is acknowledged, and the work is not repeated', async (t) => {
  const results: [what: string, result: unknown][] = [
    ['nothing', undefined], ['null', null], ['a list of rows', [{ id: 1 }]], ['a count', 1], ['a BigInt', 1n],
    ['true', true],
    ["Redis' OK", 'OK'], ['a result of pg', new Result()], ['a Map', new Map()], ['a Date', new Date(0)],
    ['an object with a BigInt', { id: 1n }], ['an error', new Error(CANARY)]
  ]
  for (const [what, result] of results) {
    for (const handle of [() => result, async () => result]) {
      const { events, lines, deliver } = createReceiver(t, ITEM, handle)
      const replies = [await deliver(), await deliver()]
      t.strictSame(replies.map(({ statusCode, body }) => [statusCode, body]), Array(2).fill([200, '{"status":"ok"}']), what)
      t.equal(replies[1]!.headers['idempotency-replayed'], 'true', what)
      t.equal(events.length, 1, what)
      t.strictSame(lines.filter(({ level }) => level >= 40), [], what)
    }
  }
  const { deliver } = createReceiver(t, ITEM, () => ({ id: 1, at: new Date(0) }))
  t.strictSame((await deliver()).json(), { id: 1, at: '1970-01-01T00:00:00.000Z' }, 'a plain object is the reply')
  for (const keyed of KEYED.filter(({ good }) => good === undefined)) {
    for (const [what, result] of results) {
      const { deliver } = createReceiver(t, keyed, () => result)
      t.strictSame([(await deliver(what)).statusCode], [204], `${keyed.name}: ${what}`)
    }
  }
})

/** Provider made by `createProvider` that requires a reply. */
const askingPlugin = createProvider({
  name: 'asking',
  summary: 'Asks for a reply',
  headers: ['x-signature'],
  read: ([signature]) => ({ mac: decodeHex(signature, 32), prefix: '', timestamp: null }),
  algorithm: 'sha256',
  secretEncoding: 'utf8',
  body: Type.Object({}),
  reply: Type.Object({ id: Type.String(), note: Type.Optional(Type.String()) })
})

t.test('a custom provider: null is removed from a reply, and problems are named', async (t) => {
  const send = async (result: unknown) => {
    const { app, lines } = createHost(t)
    app.register(askingPlugin, { secret: SECRET, handleEvent: () => result as { id: string } })
    const signature = createHmac('sha256', SECRET).update('{}').digest('hex')
    const headers = { 'content-type': 'application/json', 'x-signature': signature }
    const reply = await app.inject({ method: 'POST', url: '/asking', headers, payload: '{}' })
    return [reply.statusCode, reply.json().code ?? reply.body, lines.find(({ level }) => level === 50)?.['problems']]
  }
  t.strictSame(await send({ id: 'a', note: null, more: 1 }), [200, '{"id":"a"}', undefined])
  t.strictSame(await send({ id: 1n, note: 2 }),
    [500, 'FST_VERIFICATION_INVALID_REPLY', ['/id: Expected string', '/note: Expected string']])
})

interface Target {
  readonly name: string
  readonly open: (test: Test, handle: () => unknown, options?: WebhookOptions) => {
    app: FastifyInstance,
    lines: { level: number, msg: string }[],
    deliver: () => Promise<{ statusCode: number, body: string }>
  }
}

/** All kinds of delivery: of the built-in providers, and of one made by `createProvider`. */
const TARGETS: readonly Target[] = [
  ...KEYED.map((keyed): Target => ({
    name: keyed.name,
    open: (test, handle, options) => createReceiver(test, keyed, handle, options as Record<string, unknown>)
  })),
  {
    name: 'an event of a provider of your own',
    open (test, handle, options) {
      const { app, lines } = createHost(test)
      GITHUB_PROVIDER.register(app, { now, ...options, handleEvent: handle })
      return {
        app,
        lines,
        async deliver () {
          const payload = JSON.stringify(GITHUB_PROVIDER.event)
          return app.inject({ method: 'POST', url: '/github', headers: await GITHUB_PROVIDER.sign(payload), payload })
        }
      }
    }
  }
]

const errors = await (async () => {
  const { app } = createHost(t)
  await app.register(sensible)
  return app.httpErrors
})()

for (const { name, open } of TARGETS) {
  t.test(`${name}: a 4xx of http-errors is a denial with its status and message`, async (t) => {
    const denials: [error: unknown, statusCode: number, body: object][] = [
      [errors.forbidden('Banned since May'), 403, { status: 'error', code: 'forbidden', message: 'Banned since May' }],
      [errors.notFound(), 404, { status: 'error', code: 'not_found', message: 'Not Found' }],
      [errors.createError(409, 'Twice', { code: 'duplicate' }), 409, { status: 'error', code: 'duplicate', message: 'Twice' }],
      [errors.createError(499, 'Gone', { expose: true }), 499, { status: 'error', code: 'refused', message: 'Gone' }]
    ]
    for (const [error, statusCode, body] of denials) {
      for (const handle of [() => { throw error }, () => Promise.reject(error)]) {
        const { lines, deliver } = open(t, handle)
        const reply = await deliver()
        t.strictSame([reply.statusCode, JSON.parse(reply.body)], [statusCode, body])
        t.strictSame(lines.filter(({ level }) => level >= 40), [])
      }
    }
    const failures = [
      errors.internalServerError(CANARY), errors.createError(403, CANARY, { expose: false }),
      Object.assign(new Error(CANARY), { statusCode: 403 }), { expose: true, statusCode: 403, message: CANARY },
      Object.assign(new Error(CANARY), { expose: true, statusCode: 302 }),
      Object.assign(new Error(CANARY), { expose: true, statusCode: '403' }),
      Object.defineProperty(new Error(CANARY), 'expose', { get () { throw new Error('x') } })
    ]
    for (const [index, error] of failures.entries()) {
      const reply = await open(t, () => { throw error }).deliver()
      t.strictSame([reply.statusCode, JSON.parse(reply.body).code], [500, 'FST_VERIFICATION_HANDLER_FAILED'], `failure ${index}`)
      t.notMatch(reply.body, CANARY)
    }
  })

  t.test(`${name}: the onError hooks of the host and onFailed receive the thrown value, once; reply and log do not show it`, async (t) => {
    const thrown: [what: string, value: unknown][] = [
      ['an Error', new TypeError(CANARY)], ['a text', CANARY], ['nothing', undefined],
      ['a proxy', new Proxy({}, { getPrototypeOf () { throw new Error('x') } })]
    ]
    for (const [what, value] of thrown) {
      for (const handle of [() => { throw value }, async () => { throw value }]) {
        const seen: Error[] = []
        const told: [error: unknown, report: DeliveryReport][] = []
        const { app, lines, deliver } = open(t, handle, { onFailed: (error, report) => { told.push([error, report]) } })
        app.addHook('onError', async (_request, _reply, error) => { seen.push(error) })
        const reply = await deliver()
        t.equal(reply.statusCode, 500, what)
        t.equal(JSON.parse(reply.body).code, 'FST_VERIFICATION_HANDLER_FAILED', what)
        t.equal(seen.length, 1, `${what}: one call of onError`)
        if (what === 'an Error') t.equal(seen[0], value, 'the error itself, with its message')
        else t.ok(seen[0] instanceof Error && seen[0].cause === value, `${what}: as the cause of an error`)
        await until(() => told.length > 0)
        t.equal(told.length, 1, `${what}: one call of onFailed`)
        t.equal(told[0]![0], value, what)
        t.match(told[0]![1], { outcome: 'failed', reason: 'handler_failed', status: 500 }, what)
        t.equal(lines.filter(({ level }) => level >= 40).length, 1, `${what}: one log line`)
        t.notMatch(reply.body + JSON.stringify(lines), CANARY, what)
      }
    }
  })
}

t.test('onFailed receives every failure; an error of its own changes no reply', async (t) => {
  const cases: [reason: string, options: WebhookOptions, handle: () => unknown, error: object][] = [
    ['invalid_reply', {}, () => ({ name: 5 }), {
      code: 'FST_VERIFICATION_INVALID_REPLY',
      message: 'The handler returned an invalid reply: /player_id: Expected required property; ' +
        '/attributes: Expected required property; /name: Expected string'
    }],
    ['handler_timeout', { handlerTimeout: 5 }, () => new Promise(() => {}), { code: 'FST_VERIFICATION_TIMEOUT' }],
    ['store_unavailable', { deliveries: scriptedStore({ claim () { throw new RangeError(CANARY) } }).store }, () => PLAYER,
      { name: 'RangeError', message: CANARY }],
    ['secret_unavailable', { secret: () => { throw new RangeError(CANARY) } } as WebhookOptions, () => PLAYER,
      { name: 'RangeError', message: CANARY }],
    ['verification_failed', { now: () => { throw new RangeError(CANARY) } }, () => PLAYER,
      { name: 'RangeError', message: CANARY }]
  ]
  for (const [reason, options, handle, error] of cases) {
    const told: unknown[] = []
    const seen: unknown[] = []
    const { app, lines, deliver } = createReceiver(t, VERIFY, handle, {
      ...options,
      onFailed (error: unknown) {
        told.push(error)
        throw new Error(CANARY)
      }
    })
    app.addHook('onError', async (_request, _reply, error) => { seen.push(error) })
    const { body } = await deliver()
    await until(() => lines.some(({ msg }) => msg === 'onFailed failed'))
    t.match(told, [error], reason)
    t.match(seen, [error], reason)
    t.match(lines.filter(({ level }) => level === 50), [{ reason }, { msg: 'onFailed failed' }], reason)
    t.notMatch(body + JSON.stringify(lines), CANARY, reason)
  }
  const told: unknown[] = []
  const { deliver, post } = createReceiver(t, VERIFY, () => null, {
    onFailed: (error: unknown) => { told.push(error) }
  })
  t.equal((await deliver()).statusCode, 401)
  t.equal((await post('{}', { ...AGHANIM!.sign('{}'), 'x-aghanim-signature': '00' })).statusCode, 403)
  t.strictSame(told, [], 'a denial and a rejection are not failures')
})

t.test('a hook of the host that throws after a failure shows nothing of either error', async (t) => {
  const { app, deliver } = createReceiver(t, VERIFY, () => { throw new Error(CANARY) })
  app.addHook('onError', async () => { throw new Error(CANARY) })
  let thrown = 0
  app.addHook('onSend', async () => { if (thrown++ < 1) throw Object.assign(new Error(CANARY), { statusCode: 429 }) })
  const reply = await deliver()
  t.equal(reply.statusCode, 429)
  t.notMatch(reply.body, CANARY)
})

t.test('the work belongs to the request: the promise of the route settles when the reply is sent', async (t) => {
  const storage = new AsyncLocalStorage<string>()
  const gate = gateOf<undefined>()
  const order: string[] = []
  const { app, deliver } = createReceiver(t, VERIFY, async () => {
    await gate.promise
    order.push(`handler in ${storage.getStore()}`)
    return PLAYER
  })
  app.addHook('onRoute', (route) => {
    const { handler } = route
    // Tracing ends the span once the handler's promise settles, or at once if it returns none.
    route.handler = function (request, reply) {
      return storage.run('span', () => {
        const result: unknown = handler.call(this, request, reply)
        const end = () => { order.push('span ended') }
        if (typeof (result as PromiseLike<unknown> | undefined)?.then !== 'function') end()
        else (result as PromiseLike<unknown>).then(end, end)
        return result
      })
    }
  })
  app.addHook('onSend', async () => { order.push('reply sent') })
  const reply = deliver()
  await new Promise(setImmediate)
  t.strictSame(order, [])
  gate.resolve(undefined)
  t.equal((await reply).statusCode, 200)
  await until(() => order.length === 3)
  t.strictSame(order, ['handler in span', 'reply sent', 'span ended'])
})

t.test('no promise was rejected without being handled', async (t) => t.strictSame(rejections, []))
