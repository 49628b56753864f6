import { connect } from 'node:net'
import t from 'tap'
import { deny, memoryDeliveries } from '../../plugins/index.js'
import { PLAYER } from '../support/deliveries.js'
import { listen, portOf, rawRequest } from '../support/host.js'
import {
  BARE_SESSION, createReceiver, ITEM, KEYED, MEMBER_EVENT, outcomeOf, scriptedStore, SESSION, VERIFY, warningsIn,
  type Answer, type Handle, type Keyed
} from '../support/life-cycle.js'
import { quiet } from '../support/quiet.js'
import { createTable } from '../support/table.js'
import { gateOf, until, watchRejections } from '../support/waiting.js'

const rejections = watchRejections()
const WITH_ID = KEYED.filter(({ altered }) => altered !== undefined)
const rest = () => new Promise((resolve) => setImmediate(resolve))

/** Picks the parts of an answer that a sender can see. */
const shown = ({ statusCode, body, headers }: Answer) => ({ statusCode, body, type: headers['content-type'] })

/** Returns the raw HTTP request of a `player.verify`. */
function wireForm (id: string): Buffer {
  const body = JSON.stringify(VERIFY.event(id))
  const headers = Object.entries(VERIFY.provider.sign(body))
  return rawRequest('/aghanim', [...headers, ['content-length', String(body.length)]], body)
}

/** Returns a copy with the keys of every object in reverse order. */
function reversed (value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).reverse().map(([key, item]) => [key, reversed(item)]))
}

for (const keyed of KEYED) {
  const { name, provider: { success }, good } = keyed

  t.test(`${name}: a copy gets the first reply again, and nothing runs`, quiet(async (t) => {
    const { deliver, events, lines } = createReceiver(t, keyed)
    const first = await deliver()
    t.equal(outcomeOf(first), `${success}`)
    t.strictSame(first.body === '' ? undefined : first.json(), good)
    for (let copies = 1; copies <= 3; copies++) {
      const copy = await deliver()
      t.equal(outcomeOf(copy), `${success} replayed`)
      t.equal(copy.headers['idempotency-replayed'], 'true')
      t.strictSame(shown(copy), shown(first))
    }
    t.equal(events.length, 1)
    t.equal(lines.filter(({ reason, level }) => reason === 'replayed' && level === 30).length, 3)
    t.equal(outcomeOf(await deliver('id-2')), `${success}`, 'another delivery is not a copy of it')
    t.equal(events.length, 2)
  }))

  t.test(`${name}: a copy that arrives while the first is handled is asked to retry`, async (t) => {
    const gate = gateOf<unknown>()
    const { deliver, events, lines } = createReceiver(t, keyed, () => gate.promise)
    const first = deliver()
    await until(() => events.length === 1)
    for (let copies = 1; copies <= 3; copies++) t.equal(outcomeOf(await deliver()), '503 IN_PROGRESS retry')
    gate.resolve(good)
    t.equal(outcomeOf(await first), `${success}`)
    const replay = await deliver()
    t.equal(outcomeOf(replay), `${success} replayed`)
    t.strictSame(shown(replay), shown(await first))
    t.equal(events.length, 1)
    t.equal(lines.filter(({ reason, level }) => reason === 'in_progress' && level === 30).length, 3)
  })
}

for (const keyed of WITH_ID) {
  const { name, event, altered, good, provider: { success } } = keyed

  t.test(`${name}: other content under its id is refused, while it runs and afterwards`, async (t) => {
    const gate = gateOf<unknown>()
    const { deliver, send, events, lines } = createReceiver(t, keyed, () => gate.promise)
    const first = deliver()
    await until(() => events.length === 1)
    t.equal(outcomeOf(await send(altered!('id-1'))), '422 ID_REUSED')
    gate.resolve(good)
    await first
    t.equal(outcomeOf(await send(altered!('id-1'))), '422 ID_REUSED')
    t.equal(outcomeOf(await deliver()), `${success} replayed`, 'without effect on the first')
    t.equal(events.length, 1)
    t.strictSame(warningsIn(lines), [
      { level: 40, msg: 'delivery rejected: id_reused' },
      { level: 40, msg: 'delivery rejected: id_reused' }
    ])
  })

  t.test(`${name}: key order, white space and escapes of a resend change nothing`, async (t) => {
    const { deliver, post, events } = createReceiver(t, keyed)
    await deliver()
    const text = JSON.stringify(event('id-1'))
    const escaped = text.replaceAll('e', '\\u0065').replaceAll('tru\\u0065', 'true').replaceAll('fals\\u0065', 'false')
    t.strictSame(JSON.parse(escaped), event('id-1'))
    for (const body of [
      JSON.stringify(reversed(event('id-1'))), JSON.stringify(event('id-1'), null, 4), ` \r\n\t${text}\n`, escaped
    ]) t.equal(outcomeOf(await post(body)), `${success} replayed`)
    t.equal(events.length, 1)
  })
}

