import type { FastifyInstance } from 'fastify'
import { AsyncLocalStorage } from 'node:async_hooks'
import t from 'tap'
import {
  aghanimPlugin, altdentifierPlugin, deny, humandetectPlugin, identityValidationPlugin, memoryDeliveries,
  type DeliveryStore
} from '../../plugins/index.js'
import { API_KEY, API_SECRET, PLAYER, SECRET } from '../support/deliveries.js'
import { fakeClock } from '../support/clock.js'
import { createHost } from '../support/host.js'
import { createGuardedHost, IDENTIFIER, mint, post, SERVICE_KEY, startService } from '../support/humandetect.js'
import {
  createReceiver, ITEM, KEYED, outcomeOf, scriptedStore, VERIFY, warningsIn, type Script, type Verb
} from '../support/life-cycle.js'
import { quiet } from '../support/quiet.js'
import { createTable } from '../support/table.js'
import { gateOf, until, watchRejections } from '../support/waiting.js'

const rejections = watchRejections()
const CANARY = 'canary of the store'
const rest = () => new Promise((resolve) => setImmediate(resolve))
const fail = (): never => { throw Object.assign(new Error(CANARY, { cause: CANARY }), { config: CANARY }) }
type Gate = ReturnType<typeof gateOf<unknown>>
type Lines = ReturnType<typeof createReceiver>['lines']
const shown = (lines: Lines) => JSON.stringify(lines).includes(CANARY)
const warnings = (lines: Lines) => lines.filter(({ level }) => level >= 40)

/** Ways in which any method of a store may fail, at once or later. */
const FAILURES: [name: string, fail: () => unknown][] = [
  ['throws', fail],
  ['throws a string', () => { throw CANARY }],
  ['throws undefined', () => { throw undefined }], // eslint-disable-line no-throw-literal
  ['rejects', async () => fail()],
  ['rejects with undefined', () => Promise.reject(undefined)], // eslint-disable-line prefer-promise-reject-errors
  ['returns a thenable that rejects', () => ({ then: (_: unknown, reject: (reason: unknown) => void) => reject(CANARY) })],
  ['returns a thenable that throws', () => ({ then: fail })],
  ['returns a thenable that cannot be looked at', () => ({ get then () { return fail() } })],
  ['returns a proxy that throws', () => new Proxy({}, { get: fail, has: fail, getPrototypeOf: fail })]
]
const done = (reply: unknown) => ({ state: 'done', reply })
const GARBAGE = [
  undefined, null, 0, 1, '', 'claimed', true, [], {}, { state: undefined }, { state: ['claimed'] },
  { state: 'x' }, { ...done({ statusCode: 200 }), state: 'x' },
  { state: 'claimed' }, { state: 'claimed', token: 5 }, { state: 'claimed', token: null }, { state: 'done' },
  { token: 'x' }, done(null), done({}), done({ body: '{}' }), done('204'),
  ...[199, 300, 404, 500, 600, 0, -200, '204', 200.5, NaN, null, [204]].map((statusCode) => done({ statusCode })),
  ...[5, null, {}, [], true, Buffer.from('{}')].map((body) => done({ statusCode: 200, body }))
]
const BAD_CLAIMS: [name: string, claim: () => unknown][] = [
  ...FAILURES,
  ...GARBAGE.flatMap((claim): [string, () => unknown][] => [
    [`answers ${JSON.stringify(claim)}`, () => claim], [`resolves to ${JSON.stringify(claim)}`, async () => claim]
  ])
]

