import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { aghanimPlugin, altdentifierPlugin, memoryDeliveries, signAltdentifier } from '../../plugins/index.js'
import { QUEUE_UNAVAILABLE } from '../../plugins/lib/errors.js'
import { enqueue, type KnownDelivery } from '../../plugins/queue.js'
import { API_KEY, GUILD, MEMBER, now, PLAYER, SECRET, VERIFY_EVENT } from '../support/deliveries.js'
import { createHost } from '../support/host.js'
import { scriptedStore } from '../support/life-cycle.js'
import {
  AGHANIM, ALTDENTIFIER, createQueueingHost, jobsOf, openQueue, QUEUEABLE, SESSION, type Queueable
} from '../support/queue.js'
import { noRedis, startRedis } from '../support/redis.js'
import { queueThat } from '../support/scripted-queue.js'
import { gateOf, until } from '../support/waiting.js'
import { watch } from '../support/watch.js'

t.jobs = 4 // simultaneous tests: most of them wait

const UNAVAILABLE = { statusCode: 503, code: 'FST_VERIFICATION_QUEUE_UNAVAILABLE', error: 'Service Unavailable' }

/** Creates a queue that records its jobs and answers with `act`. */
function scriptedQueue (act: (count: number) => unknown = () => undefined) {
  const added: { name: string, data: any, options: any }[] = []
  const add = async (name: string, data: unknown, options: object) => act(added.push({ name, data, options }))
  return { queue: queueThat(add), added }
}

t.test('every kind of delivery becomes one job with all of its data, distinguishable from others', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis)
  const { reports } = watch(t)
  const { deliver, app } = createQueueingHost(t, queue)
  const before = Date.now()
  for (const kind of QUEUEABLE) {
    const reply = await deliver(kind, 'id-1')
    t.equal(reply.statusCode, kind.status)
    t.equal(reply.body, kind === AGHANIM ? '{"status":"ok"}' : '')
  }
  const jobs = await jobsOf(queue)
  t.strictSame(jobs.map(({ name }) => name).sort(), [
    'aghanim item.add', 'altdentifier passed', 'identity-validation requiredFiles', 'identity-validation sessions', 'own event'
  ])
  for (const { provider, kind, path, event, recurs } of QUEUEABLE) {
    const { id, data, opts } = jobs.find(({ name }) => name === `${provider} ${kind}`)!
    const { receivedAt, ...rest } = data
    const keyId = provider === 'identity-validation' ? { keyId: API_KEY } : {}
    t.strictSame(rest, { version: 1, provider, kind, path, id, ...keyId, secretIndex: 0, event: event('id-1') })
    t.ok(Date.parse(receivedAt) >= before && Date.parse(receivedAt) <= Date.now())
    t.match(id, recurs ? /^[\w-]{43}-\w{8}$/ : /^[\w-]{43}$/)
    const { delivery } = reports.find((report) => report.path === path && report.outcome === 'accepted')!
    t.equal(delivery, recurs ? undefined : id, 'log and channel use the same name')
    t.match(opts, {
      attempts: 12,
      backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
      removeOnComplete: { age: 24 * 3600 },
      removeOnFail: { age: 14 * 24 * 3600 }
    })
  }
  const asked = await app.inject({
    method: 'POST', url: '/aghanim', headers: AGHANIM.sign(JSON.stringify(VERIFY_EVENT)), payload: JSON.stringify(VERIFY_EVENT)
  })
  t.strictSame(asked.json(), PLAYER, 'player.verify requires an immediate answer')
  t.equal((await jobsOf(queue)).length, QUEUEABLE.length)
})

t.test("the queue's own default options override those of enqueue", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis, 'own', { defaultJobOptions: { attempts: 3, removeOnComplete: true, jobId: 'x' } as object })
  const { deliver } = createQueueingHost(t, queue)
  await deliver(AGHANIM, 'id-1')
  const [{ opts, id }] = await jobsOf(queue) as [any]
  t.match(opts, { attempts: 3, removeOnComplete: true, removeOnFail: { age: 14 * 24 * 3600 } })
  t.match(id, /^[\w-]{43}$/, 'except the id')
})

