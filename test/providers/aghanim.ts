import { Type } from '@sinclair/typebox'
import t from 'tap'
import { aghanimOptions, aghanimPlugin, deny, signAghanim, type AghanimEvent, type AghanimOptions, type Player } from '../../plugins/index.js'
import { NOW, now, PLAYER, SECRET, VERIFY_EVENT } from '../support/deliveries.js'
import { createHost, type Test } from '../support/host.js'
import { quiet } from '../support/quiet.js'

type Options = Partial<Omit<AghanimOptions, 'verifyPlayer'>> & { verifyPlayer?: (...args: any[]) => unknown }

function createServer (test: Test, options: Options = {}) {
  const { app, lines } = createHost(test)
  app.register(aghanimPlugin, { secret: SECRET, now, verifyPlayer: () => PLAYER, ...options } as AghanimOptions)
  const deliver = (event: object) => {
    const body = JSON.stringify(event)
    const headers = signAghanim({ secret: SECRET, body, timestamp: NOW })
    return app.inject({ method: 'POST', url: '/aghanim', headers, payload: body })
  }
  return { app, lines, deliver }
}

const FULL: Player = {
  player_id: '2D2R-OP3C',
  name: '',
  attributes: {
    level: -1.5,
    platform: 'ios',
    marketplace: 'galaxy_store',
    soft_currency_amount: 0.1,
    hard_currency_amount: 1e9,
    guild: { of: 'their own' }
  },
  avatar_url: 'https://static-platform.aghanim.com/images/bb8.jpg',
  email: 'b@example.com',
  banned: true,
  segments: ['whales', 'segments of their own'],
  country: 'CL',
  custom_attributes: { is_premium: true, age: 25, favorite_color: 'blue', install_date: 1704070800, tags: ['a', 1, false] },
  balances: [{ sku: 'gold', quantity: 12.5 }]
}

t.test('a player is admitted with the result of the handler', quiet(async (t) => {
  const replies: Player[] = [PLAYER, FULL]
  for (const reply of replies) {
    for (const verifyPlayer of [() => reply, async () => reply]) {
      const answer = await createServer(t, { verifyPlayer }).deliver(VERIFY_EVENT)
      t.equal(answer.statusCode, 200)
      t.equal(answer.headers['content-type'], 'application/json; charset=utf-8')
      t.strictSame(answer.json(), reply)
    }
  }
}))

t.test('the handler receives the event as it was sent, and the request', async (t) => {
  const calls: [unknown, { url: string, rawBody: Buffer, body: unknown }][] = []
  const { deliver } = createServer(t, {
    verifyPlayer: (event, request) => {
      calls.push([event, request])
      return PLAYER
    }
  })
  await deliver({ ...VERIFY_EVENT, extra: 1, event_data: { ...VERIFY_EVENT.event_data, social: 'x' } })
  const [event, request] = calls[0]!
  t.strictSame(event, { ...VERIFY_EVENT, extra: 1, event_data: { player_id: '2D2R-OP3C', social: 'x' } })
  t.equal(request.url, '/aghanim')
  t.equal(request.body, event, 'request.body is the checked event')
  t.same(JSON.parse(request.rawBody.toString()), event, 'request.rawBody is still the received bytes')
})

t.test('top-level keys that the schema does not know are removed from a reply', async (t) => {
  const { deliver } = createServer(t, {
    verifyPlayer: () => ({ ...PLAYER, password: 'canary', email: undefined })
  })
  const reply = await deliver(VERIFY_EVENT)
  t.strictSame(reply.json(), PLAYER)
})