for (const keyed of KEYED) {
  t.test(`${keyed.name}: if a claim fails or is invalid, the sender is asked to retry, and nothing runs`, async (t) => {
    let act: () => unknown = fail
    const { store, asked, verbs } = scriptedStore({ claim: () => act() })
    const { deliver, events, lines } = createReceiver(t, keyed, undefined, { deliveries: store })
    const { wrong, same } = createTable()
    for (const [name, claim] of BAD_CLAIMS) {
      act = claim
      const outcome = outcomeOf(await deliver())
      const types = warnings(lines).map(({ failure }) => typeof Object(failure).type)
      same(name, [outcome, verbs(), warningsIn(lines), types, shown(lines)], [
        '503 STORE_UNAVAILABLE retry', ['claim'], [{ level: 50, msg: 'delivery failed: store_unavailable' }], ['string'], false
      ])
      asked.length = lines.length = 0
    }
    t.strictSame(wrong, [])
    t.equal(events.length, 0)
  })

  t.test(`${keyed.name}: if a claim cannot be completed after the work, the sender still receives the result`, quiet(async (t) => {
    const { wrong, same } = createTable()
    for (const handle of [() => keyed.good, async () => keyed.good]) {
      let act: () => unknown = fail
      const { store, asked, verbs } = scriptedStore({ complete: () => act() })
      const { deliver, events, lines } = createReceiver(t, keyed, handle, { deliveries: store })
      for (const [index, [name, complete]] of FAILURES.entries()) {
        act = complete
        const outcome = outcomeOf(await deliver(name))
        const logged = warningsIn(lines)
        const copy = outcomeOf(await deliver(name)) // the claim stays until its lease ends
        same(name, [outcome, logged, shown(lines), copy, verbs(), events.length], [
          `${keyed.provider.success}`, [{ level: 50, msg: 'delivery was handled, but its store did not confirm it' }], false,
          '503 IN_PROGRESS retry', ['claim', 'complete', 'claim'], index + 1
        ])
        asked.length = lines.length = 0
      }
      for (const [index, held] of [false, undefined, null, Promise.resolve(false)].entries()) {
        act = () => held
        t.equal(outcomeOf(await deliver(`${index}`)), `${keyed.provider.success}`)
        t.match(warnings(lines), [{ provider: String, delivery: String, statusCode: keyed.provider.success }])
        t.strictSame(warningsIn(lines.splice(0)), [{ level: 40, msg: 'delivery was handled, but its claim was lost' }])
      }
    }
    t.strictSame(wrong, [])
  }))

  t.test(`${keyed.name}: where a cannot release the claim, the sender still hears of the failure`, async (t) => {
    const failing = () => { throw new Error('x') }
    const { wrong, same } = createTable()
    for (const handle of [failing, async () => failing()]) {
      let act: () => unknown = fail
      const { store, asked, verbs } = scriptedStore({ release: () => act() })
      const { deliver, lines } = createReceiver(t, keyed, handle, { deliveries: store })
      for (const [name, release] of FAILURES) {
        act = release
        const outcome = outcomeOf(await deliver(name))
        same(name, [outcome, warningsIn(lines), shown(lines), verbs()], ['500 HANDLER_FAILED', [
          { level: 50, msg: 'cannot release the claim' }, { level: 50, msg: 'delivery failed: handler_failed' }
        ], false, ['claim', 'release']])
        asked.length = lines.length = 0
      }
      act = () => false
      t.equal(outcomeOf(await deliver()), '500 HANDLER_FAILED')
      t.strictSame(warningsIn(lines), [
        { level: 40, msg: 'delivery was handled, but its claim was lost' },
        { level: 50, msg: 'delivery failed: handler_failed' }
      ])
    }
    t.strictSame(wrong, [])
  })
}

t.test('a denial is told as such where its cannot release the claim', async (t) => {
  let act: () => unknown = fail
  const { store } = scriptedStore({ release: () => act() })
  const denying = () => { throw deny({ statusCode: 403, code: 'banned' }) }
  const { deliver } = createReceiver(t, VERIFY, denying, { deliveries: store })
  for (const [name, release] of FAILURES) {
    act = release
    t.equal(outcomeOf(await deliver(name)), '403 banned', name)
  }
})

