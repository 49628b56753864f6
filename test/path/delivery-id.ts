import { createHash, createHmac } from 'node:crypto'
import t from 'tap'
import {
  aghanimPlugin, altdentifierPlugin, identityValidationPlugin, memoryDeliveries, signAghanim, signAltdentifier,
  signIdentityValidation, type AghanimOptions, type AltDentifierOptions, type DeliveryStore,
  type IdentityValidationOptions
} from '../../plugins/index.js'
import { API_KEY, API_SECRET, GUILD, MEMBER, NOW, now, PLAYER, SECRET, SESSIONS, VERIFY_EVENT } from '../support/deliveries.js'
import { createHost, type Test as Host } from '../support/host.js'
import { createGuardedHost, IDENTIFIER, mint, post, SERVICE_KEY, startService } from '../support/humandetect.js'
import {
  BARE_SESSION, createReceiver, ITEM, KEYED, MEMBER_EVENT, outcomeOf, scriptedStore, SESSION, VERIFY
} from '../support/life-cycle.js'
import { quiet } from '../support/quiet.js'
import { createTable } from '../support/table.js'

type Test = Host & Pick<typeof t, 'equal' | 'match'>

const OTHER_SECRET = 'another secret that is long enough'
const OTHER_KEY = 'another-api-key'
const OTHER_API_SECRET = Buffer.from('another secret of thirty-two byt').toString('base64')
const FILES = '/identity-validation/required-files'

type Sent = { url: string, headers: Record<string, string>, payload: string }
const aghanim = (event: object, { url = '/aghanim', secret = SECRET } = {}): Sent => {
  const payload = JSON.stringify(event)
  return { url, payload, headers: signAghanim({ secret, body: payload, timestamp: NOW }) }
}
const altdentifier = (event: object, { url = '/altdentifier', secret = SECRET } = {}): Sent => {
  const payload = JSON.stringify(event)
  return { url, payload, headers: signAltdentifier({ secret, body: payload }) }
}
const identity = (
  event: object, { url = SESSIONS, apiKey = API_KEY, secret = API_SECRET, timestamp = NOW } = {}
): Sent => {
  const payload = JSON.stringify(event)
  return { url, payload, headers: signIdentityValidation({ apiKey, secret, endpoint: url, body: payload, timestamp }) }
}

/** Creates plugins that share a store, and counts the runs of all their handlers. */
function createTenants (test: Test, store: DeliveryStore = memoryDeliveries()) {
  const { app } = createHost(test)
  let runs = 0
  const run = () => { runs++ }
  const shared = { now, deliveries: store }
  const handlers = { handleEvent: run, verifyPlayer: () => { run(); return PLAYER } }
  return {
    aghanim: (options: Partial<AghanimOptions> = {}) => {
      app.register(aghanimPlugin, { secret: SECRET, ...shared, ...handlers, ...options })
    },
    altdentifier: (options: Partial<AltDentifierOptions> = {}) => {
      app.register(altdentifierPlugin, { secret: SECRET, dedupe: 60, ...shared, handleEvent: run, ...options })
    },
    identity: (options: Partial<IdentityValidationOptions> = {}) => {
      app.register(identityValidationPlugin, {
        apiKeys: { [API_KEY]: API_SECRET }, ...shared, handleSession: run, handleRequiredFiles: run, ...options
      } as IdentityValidationOptions)
    },
    runs: () => runs,
    send: async (sent: Sent) => outcomeOf(await app.inject({ method: 'POST', ...sent }))
  }
}

/** Checks that each delivery is handled once, and none is mistaken for another. */
async function areStrangers (test: Test, { send, runs }: ReturnType<typeof createTenants>, all: Sent[]): Promise<void> {
  for (const [index, sent] of all.entries()) {
    test.match(await send(sent), /^20[04]$/, `${index}: ${sent.url}`)
    test.equal(runs(), index + 1)
  }
  for (const sent of all) test.match(await send(sent), /^20[04] replayed$/)
  test.equal(runs(), all.length)
}