t.test('a redelivery adds nothing, on any server, as long as the job is kept', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis)
  const servers = Array.from({ length: 3 }, () => createQueueingHost(t, queue)) // each with a separate store
  for (const kind of QUEUEABLE) {
    const before = (await jobsOf(queue)).length
    const replies = []
    for (const { deliver } of servers) replies.push(await deliver(kind, 'id-1'), await deliver(kind, 'id-1'))
    t.strictSame(replies.map(({ statusCode }) => statusCode), Array(6).fill(kind.status))
    t.equal((await jobsOf(queue)).length, before + 1, `${kind.provider} ${kind.kind}`)
    await Promise.all(servers.map(({ deliver }) => deliver(kind, 'id-2')))
    t.equal((await jobsOf(queue)).length, before + 2, 'copies at the same time')
  }
  const paths = createQueueingHost(t, queue, {}, { prefix: '/other' })
  const { path, sign, event } = AGHANIM
  const body = JSON.stringify(event('id-1'))
  const before = (await jobsOf(queue)).length
  await paths.post(`/other${path}`, body, sign(body))
  t.equal((await jobsOf(queue)).length, before + 1, 'another path is another delivery')
})

t.test('a job names the tenant that signed it; with the check of the page, nobody can sign for another', async (t) => {
  const { queue, added } = scriptedQueue()
  const later = enqueue(queue)
  const secrets: Record<string, string> = { 1: SECRET, 2: 'the secret of the other guild' }
  const guildOf = (request: FastifyRequest) => (request.params as { guild: string }).guild
  for (const compares of [true, false]) {
    const { app } = createHost(t)
    app.register(altdentifierPlugin, {
      path: '/altdentifier/:guild',
      secret: (request) => [secrets[guildOf(request)]!, 'the next secret of all guilds'],
      async handleEvent (event, request) {
        if (compares && 'guild' in event && event.guild.id !== guildOf(request)) return
        await later(event, request)
      }
    })
    const send = async (path: string, guild: string, secret: string) => {
      const body = JSON.stringify({ OP: 1, member: MEMBER, guild: { ...GUILD, id: guild }, method: `${added.length}` })
      const reply = await app.inject({
        method: 'POST', url: `/altdentifier/${path}`, headers: signAltdentifier({ secret, body }), payload: body
      })
      const jobs = added.splice(0).map(({ data }) => [data.params, data.secretIndex, data.event.guild.id])
      return [reply.statusCode, jobs]
    }
    t.strictSame(await send('1', '1', SECRET), [204, [[{ guild: '1' }, 0, '1']]])
    t.strictSame(await send('2', '2', 'the next secret of all guilds'), [204, [[{ guild: '2' }, 1, '2']]])
    t.strictSame(await send('2', '2', SECRET), [403, []])
    t.strictSame(await send('1', '2', SECRET), [204, compares ? [] : [[{ guild: '1' }, 0, '2']]],
      'forged as one for the other: without the check the worker can still tell')
  }
})

t.test('an event that is nested too deep is final, however the queue fails', async (t) => {
  const deep = `{"event_type":"item.add","event_data":{},"event_id":"e","deep":${'['.repeat(25_000)}${']'.repeat(25_000)}}`
  for (const act of [(data: unknown) => JSON.stringify(data), () => { throw new Error('down') }]) {
    const { store, verbs } = scriptedStore()
    const { app } = createHost(t)
    const queue = queueThat(async (_name, data) => act(data))
    const handleEvent = enqueue(queue)
    app.register(aghanimPlugin, { secret: SECRET, now, deliveries: store, verifyPlayer: () => null, handleEvent })
    const reply = await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM.sign(deep), payload: deep })
    t.match(reply.json(), { statusCode: 400, code: 'FST_VERIFICATION_NOT_SERIALIZABLE', error: 'Bad Request' })
    t.strictSame(verbs(), ['claim', 'release'])
  }
})