t.test('a store that hangs has one second; a claim granted later is released', quiet(async (t) => {
  const claim = { state: 'claimed', token: 'late' }
  const answers = { claim: '503 STORE_UNAVAILABLE retry', complete: '200', release: '401 not_found' }
  const grant = ({ resolve }: Gate) => resolve(claim)
  const hang = () => {}
  const cases: [verb: Verb, end: (gate: Gate) => void, script?: Script][] = [
    ['claim', hang],
    ['claim', grant],
    ['claim', grant, { release: fail }],
    ['claim', grant, { release: async () => fail() }],
    ['claim', ({ resolve }) => resolve(undefined)],
    ['claim', ({ resolve }) => resolve({ state: 'running' })],
    ['claim', ({ reject }) => reject(CANARY)]
  ]
  for (const verb of ['complete', 'release'] as const) {
    cases.push([verb, hang], [verb, ({ resolve }) => resolve(true)], [verb, ({ reject }) => reject(CANARY)])
  }
  const clock = fakeClock(t)
  const hung = [false, true].flatMap((thenable) => cases.map(([verb, end, script]) => {
    const gate = gateOf<unknown>()
    const wait = () => thenable ? { then: gate.promise.then.bind(gate.promise) } : gate.promise
    const { store, asked, verbs } = scriptedStore({ ...script, [verb]: wait })
    const handle = () => verb === 'release' ? null : PLAYER
    const { deliver, events, lines } = createReceiver(t, VERIFY, handle, { deliveries: store })
    let outcome = 'none'
    deliver().then((answer) => { outcome = outcomeOf(answer) })
    const name = `${thenable ? 'a thenable' : 'a promise'} of ${verb}`
    return { name, verb, end, gate, asked, verbs, events, lines, outcome: () => outcome }
  }))
  await clock.advance(0)
  t.strictSame(hung.map(({ verbs }) => verbs().at(-1)), hung.map(({ verb }) => verb))
  await clock.advance(999)
  t.strictSame(hung.filter(({ outcome }) => outcome() !== 'none').map(({ name }) => name), [], 'before the second is over')
  await clock.advance(1)
  for (const { name, verb, end, gate, asked, verbs, events, lines, outcome } of hung) {
    t.equal(outcome(), answers[verb], name)
    t.equal(events.length, verb === 'claim' ? 0 : 1)
    t.match(warnings(lines), [{ level: 50, failure: { code: 'FST_VERIFICATION_CALL_TIMEOUT' } }])
    end(gate)
    await clock.advance(0)
    if (verb !== 'claim') t.strictSame(verbs(), ['claim', verb])
    else t.strictSame(asked.slice(1), end === grant ? [['release', asked[0]![1], 'late']] : [])
    t.equal(warnings(lines).length, 1, 'a later result is not logged again')
    t.notOk(shown(lines))
  }
  clock.restore()
}))

t.test('the completion or release after a late handler may fail too', quiet(async (t) => {
  let act: () => unknown = fail
  let gate = gateOf<unknown>()
  const { store } = scriptedStore({ complete: () => act(), release: () => act() })
  const { deliver, lines } = createReceiver(t, VERIFY, () => gate.promise, { handlerTimeout: 5, deliveries: store })
  for (const [name, failing] of FAILURES) {
    for (const succeeds of [true, false]) {
      act = failing
      gate = gateOf()
      t.equal(outcomeOf(await deliver(`${name} ${succeeds}`)), '503 TIMEOUT retry', name)
      if (succeeds) gate.resolve(PLAYER)
      else gate.reject(undefined)
      const message = succeeds ? 'delivery was handled, but its store did not confirm it' : 'cannot release the claim'
      await until(() => lines.some(({ msg }) => msg === message))
      t.notOk(shown(lines.splice(0)), name)
    }
  }
}))

t.test('a full store makes the sender retry, until it has room', async (t) => {
  const gate = gateOf<unknown>()
  const deliveries = memoryDeliveries({ maxEntries: 2 })
  const { deliver, events } = createReceiver(t, ITEM, async (run) => {
    if (run <= 2) await gate.promise
    throw new Error('x')
  }, { deliveries })
  const held = [deliver('a'), deliver('b')]
  await until(() => events.length === 2)
  t.equal(outcomeOf(await deliver('c')), '503 STORE_UNAVAILABLE retry')
  t.equal(outcomeOf(await deliver('a')), '503 IN_PROGRESS retry', 'known deliveries stay known')
  gate.resolve(undefined)
  t.strictSame((await Promise.all(held)).map(outcomeOf), ['500 HANDLER_FAILED', '500 HANDLER_FAILED'])
  t.equal(outcomeOf(await deliver('c')), '500 HANDLER_FAILED')
  t.equal(events.length, 3)
})

t.test('the reply of a store is sent as it was stored', quiet(async (t) => {
  let act: () => unknown = fail
  const { store } = scriptedStore({ claim: () => act() })
  const { deliver, events } = createReceiver(t, VERIFY, undefined, { deliveries: store })
  for (const [reply, body] of [
    [{ statusCode: 200, body: '{"a":"é"}' }, '{"a":"é"}'], [{ statusCode: 299, body: '[]' }, '[]'],
    [{ statusCode: 204 }, ''], [{ statusCode: 202, body: undefined }, ''], [{ statusCode: 200, body: '' }, '']
  ] as const) {
    const thenable = { then: (resolve: (claim: unknown) => void) => resolve(done(reply)) }
    for (const claim of [() => done(reply), async () => done(reply), () => thenable]) {
      act = claim
      const answer = await deliver()
      t.equal(outcomeOf(answer), `${reply.statusCode} replayed`)
      t.equal(answer.body, body)
      t.equal(events.length, 0)
    }
  }
}))