t.test('keys in the store never change: copies of a delivery from before an update are still copies', async (t) => {
  const digest = (...values: unknown[]) =>
    createHash('sha256').update(values.map((value) => JSON.stringify(value)).join('')).digest('base64url')
  const tenant = (algorithm: string) => createHmac(algorithm, SECRET).update('fastify-verification key').digest('hex')
  const macOf = ({ provider, event }: typeof VERIFY) => {
    const [, text] = /(\S{32,})$/.exec(provider.sign(JSON.stringify(event('id-1')))[provider.signature]!)!
    return text!.startsWith('MD5=') ? text!.slice(4) : Buffer.from(text!, 'base64').toString('hex')
  }
  for (const [keyed, namespace, id, content] of [
    [VERIFY, ['aghanim', '/aghanim', tenant('sha256')], ['player.verify', 'idempotency_key', 'id-1'], 'event_data'],
    [ITEM, ['aghanim', '/aghanim', tenant('sha256')], ['item.add', 'event_id', 'id-1']],
    [SESSION, ['identity-validation', SESSIONS, API_KEY], ['idempotency_key', 'id-1']],
    [BARE_SESSION, ['identity-validation', SESSIONS, API_KEY], ['mac', macOf(BARE_SESSION)]],
    [MEMBER_EVENT, ['altdentifier', '/altdentifier', tenant('md5')], ['mac', macOf(MEMBER_EVENT)]]
  ] as const) {
    const { store, asked } = scriptedStore()
    await createReceiver(t, keyed, undefined, { deliveries: store }).deliver('id-1')
    t.equal(asked[0]![1], digest(namespace, id), keyed.name)
    if (content !== undefined) t.equal(asked[0]![2], digest(keyed.event('id-1')[content]), 'and its content')
  }
})

t.test('player.verify without a key runs every time, and the store is not called', quiet(async (t) => {
  const { store, asked } = scriptedStore()
  const { send, events } = createReceiver(t, VERIFY, undefined, { deliveries: store })
  const { idempotency_key: _none, ...absent } = VERIFY_EVENT
  const keyless = [absent, { ...absent, idempotency_key: null }, { ...absent, idempotency_key: '' }]
  for (const event of [...keyless, ...keyless]) t.equal(outcomeOf(await send(event)), '200')
  t.equal(events.length, 6)
  t.strictSame(asked, [])
  for (const outcome of ['200', '200 replayed', '200 replayed']) {
    t.equal(outcomeOf(await send({ ...absent, idempotency_key: 'k' })), outcome)
  }
  t.equal(events.length, 7)
}))

t.test('other Aghanim events are identified by their key, or else by their id', quiet(async (t) => {
  const { send, events } = createReceiver(t, ITEM)
  const item = (id: string, key?: string | null) => ({ ...ITEM.event(id), idempotency_key: key })
  for (const [event, outcome] of [
    [item('id-1'), '200'], [item('id-1', null), '200 replayed'], [item('id-1', ''), '200 replayed'],
    [item('id-1', 'key-1'), '200'], [item('id-2', 'key-1'), '200 replayed'], [item('id-1', 'key-2'), '200'],
    [item('id-2'), '200'], [item('ID-2'), '200'], [item('id-2 '), '200'], [item('key-1'), '200'], [item('', 'key-1'), '200 replayed']
  ] as const) t.equal(outcomeOf(await send(event)), outcome, JSON.stringify(event))
  t.equal(events.length, 7)
}))

t.test('an Aghanim event with an empty id runs every time, and the store is not called', async (t) => {
  const { store, asked } = scriptedStore()
  const { deliver, events } = createReceiver(t, ITEM, undefined, { deliveries: store })
  for (let times = 1; times <= 3; times++) {
    t.equal(outcomeOf(await deliver('')), '200')
    t.equal(events.length, times)
  }
  t.strictSame(asked, [])
})