class Row {
  readonly #row = PLAYER
  get player_id () { return this.#row.player_id }
  get name () { return this.#row.name }
  get attributes () { return this.#row.attributes }
}

t.test('an instance of a class is a reply like any other', async (t) => {
  const { name, attributes, player_id: id } = PLAYER
  const reply = await createServer(t, { verifyPlayer: () => new Row() }).deliver(VERIFY_EVENT)
  t.strictSame(reply.json(), { player_id: id, name, attributes })
})

const circular: Record<string, unknown> = { ...PLAYER.attributes }
circular['self'] = circular

const BAD_REPLIES: [string, unknown, string][] = [
  ['an array', [], '/: Expected object'],
  ['false', false, '/: Expected object'],
  ['zero', 0, '/: Expected object'],
  ['an empty string', '', '/: Expected object'],
  ['an empty object', {}, '/player_id: Expected required property'],
  ['a string', 'canary', '/: Expected object'],
  ['true', true, '/: Expected object'],
  ['a function', () => PLAYER, '/: Expected object'],
  ['no name', { ...PLAYER, name: undefined }, '/name: Expected required property'],
  ['an object for a name', { ...PLAYER, name: { canary: 1 } }, '/name: Expected string'],
  ['no attributes', { ...PLAYER, attributes: undefined }, '/attributes: Expected required property'],
  ['a string for a level', { ...PLAYER, attributes: { level: '2' } }, '/attributes/level: Expected number'],
  ['a level of NaN', { ...PLAYER, attributes: { level: NaN } }, '/attributes/level: Expected number'],
  ['an infinite level', { ...PLAYER, attributes: { level: Infinity } }, '/attributes/level: Expected number'],
  ['an unknown platform', { ...PLAYER, attributes: { level: 1, platform: 'canary' } }, '/attributes/platform: Expected union value'],
  ['an unknown marketplace', { ...PLAYER, attributes: { level: 1, marketplace: 'canary' } }, '/attributes/marketplace: Expected union value'],
  ['a country in lower case', { ...PLAYER, country: 'us' }, "/country: Expected string to match '^[A-Z]{2}$'"],
  ['a country of three letters', { ...PLAYER, country: 'USA' }, "/country: Expected string to match '^[A-Z]{2}$'"],
  ['a string for banned', { ...PLAYER, banned: 'false' }, '/banned: Expected boolean'],
  ['a number among segments', { ...PLAYER, segments: ['a', 1] }, '/segments/1: Expected string'],
  ['a nested custom attribute', { ...PLAYER, custom_attributes: { a: { canary: 1 } } }, '/custom_attributes/a: Expected union value'],
  ['a balance without a quantity', { ...PLAYER, balances: [{ sku: 'canary' }] }, '/balances/0/quantity: Expected required property'],
  ['another player', { ...PLAYER, player_id: 'canary' }, '/player_id: Expected the requested player'],
  ['a BigInt', { ...PLAYER, attributes: { level: 2n } }, '/attributes/level: Expected number'],
  ['a circle', { ...PLAYER, attributes: circular }, '/attributes/self: cannot be serialized as JSON'],
  ['a getter that throws', { ...PLAYER, get name () { throw new Error('canary') } }, '/name: cannot be serialized as JSON'],
  ['a toJSON that shows something else', { ...PLAYER, attributes: { level: 2, toJSON: () => ({ level: 'canary' }) } }, '/attributes/level: Expected number']
]

for (const [name, reply, problem] of BAD_REPLIES) {
  t.test(`a reply that is ${name} is never sent; the log names the path, not the value`, async (t) => {
    for (const verifyPlayer of [() => reply, async () => reply]) {
      const { deliver, lines } = createServer(t, { verifyPlayer })
      const answer = await deliver(VERIFY_EVENT)
      t.strictSame(answer.json(), {
        statusCode: 500,
        code: 'FST_VERIFICATION_INVALID_REPLY',
        error: 'Internal Server Error',
        message: 'The handler returned an invalid reply'
      })
      t.equal((lines.find(({ level }) => level === 50)?.['problems'] as string[])[0], problem)
      t.notMatch(JSON.stringify(lines), /canary/)
    }
  })
}

t.test('null and deny() deny', quiet(async (t) => {
  const flat = (code: string, message: string) => ({ status: 'error', code, message })
  const cases: [() => unknown, number, object][] = [
    [() => null, 401, flat('not_found', 'Player verification failed')],
    [async () => null, 401, flat('not_found', 'Player verification failed')],
    [() => { throw deny() }, 401, flat('not_found', 'Player verification failed')],
    [async () => { throw deny({ statusCode: 403, code: 'banned', message: 'Go away' }) }, 403, flat('banned', 'Go away')],
    [() => { throw deny({ statusCode: 400 }) }, 400, flat('not_found', 'Player verification failed')],
    [() => Promise.reject(deny({ statusCode: 499, code: 'declined' })), 499, flat('declined', 'Player verification failed')]
  ]
  for (const [verifyPlayer, status, body] of cases) {
    const { deliver, lines } = createServer(t, { verifyPlayer })
    const reply = await deliver(VERIFY_EVENT)
    t.equal(reply.statusCode, status)
    t.equal(reply.headers['content-type'], 'application/json; charset=utf-8')
    t.strictSame(reply.json(), body)
    t.equal(lines.filter(({ level }) => level >= 40).length, 0, 'a denial is not a failure')
  }
}))

t.test('deny() accepts 4xx statuses and strings only', async (t) => {
  const cases: [object, string][] = [
    ...[200, 399, 500, 401.5, NaN, '401'].map((statusCode): [object, string] =>
      [{ statusCode }, 'option "statusCode" must be a 4xx status']),
    [{ code: 1 }, 'option "code" must be a string'],
    [{ message: {} }, 'option "message" must be a string']
  ]
  for (const [options, expected] of cases) {
    t.throws(() => deny(options), { code: 'FST_VERIFICATION_INVALID_OPTION', message: `deny: ${expected}` })
  }
})

const ITEM_ADD = { event_id: 'whevt_1', event_type: 'item.add', event_data: { player_id: '2D2R-OP3C', items: [{ sku: 'gold' }] } }

t.test('other events go to handleEvent, and its result is the answer', async (t) => {
  const cases: [unknown, number, object][] = [
    [undefined, 200, { status: 'ok' }],
    [{ found: true, nested: { a: 1 } }, 200, { found: true, nested: { a: 1 } }],
    [{}, 200, {}]
  ]
  for (const [result, status, body] of cases) {
    const calls: AghanimEvent[] = []
    const handleEvent = (event: AghanimEvent) => { calls.push(event); return result as object }
    const { deliver } = createServer(t, { handleEvent, verifyPlayer: () => t.fail('verifyPlayer was called') })
    const reply = await deliver(ITEM_ADD)
    t.equal(reply.statusCode, status)
    t.strictSame(reply.json(), body)
    t.strictSame(calls, [ITEM_ADD])
  }
})

t.test('handleEvent may deny', async (t) => {
  const denied = await createServer(t, { handleEvent: () => { throw deny({ statusCode: 400, code: 'validation_error' }) } })
    .deliver(ITEM_ADD)
  t.equal(denied.statusCode, 400)
  t.equal(denied.json().code, 'validation_error')
})

t.test('without handleEvent another event type is unknown, once it is signed and valid', async (t) => {
  const { deliver } = createServer(t, { verifyPlayer: () => t.fail('verifyPlayer was called') })
  t.strictSame((await deliver(ITEM_ADD)).json(), {
    statusCode: 400,
    code: 'FST_VERIFICATION_UNKNOWN_EVENT',
    error: 'Bad Request',
    message: 'No handler for this type of event'
  })
  t.equal((await deliver({ ...ITEM_ADD, event_id: 1 })).json().code, 'FST_VERIFICATION_INVALID_PAYLOAD')
})

t.test('an event that violates its schema is refused with path and rule', async (t) => {
  const { deliver } = createServer(t, {
    verifyPlayer: () => t.fail('verifyPlayer was called'), handleEvent: () => { t.fail('handleEvent was called') }
  })
  const { event_id: _id, ...anonymous } = VERIFY_EVENT
  const cases: [object, string][] = [
    [{}, '/event_id: Expected required property'],
    [anonymous, '/event_id: Expected required property'],
    [{ ...VERIFY_EVENT, event_type: 1 }, '/event_type: Expected string'],
    [{ ...VERIFY_EVENT, event_data: null }, '/event_data: Expected object'],
    [{ ...VERIFY_EVENT, event_data: {} }, '/event_data/player_id: Expected required property'],
    [{ ...VERIFY_EVENT, event_data: { player_id: '' } }, '/event_data/player_id: Expected string length greater or equal to 1'],
    [{ ...VERIFY_EVENT, event_data: { player_id: 7 } }, '/event_data/player_id: Expected string'],
    [{ ...VERIFY_EVENT, sandbox: 'no' }, '/sandbox: Expected boolean'],
    [{ ...VERIFY_EVENT, idempotency_key: 1 }, '/idempotency_key: Expected string'],
    [{ ...ITEM_ADD, event_data: [] }, '/event_data: Expected object']
  ]
  for (const [event, message] of cases) {
    const reply = await deliver(event)
    t.strictSame(reply.json(), { statusCode: 400, code: 'FST_VERIFICATION_INVALID_PAYLOAD', error: 'Bad Request', message })
  }
})

t.test('members that Aghanim may omit or set to null are optional', async (t) => {
  const { deliver } = createServer(t)
  const { event_id: id, event_type: type, event_data: data } = VERIFY_EVENT
  const nulls = Object.fromEntries(Object.keys(VERIFY_EVENT).map((key) => [key, null]))
  const required = { event_id: id, event_type: type, event_data: data }
  for (const event of [required, { ...nulls, ...required }, { ...required, trigger: 'test', sandbox: true }]) {
    t.equal((await deliver(event)).statusCode, 200)
  }
})

t.test('eventData replaces the schema of event_data', async (t) => {
  const { app } = createHost(t)
  app.register(aghanimPlugin, aghanimOptions({
    secret: SECRET,
    now,
    eventData: Type.Object({ login: Type.Object({ provider: Type.String(), subject: Type.String() }) }),
    verifyPlayer: ({ event_data: { login } }) => ({ ...PLAYER, player_id: `${login.provider}:${login.subject}` })
  }))
  const deliver = (data: object) => {
    const body = JSON.stringify({ ...VERIFY_EVENT, event_data: data })
    const headers = signAghanim({ secret: SECRET, body, timestamp: NOW })
    return app.inject({ method: 'POST', url: '/aghanim', headers, payload: body })
  }
  const reply = await deliver({ login: { provider: 'apple', subject: '1' } })
  t.equal(reply.statusCode, 200)
  t.equal(reply.json().player_id, 'apple:1')
  t.match((await deliver({ player_id: '2D2R-OP3C' })).json(), {
    code: 'FST_VERIFICATION_INVALID_PAYLOAD', message: '/event_data/login: Expected required property'
  })
})

t.test('event_data may be null if a schema of the user says so', async (t) => {
  const { deliver } = createServer(t, { eventData: Type.Null() as never })
  t.strictSame((await deliver({ ...VERIFY_EVENT, event_data: null })).json(), PLAYER)
})

t.test('a handler that changes the event does not change the check of its reply', async (t) => {
  const changed = { ...PLAYER, player_id: 'changed' }
  const handlers = [
    (event: any) => { event.event_data.player_id = 'changed'; return changed },
    (event: any) => { event.event_type = 'item.add'; return { anything: 1 } },
    (event: any) => { delete event.event_data; return changed }
  ]
  for (const verifyPlayer of handlers) {
    t.equal((await createServer(t, { verifyPlayer }).deliver(VERIFY_EVENT)).json().code, 'FST_VERIFICATION_INVALID_REPLY')
  }
})

t.test('two hundred players at once, each answered with their own', async (t) => {
  const { deliver } = createServer(t, {
    verifyPlayer: async ({ event_data: { player_id: id } }) => {
      await new Promise(setImmediate)
      return { ...PLAYER, player_id: id }
    }
  })
  const ids = [...Array(200).keys()].map(String)
  const replies = await Promise.all(ids.map((id) => deliver({ ...VERIFY_EVENT, event_data: { player_id: id } })))
  t.strictSame(replies.map((reply) => reply.json().player_id), ids)
})