const thrown = [new Error('x'), undefined, null, 'text', 0, false, deny(), deny({ statusCode: 409 })]
const failures: [name: string, fail: () => unknown][] = thrown.flatMap((value): [string, () => unknown][] => [
  [`throws ${value}`, () => { throw value }],
  [`rejects with ${value}`, () => Promise.reject(value)],
  [`throws ${value} after it has waited`, async () => {
    await rest()
    throw value
  }]
])
/** Lists ways to return values that a handler may not return: at once, or in a promise. */
const badReplies = (...values: unknown[]): [name: string, fail: () => unknown][] => values.flatMap((value) => [
  [`returns ${JSON.stringify(value)}`, () => value],
  [`resolves to ${JSON.stringify(value)}`, async () => value]
])
const FAILURES = new Map<Keyed, [name: string, fail: () => unknown][]>([
  [VERIFY, badReplies(undefined, null, {}, 5, { ...PLAYER, country: 'USA' }, { ...PLAYER, player_id: 'other' })],
  [ITEM, []], [SESSION, []], [BARE_SESSION, []], [MEMBER_EVENT, []]
])

for (const [keyed, own] of FAILURES) {
  const { name, good, provider: { success } } = keyed
  t.test(`${name}: after any failures it is handled until it succeeds, and never again`, quiet(async (t) => {
    let runs = 0
    let act: () => unknown = () => undefined
    const { deliver } = createReceiver(t, keyed, () => {
      runs++
      return act()
    })
    const all = [...failures, ...own]
    const { wrong, same } = createTable()
    for (const [index, [what, fail]] of all.entries()) {
      const times = 1 + index % 5
      runs = 0
      act = fail
      const failed: number[] = []
      for (let time = 1; time <= times; time++) failed.push((await deliver(`${index}`)).statusCode)
      act = index % 2 === 0 ? () => good : async () => good
      const outcomes = [await deliver(`${index}`), await deliver(`${index}`), await deliver(`${index}`)].map(outcomeOf)
      same(`${what}, ${times} times`, [failed.every((status) => status >= 400), ...outcomes, runs], [
        true, `${success}`, `${success} replayed`, `${success} replayed`, times + 1
      ])
    }
    t.strictSame(wrong, [])
    act = () => good
    for (const [, fail] of all) { // a single delivery that fails in each way in turn
      act = fail
      t.ok((await deliver('all')).statusCode >= 400)
    }
    act = () => good
    t.equal(outcomeOf(await deliver('all')), `${success}`)
    t.equal(outcomeOf(await deliver('all')), `${success} replayed`)
  }))
}

t.test('deliveries are independent: one is answered while an earlier one is handled', quiet(async (t) => {
  for (const keyed of KEYED) {
    const gate = gateOf<unknown>()
    const { deliver, events } = createReceiver(t, keyed, (run) => run === 1 ? gate.promise : keyed.good)
    const { success } = keyed.provider
    const first = deliver('first')
    await until(() => events.length === 1)
    t.equal(outcomeOf(await deliver('second')), `${success}`, keyed.name)
    t.equal(outcomeOf(await deliver('second')), `${success} replayed`)
    t.equal(outcomeOf(await deliver('first')), '503 IN_PROGRESS retry', 'the first is not finished')
    gate.resolve(keyed.good)
    t.equal(outcomeOf(await first), `${success}`)
    t.equal(events.length, 2)
  }
}))