t.test('members outside the content of an Aghanim event may differ in a resend', async (t) => {
  for (const keyed of [VERIFY, ITEM]) {
    const { send, events } = createReceiver(t, keyed)
    await send(keyed.event('id-1'))
    const about = { event_time: 1, request_id: 'x', context: { page: 1 }, transaction_id: null, sandbox: true, new: 1 }
    t.match(outcomeOf(await send({ ...keyed.event('id-1'), ...about })), 'replayed')
    t.equal(events.length, 1)
  }
})

t.test('contents that only look alike are not the same', quiet(async (t) => {
  const alike = [
    1, '1', [1], [[1]], { 0: 1 }, [], {}, null, '', '[]', false, 0, '0', [1, 2], [2, 1], [12], ['1,2'], ['1', '2'],
    { a: 1, b: 2 }, { a: { b: 2 }, c: 1 }, { a: { b: 2, c: 1 } }, { 'a":1,"b': 2 }, '\ud800', '\ud801', '\\ud800', 1e21, '1e+21'
  ]
  const { send, events } = createReceiver(t, ITEM)
  const eventOf = (value: unknown) => ({ ...ITEM.event('id-1'), event_data: { value } })
  t.equal(outcomeOf(await send(eventOf('first'))), '200')
  for (const value of alike) t.equal(outcomeOf(await send(eventOf(value))), '422 ID_REUSED', JSON.stringify(value))
  t.equal(events.length, 1)

  const { wrong, same } = createTable()
  for (const [index, value] of alike.entries()) {
    const under = (content: unknown) => send({ ...eventOf(content), event_id: `alike-${index}` })
    same(JSON.stringify(value), [outcomeOf(await under(value)), outcomeOf(await under(value))], ['200', '200 replayed'])
    for (const other of alike.slice(index + 1)) { // equality is symmetric, so each pair is tried in one order only
      same(JSON.stringify([value, other]), outcomeOf(await under(other)), '422 ID_REUSED')
    }
  }
  t.strictSame(wrong, [])
  t.equal(events.length, 1 + alike.length)
}))

t.test('content that is nested deeper than the call stack is handled once like any other', async (t) => {
  const { post, events } = createReceiver(t, SESSION)
  const nested = (depth: number) => JSON.stringify({ idempotency_key: 'deep', data: 0 })
    .replace('0}', `${'[{"a":'.repeat(depth)}1${'}]'.repeat(depth)}}`)
  t.equal(outcomeOf(await post(nested(25_000))), '204')
  t.equal(outcomeOf(await post(nested(25_000))), '204 replayed')
  t.equal(outcomeOf(await post(nested(25_001))), '422 ID_REUSED')
  t.equal(events.length, 1)
})

t.test('the same id under another type of event, or as another kind of id, is another delivery', quiet(async (t) => {
  const tenants = createTenants(t)
  tenants.aghanim()
  const { event_data: data } = VERIFY_EVENT
  await areStrangers(t, tenants, [
    aghanim({ event_type: 'item.add', event_id: 'x', event_data: data }),
    aghanim({ event_type: 'item.remove', event_id: 'x', event_data: data }),
    aghanim({ event_type: 'item.add', event_id: 'y', event_data: data, idempotency_key: 'x' }),
    aghanim({ event_type: 'item.remove', event_id: 'y', event_data: data, idempotency_key: 'x' }),
    aghanim({ event_type: 'player.verify', event_id: 'x', event_data: data, idempotency_key: 'x' }),
    aghanim({ event_type: 'item', event_id: 'add,event_id,x', event_data: data }),
    aghanim({ event_type: 'item.add","event_id","x', event_id: 'x', event_data: data }),
    aghanim({ event_type: '', event_id: 'x', event_data: data })
  ])
}))