t.test('an event that may recur becomes a new job after its copies have ceased', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const client = redis.connect()
  const queue = openQueue(t, redis)
  for (const webhook of [{}, { dedupe: 1 }]) {
    const { app } = createHost(t)
    app.register(altdentifierPlugin, { secret: SECRET, now, ...webhook, handleEvent: enqueue(queue) })
    const body = JSON.stringify(ALTDENTIFIER.event(JSON.stringify(webhook)))
    const deliver = () => app.inject({ method: 'POST', url: '/altdentifier', headers: ALTDENTIFIER.sign(body), payload: body })
    const before = (await jobsOf(queue)).length
    await deliver()
    await deliver()
    const ids = (await jobsOf(queue)).map(({ id }) => id!)
    t.equal(ids.length, before + 1)
    const [key] = await client.keys('bull:verification:de:*') as [string]
    const left = await client.pttl(key)
    t.ok(left > 50_000 && left <= 60_000, `copies are one job for ${left} ms`)
    await client.del(key)
    await new Promise((resolve) => setTimeout(resolve, 1100)) // until `dedupe` has expired
    await deliver()
    const after = await jobsOf(queue)
    t.equal(after.length, before + 2)
    t.equal(new Set(after.map(({ id }) => id)).size, before + 2)
    await client.del(...await client.keys('bull:verification:de:*'))
  }
})

t.test('a delivery is answered after its job is in the queue, and not before', async (t) => {
  const gate = gateOf<void>()
  const { queue, added } = scriptedQueue(() => gate.promise)
  const { deliver } = createQueueingHost(t, queue)
  let answered = false
  const reply = deliver(AGHANIM, 'id-1').finally(() => { answered = true })
  await until(() => added.length === 1)
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(answered, false)
  gate.resolve()
  t.equal((await reply).statusCode, 200)
})

t.test('a queue that cannot add a job is a 503, and the claim is released: the next attempt adds the same job', async (t) => {
  for (const kind of [AGHANIM, SESSION]) {
    const failures = [() => { throw new Error('redis://:canary@host') }, () => new Promise(() => {})]
    const { queue, added } = scriptedQueue((count) => failures[count - 1]?.())
    const { store, verbs } = scriptedStore()
    const { deliver, lines } = createQueueingHost(t, queue, { timeout: 20 }, { deliveries: store })
    for (const type of ['Error', 'FastifyError']) {
      const reply = await deliver(kind, 'id-1')
      t.match(reply.json(), UNAVAILABLE)
      t.equal(reply.headers['retry-after'], '5')
      const line = lines.findLast(({ msg }) => msg === 'delivery failed')!
      t.match(line, { level: 50, reason: 'queue_unavailable', statusCode: 503, failure: { type } })
    }
    t.equal((await deliver(kind, 'id-1')).statusCode, kind.status)
    t.equal(new Set(added.map(({ options }) => options.jobId)).size, 1)
    t.strictSame(verbs(), ['claim', 'release', 'claim', 'release', 'claim', 'complete'])
  }
})

t.test('a job that is added late is the same job', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis)
  const gate = gateOf<void>()
  const slow = queueThat((...args) => gate.promise.then(() => queue.add(...args)))
  const { deliver } = createQueueingHost(t, slow, { timeout: 20 })
  for (const kind of QUEUEABLE) t.match((await deliver(kind, 'id-1')).json(), UNAVAILABLE)
  gate.resolve()
  for (const kind of QUEUEABLE) t.equal((await deliver(kind, 'id-1')).statusCode, kind.status)
  t.equal((await jobsOf(queue)).length, QUEUEABLE.length)
})