t.test('one of 200 simultaneous copies is handled', quiet(async (t) => {
  const COPIES = 200
  for (const keyed of [VERIFY, MEMBER_EVENT]) {
    const { success } = keyed.provider
    const { deliver, events } = createReceiver(t, keyed, async () => {
      await rest()
      return keyed.good
    }, {}, { logger: false })
    for (let round = 1; round <= 2; round++) {
      const replies = await Promise.all(Array.from({ length: COPIES }, () => deliver(`round ${round}`)))
      const count = (outcome: string) => replies.filter((reply) => outcomeOf(reply) === outcome).length
      const running = count('503 IN_PROGRESS retry')
      t.equal(events.length, round)
      t.equal(count(`${success}`), 1)
      t.equal(count(`${success} replayed`) + running, COPIES - 1)
      t.ok(running > 0, 'some arrived while it was handled')
    }
  }
}))

const lateEnds: [name: string, act: () => unknown, succeeds: boolean][] = [
  ['succeeds', () => PLAYER, true],
  ['throws an error', () => { throw new Error('late') }, false],
  ['throws undefined', () => { throw undefined }, false], // eslint-disable-line no-throw-literal
  ['denies', () => { throw deny() }, false],
  ['returns no player', () => ({}), false],
  ['returns null', () => null, false]
]
for (const [name, act, succeeds] of lateEnds) {
  t.test(`a handler over its time keeps its claim, and that it ${name} later decides`, async (t) => {
    const gate = gateOf<undefined>()
    const { store, verbs } = scriptedStore()
    const late: Handle = async (run) => {
      if (run > 1) return PLAYER
      await gate.promise
      return act()
    }
    const { deliver, events, lines } = createReceiver(t, VERIFY, late, { handlerTimeout: 20, deliveries: store })
    t.equal(outcomeOf(await deliver()), '503 TIMEOUT retry')
    t.equal(outcomeOf(await deliver()), '503 IN_PROGRESS retry')
    t.strictSame(verbs(), ['claim', 'claim'], 'nothing is decided yet')
    gate.resolve(undefined)
    await until(() => verbs().length === 3)
    t.equal(verbs()[2], succeeds ? 'complete' : 'release')
    const next = await deliver()
    t.equal(outcomeOf(next), succeeds ? '200 replayed' : '200')
    t.strictSame(next.json(), PLAYER)
    t.equal(events.length, succeeds ? 1 : 2)
    t.equal(lines.filter(({ msg }) => msg === 'handler ended after its timeout').length, 1)
    t.notOk(lines.some((line) => JSON.stringify(line).includes('FST_ERR_REP_ALREADY_SENT')), 'and answered once')
    t.equal(outcomeOf(await deliver()), '200 replayed')
  })
}

for (const fails of [false, true]) {
  t.test(`a client that disconnects changes nothing if the handler ${fails ? 'fails' : 'succeeds'}`, async (t) => {
    const gate = gateOf<undefined>()
    const { store, verbs } = scriptedStore()
    let gone = false
    const handle: Handle = async (run, _event, { raw }) => {
      raw.socket.once('close', () => { gone = true })
      await gate.promise
      if (fails && run === 1) throw new Error('x')
      return PLAYER
    }
    const { app, deliver, events } = createReceiver(t, VERIFY, handle, { deliveries: store })
    await listen(app)
    const socket = connect(portOf(app), '127.0.0.1')
    socket.write(wireForm('id-1'))
    await until(() => events.length === 1)
    socket.destroy()
    await until(() => gone)
    t.equal(outcomeOf(await deliver()), '503 IN_PROGRESS retry')
    gate.resolve(undefined)
    await until(() => verbs().length === 3)
    t.strictSame(verbs(), ['claim', 'claim', fails ? 'release' : 'complete'])
    const resent = await deliver()
    t.equal(outcomeOf(resent), fails ? '200' : '200 replayed')
    t.strictSame(resent.json(), PLAYER)
    t.equal(events.length, fails ? 2 : 1)
  })
}