t.test('the same id at another path or prefix is another delivery', quiet(async (t) => {
  const tenants = createTenants(t)
  tenants.aghanim()
  tenants.aghanim({ path: '/aghanim/b' })
  tenants.aghanim({ prefix: '/b' })
  tenants.altdentifier()
  tenants.altdentifier({ path: '/b' })
  tenants.altdentifier({ prefix: '/c' })
  tenants.identity()
  tenants.identity({ prefix: '/d' })
  const event = VERIFY.event('x')
  const session = SESSION.event('x')
  await areStrangers(t, tenants, [
    aghanim(event), aghanim(event, { url: '/aghanim/b' }), aghanim(event, { url: '/b/aghanim' }),
    altdentifier({ OP: 5 }), altdentifier({ OP: 5 }, { url: '/b' }), altdentifier({ OP: 5 }, { url: '/c/altdentifier' }),
    identity(session), identity(session, { url: FILES }), identity(session, { url: `/d${SESSIONS}` })
  ])
}))

t.test('the same id at the same path from another provider is another delivery', async (t) => {
  const { store, asked } = scriptedStore()
  const event = { event_type: 'x', event_id: 'x', event_data: {}, idempotency_key: 'x', OP: 5 }
  const url = '/hook'
  const hosts = [createTenants(t, store), createTenants(t, store), createTenants(t, store)] as const
  hosts[0].aghanim({ path: url })
  hosts[1].altdentifier({ path: url })
  hosts[2].identity({ paths: { sessions: url } })
  const sent = [aghanim(event, { url }), altdentifier(event, { url }), identity(event, { url })]
  for (const [index, { send, runs }] of hosts.entries()) {
    t.match(await send(sent[index]!), /^20[04]$/)
    t.equal(runs(), 1)
  }
  t.equal(new Set(asked.filter(([verb]) => verb === 'claim').map(([, key]) => key)).size, 3)
})

t.test('the same id under another secret or api-key is another delivery', quiet(async (t) => {
  const event = VERIFY.event('x')
  const session = SESSION.event('x')
  const member = { OP: 1, member: MEMBER, guild: GUILD }
  const apiKeys = { [API_KEY]: API_SECRET, [OTHER_KEY]: OTHER_API_SECRET }
  const other = { apiKey: OTHER_KEY, secret: OTHER_API_SECRET }
  const secrets: [string | string[] | (() => unknown), unknown][] = [
    [[SECRET, OTHER_SECRET], apiKeys],
    [() => [SECRET, OTHER_SECRET], (apiKey: keyof typeof apiKeys) => apiKeys[apiKey]],
    [async () => [OTHER_SECRET, SECRET], new Map(Object.entries(apiKeys))]
  ]
  for (const [secret, ring] of secrets) {
    const tenants = createTenants(t)
    tenants.aghanim({ secret: secret as string })
    tenants.altdentifier({ secret: secret as string })
    tenants.identity({ apiKeys: ring as typeof apiKeys })
    await areStrangers(t, tenants, [
      aghanim(event), aghanim(event, { secret: OTHER_SECRET }), altdentifier(member),
      altdentifier(member, { secret: OTHER_SECRET }), identity(session), identity(session, other),
      identity({ event_id: 'mac' }), identity({ event_id: 'mac' }, other)
    ])
  }
}))

t.test('a resolver that finds the secret of each tenant keeps their ids apart', quiet(async (t) => {
  const secrets: Record<string, string> = { a: SECRET, b: OTHER_SECRET }
  const tenants = createTenants(t)
  const secret = ({ params }: { params: unknown }) => secrets[(params as { tenant: string }).tenant]
  tenants.aghanim({ path: '/aghanim/:tenant', secret })
  tenants.altdentifier({ path: '/altdentifier/:tenant', secret: async (request) => secret(request) })
  await areStrangers(t, tenants, [
    aghanim(VERIFY.event('x'), { url: '/aghanim/a' }),
    aghanim(VERIFY.event('x'), { url: '/aghanim/b', secret: OTHER_SECRET }),
    altdentifier({ OP: 5 }, { url: '/altdentifier/a' }),
    altdentifier({ OP: 5 }, { url: '/altdentifier/b', secret: OTHER_SECRET })
  ])
}))