t.test('the number of abandoned additions is limited, until they settle', async (t) => {
  const gate = gateOf<void>()
  const { queue, added } = scriptedQueue(() => gate.promise)
  const handler = enqueue(queue, { timeout: 20 })
  const { app } = createHost(t)
  app.register(altdentifierPlugin, { secret: SECRET, now, handleEvent: handler })
  const deliver = () => {
    const body = JSON.stringify({ OP: 5, at: added.length })
    return app.inject({ method: 'POST', url: '/altdentifier', headers: ALTDENTIFIER.sign(body), payload: body })
  }
  await Promise.all(Array.from({ length: 1000 }, deliver))
  t.equal(added.length, 1000)
  t.match((await deliver()).json(), UNAVAILABLE)
  t.equal(added.length, 1000, 'the queue is not called')
  gate.resolve()
  await new Promise(setImmediate)
  t.equal((await deliver()).statusCode, 204)
  t.equal(added.length, 1001)

  const lost = gateOf<void>()
  const failing = scriptedQueue(() => lost.promise)
  const other = createQueueingHost(t, failing.queue, { timeout: 20 })
  await Promise.all(Array.from({ length: 1000 }, (_, index) => other.deliver(ALTDENTIFIER, `${index}`)))
  lost.reject(new Error('gone'))
  await new Promise(setImmediate)
  t.match((await other.deliver(ALTDENTIFIER, 'last')).json(), UNAVAILABLE)
  t.equal(failing.added.length, 1001, 'those that have failed have settled, too')
})

t.test('no other error of a handler has this answer, whatever it looks like', async (t) => {
  const impostors = [
    Object.assign(new Error('x'), { code: 'FST_VERIFICATION_QUEUE_UNAVAILABLE', name: 'QueueUnavailable', statusCode: 503 }),
    QUEUE_UNAVAILABLE, { ...QUEUE_UNAVAILABLE }, 'QueueUnavailable', null
  ]
  for (const thrown of impostors) {
    const { app } = createHost(t)
    app.register(aghanimPlugin, { secret: SECRET, now, verifyPlayer: () => null, handleEvent: () => { throw thrown } })
    const body = JSON.stringify(AGHANIM.event('id-1'))
    const reply = await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM.sign(body), payload: body })
    t.match(reply.json(), { statusCode: 500, code: 'FST_VERIFICATION_HANDLER_FAILED' })
  }
})

t.test('a handler may do something first, or observe that the queue has failed', async (t) => {
  const { queue } = scriptedQueue(() => { throw new Error('down') })
  const later = enqueue(queue)
  const { app } = createHost(t)
  const seen: unknown[] = []
  app.register(aghanimPlugin, {
    secret: SECRET,
    now,
    deliveries: memoryDeliveries(),
    verifyPlayer: () => null,
    handleEvent: (event, request) => later(event, request).catch((error) => { seen.push(error); throw error })
  })
  const body = JSON.stringify(AGHANIM.event('id-1'))
  const reply = await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM.sign(body), payload: body })
  t.match(reply.json(), UNAVAILABLE)
  t.match(seen, [{ name: 'QueueUnavailable', code: 'FST_VERIFICATION_QUEUE_UNAVAILABLE', cause: { message: 'down' } }])
})

t.test('outside of a signed delivery there is nothing to add', async (t) => {
  const { queue, added } = scriptedQueue()
  const { app } = createHost(t)
  const later = enqueue(queue)
  app.post('/host', async (request) => later({}, request))
  t.equal((await app.inject({ method: 'POST', url: '/host', payload: {} })).statusCode, 500)
  t.equal(added.length, 0)
})