for (const fails of [false, true]) {
  t.test(`if a handler outlives its lease and then ${fails ? 'fails' : 'succeeds'}, nothing is kept`, async (t) => {
    let clock = 5
    const gates = [gateOf<unknown>(), gateOf<unknown>()] as const
    const { deliver, events, lines } = createReceiver(t, ITEM, (run) => gates[run - 1]!.promise, {
      deliveries: memoryDeliveries({ now: () => clock }), lease: 30_000
    })
    const slow = deliver()
    await until(() => events.length === 1)
    clock += 29_999
    t.equal(outcomeOf(await deliver()), '503 IN_PROGRESS retry')
    clock += 1
    const next = deliver()
    await until(() => events.length === 2)
    const endSlow = async () => {
      if (fails) gates[0].reject(new Error('x'))
      else gates[0].resolve({ by: 'slow' })
      const reply = await slow
      t.equal(outcomeOf(reply), fails ? '500 HANDLER_FAILED' : '200')
      if (!fails) t.strictSame(reply.json(), { by: 'slow' }, 'its sender receives its result all the same')
    }
    if (fails) { // the copy, before the slow one ends
      await endSlow()
      t.equal(outcomeOf(await deliver()), '503 IN_PROGRESS retry', 'the claim of the other remains')
    }
    gates[1].resolve({ by: 'next' })
    t.strictSame((await next).json(), { by: 'next' })
    if (!fails) await endSlow()
    const replay = await deliver()
    t.equal(outcomeOf(replay), '200 replayed')
    t.strictSame(replay.json(), { by: 'next' })
    t.equal(events.length, 2)
    t.strictSame(warningsIn(lines), [
      { level: 40, msg: 'delivery was handled, but its claim was lost' },
      ...fails ? [{ level: 50, msg: 'delivery failed: handler_failed' }] : []
    ])
  })
}

t.test('a lease that is not longer than the time limit of the handler is an error', quiet(async (t) => {
  const ready = async (keyed: Keyed, options: { lease?: number }) => {
    await createReceiver(t, keyed, undefined, options).app.ready()
  }
  for (const options of [
    { lease: 10_000 }, { lease: 1 }, { lease: 5000, handlerTimeout: 5000 }, { lease: 5000, handlerTimeout: 5001 },
    { lease: 2 ** 31 - 1, handlerTimeout: 2 ** 31 - 1 }
  ]) {
    for (const keyed of [VERIFY, SESSION, MEMBER_EVENT]) {
      await t.rejects(ready(keyed, options), {
        code: 'FST_VERIFICATION_INVALID_OPTION', message: /option "lease" must be longer than "handlerTimeout"$/
      })
    }
  }
  for (const lease of [0, -1, 1.5, '60000', null, NaN, 2 ** 31]) {
    await t.rejects(ready(VERIFY, { lease: lease as number }), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: /option "lease" must be an integer/
    })
  }
}))

t.test('the default lease is one minute, or twice the time limit of the handler', quiet(async (t) => {
  for (const [options, lease] of [
    [{}, 60_000], [{ handlerTimeout: 1 }, 60_000], [{ handlerTimeout: 30_000 }, 60_000],
    [{ handlerTimeout: 30_001 }, 60_002], [{ handlerTimeout: 600_000 }, 1_200_000], [{ lease: 10_001 }, 10_001],
    [{ handlerTimeout: 2 ** 31 - 1 }, 2 ** 32 - 2], [{ handlerTimeout: 20, lease: 21 }, 21]
  ] as const) {
    for (const keyed of [VERIFY, SESSION, MEMBER_EVENT]) {
      const { store, asked } = scriptedStore()
      const { deliver } = createReceiver(t, keyed, undefined, { ...options, deliveries: store }, { logger: false })
      t.equal(outcomeOf(await deliver()), `${keyed.provider.success}`)
      t.equal(asked[0]![3], lease)
    }
  }
}))

t.test('if store and handler answer synchronously, so does the plugin', async (t) => {
  for (const keyed of KEYED) {
    const steps: string[] = []
    const base = memoryDeliveries()
    const { store } = scriptedStore({
      claim (...args) {
        steps.push('claim')
        queueMicrotask(() => steps.push('microtask'))
        return base.claim(...args)
      },
      complete (...args) {
        steps.push('complete')
        return base.complete(...args)
      }
    }, base)
    const { app, deliver } = createReceiver(t, keyed, () => {
      steps.push('handle')
      return keyed.good
    }, { deliveries: store })
    app.addHook('onSend', (_request, _reply, payload, done) => {
      steps.push('send')
      done(null, payload)
    })
    await deliver()
    t.strictSame(steps, ['claim', 'handle', 'complete', 'send', 'microtask'])
    steps.length = 0
    await deliver()
    t.strictSame(steps, ['claim', 'send', 'microtask'])
  }
})

t.test('no promise was rejected without being handled', async (t) => {
  await rest()
  t.strictSame(rejections, [])
})