t.test('servers that share a store know which deliveries the others have handled, also while they rotate secrets', async (t) => {
  const store = memoryDeliveries()
  const before = createTenants(t, store)
  const after = createTenants(t, store)
  before.aghanim()
  after.aghanim({ secret: [OTHER_SECRET, SECRET] })
  before.altdentifier()
  after.altdentifier({ secret: async () => [OTHER_SECRET, SECRET] })
  before.identity()
  after.identity({ apiKeys: { [API_KEY]: [OTHER_API_SECRET, API_SECRET] } })
  const session = SESSION.event('x')
  for (const sent of [aghanim(VERIFY.event('x')), altdentifier({ OP: 5 }), identity(session), identity({})]) {
    t.match(await before.send(sent), /^20[04]$/)
    t.match(await after.send(sent), /^20[04] replayed$/)
  }
  t.match(await after.send(identity(session, { secret: OTHER_API_SECRET })), '204 replayed', 'an api-key is one sender')
  t.equal(before.runs(), 4)
  t.equal(after.runs(), 0)
})

t.test('the same delivery with other spellings of its unsigned parts is a duplicate', async (t) => {
  const tenants = createTenants(t)
  tenants.aghanim()
  tenants.altdentifier()
  const verify = aghanim(VERIFY.event('x'))
  const member = altdentifier({ OP: 5 })
  t.equal(await tenants.send(verify), '200')
  t.equal(await tenants.send(member), '204')
  for (const url of ['/%61ghanim', '/aghanim?a=1', '/aghanim#x']) t.equal(await tenants.send({ ...verify, url }), '200 replayed')
  const signature = verify.headers['x-aghanim-signature']!.toUpperCase()
  const shouted = { ...verify, headers: { ...verify.headers, 'x-aghanim-signature': signature } }
  t.equal(await tenants.send(shouted), '200 replayed')
  const digest = member.headers.digest!.toUpperCase()
  t.not(digest, member.headers.digest)
  for (const headers of [{ ...member.headers, digest }, { ...member.headers, digest: digest.replace('MD5', 'md5') }]) {
    t.equal(await tenants.send({ ...member, headers }), '204 replayed')
  }
  t.equal(tenants.runs(), 2)
})

t.test('a session notification is identified by its key at any time, and by its MAC without one', quiet(async (t) => {
  const tenants = createTenants(t)
  tenants.identity()
  const session = { id: 'iss-1', status: 'VERIFIED' }
  const later = { timestamp: NOW + 1 }
  const keyed = { idempotency_key: 'k', session }
  for (const [sent, outcome] of [
    [identity(keyed), '204'], [identity(keyed, later), '204 replayed'],
    [identity(keyed, { timestamp: NOW - 300 }), '204 replayed'],
    [identity({ ...keyed, event_id: 'x' }, later), '422 ID_REUSED'],
    [identity({ ...keyed, idempotency_key: 'l' }), '204'],
    [identity({ session }), '204'], [identity({ session }), '204 replayed'], [identity({ session }, later), '204'],
    [identity({ session, idempotency_key: null }), '204'], [identity({ idempotency_key: null, session }), '204'],
    [identity({ session, idempotency_key: '' }), '204'], [identity({ session, idempotency_key: '' }), '204 replayed']
  ] as const) t.equal(await tenants.send(sent), outcome, sent.payload)
  t.equal(tenants.runs(), 7)
}))