const PLUGINS = [
  ['aghanimPlugin', aghanimPlugin, { secret: SECRET, verifyPlayer: () => PLAYER }],
  ['altdentifierPlugin', altdentifierPlugin, { secret: SECRET, handleEvent () {} }],
  ['identityValidationPlugin', identityValidationPlugin, { apiKeys: { [API_KEY]: API_SECRET }, handleSession () {} }],
  ['humandetectPlugin', humandetectPlugin, { apiKey: SERVICE_KEY }]
] as const

t.test('an invalid store is an error at registration', quiet(async (t) => {
  const verb = () => {}
  for (const [name, plugin, options] of PLUGINS) {
    for (const deliveries of [
      null, 5, '', 'memory', true, [], {}, new Map(), memoryDeliveries, { claim: verb, complete: verb },
      { claim: verb, release: verb }, { complete: verb, release: verb }, { claim: verb, complete: verb, release: 5 }
    ]) {
      const { app } = createHost(t)
      app.register(plugin as never, { ...options, deliveries } as never)
      await t.rejects(async () => { await app.ready() }, {
        code: 'FST_VERIFICATION_INVALID_OPTION', message: `${name}: option "deliveries" must be a delivery store`
      })
    }
  }
}))

t.test('an instance of a class is a store, and its methods are called on it', async (t) => {
  class Store implements DeliveryStore {
    readonly #store = memoryDeliveries()
    watched = 0
    claim (...args: Parameters<DeliveryStore['claim']>) { return this.#store.claim(...args) }
    async complete (...args: Parameters<DeliveryStore['complete']>) { return this.#store.complete(...args) }
    async release (...args: Parameters<DeliveryStore['release']>) { return this.#store.release(...args) }
    watch () { this.watched++ }
  }
  const deliveries = new Store()
  const { deliver } = createReceiver(t, VERIFY, (run) => run === 1 ? null : PLAYER, { deliveries })
  t.strictSame([await deliver(), await deliver(), await deliver()].map(outcomeOf), ['401 not_found', '200', '200 replayed'])
  t.equal(deliveries.watched, 1)
})

t.test("a store's watch is called once for each plugin that uses it; an error in it is harmless", quiet(async (t) => {
  for (const [name, plugin, options] of PLUGINS) {
    for (const end of [() => {}, fail]) {
      const { app, lines } = createHost(t)
      const logs: unknown[] = []
      const watch = (log: unknown) => {
        logs.push(log)
        end()
      }
      app.register(plugin as never, { ...options, deliveries: { ...memoryDeliveries(), watch } } as never)
      await app.ready()
      t.equal(logs.length, 1, name)
      t.type((logs[0] as { warn: unknown }).warn, 'function')
      t.equal(lines.filter(({ msg }) => msg === 'cannot observe the delivery store').length, end === fail ? 1 : 0)
      t.notMatch(JSON.stringify(lines), CANARY)
    }
  }
}))

t.test("if an onReady hook of the host hangs, Fastify's error is the same as with any plugin, whatever a store watches", async (t) => {
  const deliveries = { ...memoryDeliveries(), watch () {} }
  async function failureBeside (order: string, plugin: unknown, options: object): Promise<string> {
    const { app } = createHost(t, { pluginTimeout: 20 })
    const addHook = () => { app.addHook('onReady', function hostHangs (_done) {}) }
    if (order === 'before') addHook()
    await app.register(plugin as never, options as never)
    if (order === 'after') addHook()
    return app.ready().then(() => 'ready', ({ code, message }) => `${code} ${message}`)
  }
  for (const order of ['before', 'after']) {
    const expected = await failureBeside(order, async (scope: FastifyInstance) => { scope.post('/plain', async () => 'ok') }, {})
    t.match(expected, /^FST_ERR_HOOK_TIMEOUT/)
    for (const [name, plugin, options] of PLUGINS) {
      t.equal(await failureBeside(order, plugin, { ...options, deliveries }), expected, `${name}, ${order}`)
    }
  }
})

t.test('a watch that rejects is harmless', async (t) => {
  const deliveries = { ...memoryDeliveries(), watch: async () => fail() }
  const { app, lines } = createReceiver(t, VERIFY, undefined, { deliveries })
  await app.ready()
  await rest()
  t.strictSame(rejections, [])
  const [line, ...others] = warnings(lines)
  t.match(line, { level: 40, msg: 'cannot observe the delivery store', failure: { type: 'Error', stack: /store-faults/ } })
  t.strictSame(others, [])
  t.notMatch(JSON.stringify(lines), CANARY)
})

t.test('HumanDetect: if the store fails nobody is admitted', async (t) => {
  const { baseUrl } = await startService(t)
  let act: () => unknown = fail
  const { store, asked } = scriptedStore({ claim: () => act() })
  const { app, signedUp, lines } = await createGuardedHost(t, baseUrl, { deliveries: store })
  const { wrong, same } = createTable()
  const payload = { email: IDENTIFIER, token: mint() }
  for (const [name, claim] of BAD_CLAIMS) {
    act = claim
    const { statusCode, headers, body } = await app.inject({ method: 'POST', url: '/signup', payload })
    same(name, [statusCode, headers['retry-after'], JSON.parse(body).code], [503, '5', 'FST_HUMANDETECT_UNAVAILABLE'])
  }
  t.strictSame(wrong, [])
  t.strictSame(signedUp, [])
  t.strictSame(asked.map(([verb]) => verb), BAD_CLAIMS.map(() => 'claim'))
  t.notMatch(JSON.stringify(lines), CANARY)
})

t.test('HumanDetect: a claim granted too late is released, and the token is valid again', async (t) => {
  const { baseUrl } = await startService(t)
  const base = memoryDeliveries()
  const gate = gateOf<undefined>()
  const asked = gateOf<ReturnType<typeof fakeClock>>()
  let claims = 0
  const { store, verbs } = scriptedStore({
    claim (...args) {
      if (++claims > 1) return base.claim(...args)
      asked.resolve(fakeClock(t)) // fakes the clock from here on only, since the service is called in real time
      return gate.promise.then(() => base.claim(...args))
    }
  }, base)
  const { app, signedUp } = await createGuardedHost(t, baseUrl, { deliveries: store })
  const body = { email: IDENTIFIER, token: mint() }
  const first = post(app, '/signup', body)
  const clock = await asked.promise
  await clock.advance(1000)
  clock.restore()
  t.equal((await first).statusCode, 503)
  t.strictSame(signedUp, [])
  gate.resolve(undefined)
  await until(() => verbs().length === 2)
  t.equal((await post(app, '/signup', body)).statusCode, 201)
  t.equal((await post(app, '/signup', body)).statusCode, 403)
  t.strictSame(verbs(), ['claim', 'release', 'claim', 'claim'])
})

t.test('HumanDetect: a token that the store knows in any state is used', async (t) => {
  const { baseUrl } = await startService(t)
  for (const claim of [{ state: 'running' }, { state: 'conflict' }, done({ statusCode: 204 })]) {
    const { store } = scriptedStore({ claim: () => claim })
    const { app, signedUp } = await createGuardedHost(t, baseUrl, { deliveries: store })
    t.equal((await post(app, '/signup', { email: IDENTIFIER, token: mint() })).statusCode, 403)
    t.strictSame(signedUp, [])
  }
})

t.test('with a slow store the reply is sent after the claim is completed, or released', async (t) => {
  for (const [verb, handle, outcome] of [
    ['complete', () => PLAYER, '200'], ['release', () => null, '401 not_found']
  ] as const) {
    const gate = gateOf<boolean>()
    const { store, verbs } = scriptedStore({ [verb]: () => gate.promise })
    const { app, deliver } = createReceiver(t, VERIFY, handle, { deliveries: store })
    let sent = 0
    app.addHook('onSend', async () => { sent++ })
    const reply = deliver()
    await until(() => verbs().includes(verb))
    await rest()
    t.equal(sent, 0)
    gate.resolve(true)
    t.equal(outcomeOf(await reply), outcome)
  }
})

t.test('with a store that batches its answers, each handler runs in the context of its own request', async (t) => {
  const storage = new AsyncLocalStorage<string>()
  const base = memoryDeliveries()
  const waiting: (() => void)[] = []
  const batched = <T>(result: T) => new Promise<T>((resolve) => {
    if (waiting.push(() => resolve(result)) === 3) for (const go of waiting.splice(0)) go()
  })
  const { store } = scriptedStore({
    claim: (...args) => batched(base.claim(...args)),
    complete: (...args) => batched(base.complete(...args)),
    // A thenable that is not a promise may call back in any async context.
    release: (...args) => ({
      then (resolve: (held: unknown) => void) { batched(base.release(...args)).then(resolve) }
    })
  }, base)
  const seen: unknown[] = []
  const { app, deliver, lines } = createReceiver(t, VERIFY, async (run, event, request) => {
    request.log.info('in the handler')
    seen.push([request.id, storage.getStore(), event.idempotency_key])
    await rest()
    return run > 3 ? PLAYER : null
  }, { deliveries: store })
  const answered: unknown[] = []
  app.addHook('onRequest', (request, _reply, done) => storage.run(request.id, done))
  app.addHook('onSend', async (request) => { answered.push([request.id, storage.getStore()]) })
  const three = () => Promise.all([deliver('a'), deliver('b'), deliver('c')])
  t.strictSame((await three()).map(outcomeOf), Array(3).fill('401 not_found'))
  t.strictSame((await three()).map(outcomeOf), Array(3).fill('200'))
  t.strictSame((await three()).map(outcomeOf), Array(3).fill('200 replayed'))
  const requests = Array.from({ length: 9 }, (_, index) => `req-${(index + 1).toString(36)}`)
  t.strictSame(seen, requests.slice(0, 6).map((id, index) => [id, id, 'abc'[index % 3]]))
  t.strictSame(answered, requests.map((id) => [id, id]))
  const idsOf = (text: string) => lines.filter(({ msg }) => msg === text).map(({ reqId }) => reqId)
  t.strictSame(idsOf('in the handler'), requests.slice(0, 6))
  t.strictSame(idsOf('delivery duplicate'), requests.slice(6))
})

t.test('forged deliveries never reach the store', quiet(async (t) => {
  const { store, asked } = scriptedStore()
  const ROUNDS = 100
  for (const keyed of KEYED) {
    const { app, post, deliver, events } = createReceiver(t, keyed, undefined, { deliveries: store }, { logger: false })
    await app.ready()
    const { sign, signature } = keyed.provider
    const bodies = Array.from({ length: ROUNDS }, (_, index) => JSON.stringify(keyed.event(`id-${index}`)))
    const good = sign(bodies[0]!)
    // Returns the headers of another delivery, or a MAC with one character changed.
    const forge = (body: string, index: number) => {
      const headers = sign(body)
      const altered = headers[signature]!.replace(/.(?=.{20}$)/, (letter) => letter === '1' ? '2' : '1')
      return index % 2 === 1 ? good : { ...headers, [signature]: altered }
    }
    const replies = await Promise.all(bodies.map((body, index) => post(body, forge(body, index))))
    t.strictSame(new Set(replies.map(outcomeOf)), new Set(['403 FORBIDDEN']))
    t.equal(events.length, 0)
    t.strictSame(asked, [])
    t.equal((await deliver()).statusCode, keyed.provider.success)
    t.strictSame(asked.splice(0).map(([verb]) => verb), ['claim', 'complete'])
  }
}))

t.test('signed deliveries that are not valid never reach the store', quiet(async (t) => {
  const { store, asked } = scriptedStore()
  for (const keyed of KEYED) {
    const { post, events } = createReceiver(t, keyed, undefined, { deliveries: store })
    const text = JSON.stringify(keyed.event('id-1'))
    for (const body of [
      '', '{', 'null', '[]', '"text"', `[${text}]`, `\ufeff${text}`, `${text}x`, text.replace('{', '{"__proto__":{},')
    ]) t.equal(outcomeOf(await post(body)), '400 INVALID_JSON', body.slice(0, 20))
    const invalid = { idempotency_key: 5, OP: 'x', session: 5, event_data: null }
    t.equal(outcomeOf(await post(JSON.stringify({ ...keyed.event('id-1'), ...invalid }))), '400 INVALID_PAYLOAD')
    t.equal(events.length, 0)
  }
  const { send } = createReceiver(t, VERIFY, undefined, { deliveries: store })
  t.equal(outcomeOf(await send(ITEM.event('id-1'))), '400 UNKNOWN_EVENT')
  t.strictSame(asked, [])
}))

t.test('no promise was rejected without being handled', async (t) => {
  await rest()
  t.strictSame(rejections, [])
})