t.test('with several queues, deliveries about the same member, session or player go to the same one', async (t) => {
  const queues = Array.from({ length: 8 }, () => scriptedQueue())
  const spread = async (options: object, kind: Queueable, events: readonly object[]): Promise<number> => {
    for (const { added } of queues) added.length = 0
    const { send } = createQueueingHost(t, queues.map(({ queue }) => queue), options)
    for (const event of events) t.equal((await send(kind, event)).statusCode, kind.status)
    return queues.filter(({ added }) => added.length > 0).length
  }
  const many = Array.from({ length: 40 }, (_, index) => `id-${index}`)
  const member = (id: string, method = id) => ({ OP: 1, member: { ...MEMBER, id }, guild: GUILD, method })
  const player = (id: string | number, event = String(id)) =>
    ({ ...VERIFY_EVENT, event_type: 'item.add', event_id: event, event_data: { player_id: id } })
  const session = (id: unknown, key: string) => ({ ...(id !== undefined && { session: { id } }), idempotency_key: key })

  t.equal(await spread({}, ALTDENTIFIER, many.map((method) => member('1', method))), 1)
  t.ok(await spread({}, ALTDENTIFIER, many.map((_, index) => member(String(index)))) > 4)
  t.ok(await spread({}, ALTDENTIFIER, many.map((id) => ({ OP: 5, id }))) > 4, 'deliveries about nobody are spread')
  t.equal(await spread({}, AGHANIM, many.map((id) => player('p', id))), 1)
  t.ok(await spread({}, AGHANIM, many.map((id) => player(id))) > 4)
  t.ok(await spread({}, AGHANIM, many.map((id) => player(7, id))) > 4)
  t.equal(await spread({}, SESSION, many.map((key) => session('iss-1', key))), 1)
  t.ok(await spread({}, SESSION, many.map((key) => session(key, key))) > 4)
  t.ok(await spread({}, SESSION, many.map((key) => session(undefined, key))) > 4)
  t.equal(await spread({ orderBy: () => 'all' }, ALTDENTIFIER, many.map((id) => ({ OP: 5, id }))), 1)
  t.ok(await spread({ orderBy: () => undefined }, AGHANIM, many.map((id) => player('p', id))) > 4)
  const orderBy = (delivery: KnownDelivery) => delivery.provider
  t.equal(await spread({ orderBy }, AGHANIM, many.map((id) => player(id))), 1)
})

t.test('with Redis down nothing is acknowledged; afterwards all is delivered', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis)
  await queue.waitUntilReady()
  const { deliver } = createQueueingHost(t, queue)
  const ids = Array.from({ length: 50 }, (_, index) => `id-${index}`)
  const deliverAll = () => Promise.all(ids.flatMap((id) => QUEUEABLE.map((kind) => deliver(kind, id))))
  await redis.stop()
  const refused = await deliverAll()
  t.strictSame(new Set(refused.map((reply) => reply.json().code)), new Set([UNAVAILABLE.code]))
  await redis.start()
  await queue.waitUntilReady()
  const start = performance.now()
  let acknowledged = 0
  while (acknowledged < refused.length && performance.now() - start < 20_000) {
    acknowledged = (await deliverAll()).filter(({ statusCode }) => statusCode < 300).length
  }
  t.equal(acknowledged, refused.length)
  t.equal((await jobsOf(queue)).length, refused.length, 'one job each')
})

t.test('a queue that has never been connected adds nothing either', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  await redis.stop()
  const queue = openQueue(t, redis)
  const { deliver } = createQueueingHost(t, queue, { timeout: 100 })
  t.match((await deliver(AGHANIM, 'id-1')).json(), UNAVAILABLE)
  await redis.start()
  await queue.waitUntilReady() // if closed earlier, BullMQ rejects a promise that nobody handles
})

t.test('an invalid queue or option is an error that names it', async (t) => {
  const { queue } = scriptedQueue()
  const wrong: [unknown, object, string][] = [
    [undefined, {}, 'queue'], [{}, {}, 'queue'], [[], {}, 'queue'], [new Set(), {}, 'queue'],
    [{ add: queue.add }, {}, 'queue'], [{ ...queue, qualifiedName: undefined }, {}, 'queue'],
    [{ ...queue, waitUntilReady: undefined }, {}, 'queue'], [{ ...queue, add: undefined }, {}, 'queue'], [[queue, queue], {}, 'queue'], [[queue, null], {}, 'queue'],
    [queue, { timeout: 0 }, 'timeout'], [queue, { timeout: '1s' }, 'timeout'], [queue, { orderBy: 'member' }, 'orderBy'],
    [queue, { attempts: 3 }, 'attempts']
  ]
  for (const [given, options, option] of wrong) {
    t.throws(() => enqueue(given as never, options), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: new RegExp(`^enqueue: option "${option}" `)
    })
  }
  t.throws(() => enqueue({} as never), { message: /must be a BullMQ Queue or an array of unique ones/ })
})