t.test('AltDentifier: without dedupe each delivery runs and the store is not called; with it, each body runs once', quiet(async (t) => {
  for (const dedupe of [undefined, 1, 3600]) {
    const { store, verbs } = scriptedStore()
    const { deliver, post, events } = createReceiver(t, MEMBER_EVENT, undefined, { dedupe, deliveries: store })
    const outcomes = [await deliver(), await deliver(), await deliver('id-2'), await deliver()].map(outcomeOf)
    const again = dedupe === undefined ? '204' : '204 replayed'
    t.strictSame(outcomes, ['204', again, '204', again])
    t.equal(outcomeOf(await post(`${JSON.stringify(MEMBER_EVENT.event('id-1'))} `)), '204', 'other bytes')
    t.equal(events.length, dedupe === undefined ? 5 : 3)
    t.strictSame(verbs(), dedupe === undefined
      ? []
      : ['claim', 'complete', 'claim', 'claim', 'complete', 'claim', 'claim', 'complete'])
  }
}))

t.test('a store receives digests, the lease, the reply, and the time in which a resend is possible', quiet(async (t) => {
  for (const keyed of KEYED) {
    for (const [options, ttl] of [
      [{}, 421_000], [{ tolerance: 600 }, 721_000], [{ tolerance: 1, futureTolerance: 0 }, 62_000],
      [{ tolerance: 604_800, futureTolerance: 604_800 }, 1_209_661_000]
    ] as const) {
      const { store, asked } = scriptedStore()
      const { deliver } = createReceiver(t, keyed, undefined, { ...options, lease: 12_345, deliveries: store })
      const { statusCode, body } = await deliver('canary')
      const [, key, fingerprint, , tenant] = asked[0]!
      t.match(key, /^[\w-]{43}$/)
      if (keyed.provider === SESSION.provider) t.equal(tenant, API_KEY)
      else t.match(tenant, /^[0-9a-f]{32,64}$/)
      t.match(fingerprint, keyed.altered ? /^[\w-]{43}$/ : /^$/)
      const reply = { statusCode, body: statusCode === 204 ? undefined : body }
      t.strictSame(asked, [
        ['claim', key, fingerprint, 12_345, tenant],
        ['complete', key, '1', reply, ...keyed === MEMBER_EVENT ? [3_600_000, true] : [ttl, undefined]]
      ])
    }
  }
}))

t.test('AltDentifier: after dedupe has expired, the same body is another delivery', quiet(async (t) => {
  for (const dedupe of [1, 60, 360.5, 7200]) {
    let clock = 5
    const deliveries = memoryDeliveries({ now: () => clock })
    const { deliver, events } = createReceiver(t, MEMBER_EVENT, undefined, { dedupe, deliveries })
    t.equal(outcomeOf(await deliver()), '204')
    clock += dedupe * 1000 - 1
    t.equal(outcomeOf(await deliver()), '204 replayed')
    clock += 1
    t.equal(outcomeOf(await deliver()), '204')
    t.equal(events.length, 2)
  }
}))

t.test('in the smallest store a delivery is known as long as its timestamp is fresh', quiet(async (t) => {
  let clock = now()
  const clocks = { now: () => clock, deliveries: memoryDeliveries({ maxEntries: 1, ttl: 1, now: () => clock }) }
  for (const keyed of [VERIFY, SESSION, BARE_SESSION]) {
    const { post, events } = createReceiver(t, keyed, undefined, clocks)
    const { success, sign } = keyed.provider
    const body = JSON.stringify(keyed.event('x'))
    const ahead = sign(body, clock / 1000 + 60)
    t.equal(outcomeOf(await post(body, ahead)), `${success}`)
    clock += 360_999
    t.equal(outcomeOf(await post(body, ahead)), `${success} replayed`, 'at the last moment')
    clock += 60_000
    const rival = JSON.stringify(keyed.event('rival'))
    t.equal(outcomeOf(await post(rival, sign(rival, clock / 1000 | 0))), '503 STORE_UNAVAILABLE retry', 'no room')
    clock -= 60_000 // clock set back by one minute
    t.equal(outcomeOf(await post(body, ahead)), `${success} replayed`)
    clock += 60_001
    t.equal(outcomeOf(await post(body, ahead)), '403 FORBIDDEN')
    t.equal(events.length, 1)
  }
}))

t.test('HumanDetect: of the servers that share a store, one admits a token', quiet(async (t) => {
  const { baseUrl } = await startService(t)
  const base = memoryDeliveries()
  for (const store of [base, scriptedStore({ claim: async (...args) => base.claim(...args) }).store]) {
    const host = () => createGuardedHost(t, baseUrl, { deliveries: store })
    const hosts = [await host(), await host()] as const
    for (let round = 1; round <= 5; round++) {
      const payload = { email: IDENTIFIER, token: mint() }
      const replies = await Promise.all([...hosts, ...hosts].map(({ app }) =>
        app.inject({ method: 'POST', url: '/signup', payload })))
      t.strictSame(replies.map(({ statusCode }) => statusCode).sort(), [201, 403, 403, 403])
    }
    t.equal(hosts[0].signedUp.length + hosts[1].signedUp.length, 5)
  }
}))

t.test('HumanDetect: a token is claimed as long as it is fresh, and neither completed nor released', quiet(async (t) => {
  const { baseUrl } = await startService(t)
  for (const [options, seconds] of [
    [{}, 600], [{ maxAge: 10, skew: 5 }, 15], [{ maxAge: 604_800, skew: 0 }, 604_800]
  ] as const) {
    const { store, asked } = scriptedStore()
    const { app } = await createGuardedHost(t, baseUrl, { ...options, deliveries: store })
    const preHandler = app.humandetect.requireHuman({ identifier: IDENTIFIER })
    app.post('/failing', { preHandler }, () => { throw new Error('x') })
    const token = mint()
    t.equal((await post(app, '/failing', { token })).statusCode, 500)
    t.equal((await post(app, '/signup', { email: IDENTIFIER, token })).statusCode, 403, 'used, although the route failed')
    t.strictSame(asked.map(([verb]) => verb), ['claim', 'claim'])
    const [, key, , lease] = asked[0]!
    const checksum = createHash('sha256').update(token).digest('hex')
    const id = JSON.stringify(['humandetect', baseUrl]) + JSON.stringify(['checksum', checksum])
    t.equal(key, createHash('sha256').update(id).digest('base64url'))
    t.equal(asked[1]![1], key)
    t.ok(lease as number >= seconds * 1000 && lease as number <= (seconds + 600) * 1000, `${lease}`)
  }
}))

t.test('HumanDetect: a token that is refused for another reason is not used up', async (t) => {
  const { baseUrl } = await startService(t)
  const { store, asked } = scriptedStore()
  const { app } = await createGuardedHost(t, baseUrl, { deliveries: store })
  for (const [email, token] of [
    ['eve@example.com', mint()], [IDENTIFIER, mint({ human: false })], [IDENTIFIER, 'made up'],
    [IDENTIFIER, mint({ timestamp: new Date(Date.now() - 400_000) })]
  ]) t.equal((await post(app, '/signup', { email, token })).statusCode, 403)
  t.strictSame(asked, [])
})

t.test('HumanDetect: a token is used once, also while the key of the service is rotated', async (t) => {
  const keys = [SERVICE_KEY, `${SERVICE_KEY}-2`]
  const { baseUrl } = await startService(t, { apiKeys: keys })
  const deliveries = memoryDeliveries()
  const token = mint()
  for (const [apiKey, status] of [[keys[0], 201], [keys[1], 403], [keys[0], 403]] as const) {
    const { app } = await createGuardedHost(t, baseUrl, { apiKey: apiKey!, deliveries })
    t.equal((await post(app, '/signup', { email: IDENTIFIER, token })).statusCode, status)
  }
  const other = await startService(t)
  const { app } = await createGuardedHost(t, other.baseUrl, { deliveries })
  t.equal((await post(app, '/signup', { email: IDENTIFIER, token })).statusCode, 201, 'from another service')
})
