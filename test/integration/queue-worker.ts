import { setTimeout as sleep } from 'node:timers/promises'
import { Queue, Worker, type Job } from 'bullmq'
import t from 'tap'
import {
  createWorker, enqueue, listDeadLetters, retryDeadLetters, UnrecoverableError, type DeliveryWorker,
  type HandleDelivery, type KnownDelivery, type QueuedDelivery, type WorkerOptions
} from '../../plugins/queue.js'
import type { AghanimEvent, RequiredFilesNotification, SessionNotification } from '../../plugins/index.js'
import { GUILD, MEMBER } from '../support/deliveries.js'
import { createHost, type Test } from '../support/host.js'
import { AGHANIM, ALTDENTIFIER, createQueueingHost, openQueue, QUEUEABLE, SESSION } from '../support/queue.js'
import { freePort, noRedis, startRedis, type RedisServer } from '../support/redis.js'
import { queueThat } from '../support/scripted-queue.js'
import { gateOf, until, watchRejections } from '../support/waiting.js'

t.jobs = 4 // simultaneous tests: most of them wait for Redis, or for a lock to expire

const FAST = { attempts: 3, backoff: { type: 'exponential', delay: 20 } }

function startWorker<Delivery = KnownDelivery> (
  test: Test, redis: RedisServer, queue: string | readonly string[], handle: HandleDelivery<Delivery>,
  options: Partial<WorkerOptions> = {}
): DeliveryWorker {
  const connection = { url: redis.url, retryStrategy: () => 50 }
  const worker = createWorker<Delivery>(queue, handle, { connection, ...options })
  // Seconds for which BullMQ waits for a job; a worker that is closed without Redis leaves a timer that long.
  for (const { opts } of worker.workers) opts.drainDelay = 1
  test.teardown(() => worker.close())
  return worker
}

t.test('close() ends without Redis, too', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const { app, lines } = createHost(t)
  const { workers } = startWorker(t, redis, 'verification', () => {}, { app, drainTimeout: 200 })
  const quiet = startWorker(t, redis, 'verification', () => {}, { drainTimeout: 200 })
  await app.ready()
  await workers[0]!.waitUntilReady()
  await redis.stop()
  await until(() => lines.some(({ msg }) => msg === 'worker error'))
  await app.close()
  await quiet.close()
  t.ok(workers[0]!.closing)
})

t.test('a worker receives the deliveries of the queue, by provider and kind', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis)
  const { deliver } = createQueueingHost(t, queue)
  const seen: KnownDelivery[] = []
  const { workers } = startWorker(t, redis, 'verification', (delivery, job) => {
    t.equal(job.id, delivery.id)
    seen.push(delivery)
    return { canary: 'not kept' }
  })
  for (const kind of QUEUEABLE) await deliver(kind, 'id-1')
  await until(() => seen.length === QUEUEABLE.length)
  for (const { provider, kind, event } of QUEUEABLE) {
    t.strictSame(seen.find((delivery) => delivery.provider === provider && delivery.kind === kind)!.event, event('id-1'))
  }
  await until(() => workers[0]!.isRunning())
  let done: Job[] = []
  while (done.length < QUEUEABLE.length) done = await queue.getCompleted()
  t.ok(done.every(({ returnvalue }) => returnvalue === null), 'the result of a handler is not stored')
})

t.test('types distinguish deliveries', async () => {
  const is = <T>(_value: T): void => {}
  const handle: HandleDelivery<KnownDelivery> = (delivery) => {
    is<string>(delivery.id)
    is<1>(delivery.version)
    switch (delivery.provider) {
      case 'altdentifier':
        if (delivery.kind === 'passed') {
          is<1>(delivery.event.OP)
          is<string>(delivery.event.member.id)
        }
        // @ts-expect-error a test event has no member
        return delivery.event.member
      case 'aghanim': return is<AghanimEvent>(delivery.event)
      case 'identity-validation':
        // @ts-expect-error an unknown kind
        if (delivery.kind === 'session') return
        return delivery.kind === 'sessions'
          ? is<SessionNotification>(delivery.event)
          : is<RequiredFilesNotification>(delivery.event)
    }
  }
  type Own = QueuedDelivery<'own', 'event', { id: string }>
  const own: HandleDelivery<KnownDelivery | Own> = (delivery) => {
    if (delivery.provider === 'own') is<string>(delivery.event.id)
  }
  const connection = { host: 'redis' }
  const never = () => {
    createWorker('a', handle, { connection })
    createWorker<KnownDelivery | Own>('a', own, { connection })
    enqueue(new Queue('a', { connection }))
    enqueue(new Queue<KnownDelivery>('a', { connection }), { orderBy: ({ provider }) => provider })
    enqueue([new Queue('a', { connection })], { orderBy: (delivery: KnownDelivery | Own) => delivery.provider })
    // @ts-expect-error no connection
    createWorker('a', handle, {})
    // @ts-expect-error a number for the order
    enqueue(new Queue('a', { connection }), { orderBy: () => 1 })
    // @ts-expect-error a Worker, which adds no jobs
    enqueue(new Worker('a', null, { connection }))
  }
  t.type(never, 'function')
})

t.test('a failed job is retried, with growing delays, and becomes a dead letter in the end', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis, 'verification', { defaultJobOptions: FAST })
  const { app, lines } = createHost(t)
  const { deliver } = createQueueingHost(t, queue)
  const runs: string[] = []
  let broken = true
  startWorker(t, redis, 'verification', async ({ kind, id }) => {
    runs.push(id)
    if (kind === 'sessions' && runs.filter((run) => run === id).length < 3) throw new Error('not yet')
    if (kind === 'item.add' && broken) throw new Error('no such item')
    if (kind === 'requiredFiles') throw new UnrecoverableError('never')
  }, { app })
  await app.ready()
  t.strictSame(await listDeadLetters(queue), [])
  for (const kind of QUEUEABLE) await deliver(kind, 'id-1')
  while (await queue.getFailedCount() < 2) await sleep(10)
  while (await queue.getCompletedCount() < 3) await sleep(10)

  const dead = await listDeadLetters(queue)
  const [item, files] = ['item.add', 'requiredFiles'].map((kind) => dead.find((letter) => letter.kind === kind)!)
  t.match(item, { queue: 'verification', provider: 'aghanim', attempts: 3, failure: 'no such item', failedAt: Date })
  t.match(files, { provider: 'identity-validation', attempts: 1, failure: 'never', receivedAt: /^\d{4}-/ })
  t.equal(runs.filter((run) => run === item!.id).length, 3)
  t.ok(dead[0]!.failedAt >= dead[1]!.failedAt, 'the last one first')
  t.equal((await listDeadLetters(queue, { limit: 1 })).length, 1)
  t.equal((await listDeadLetters([queue], { limit: 1 })).length, 1)

  const failures = lines.filter(({ msg }) => msg.startsWith('job failed'))
  t.match(failures.filter(({ job }) => job === item!.id), [
    { level: 40, attempt: 1, queue: 'verification', name: 'aghanim item.add', failure: { type: 'Error' } },
    { level: 40, attempt: 2 }, { level: 50, attempt: 3, msg: 'job failed and became a dead letter' }
  ])
  t.notMatch(JSON.stringify(failures), /no such item/, 'a message may show anything')

  t.equal(await retryDeadLetters(queue, ['unknown', files!.id]), 1)
  while ((await listDeadLetters(queue)).length < 2) await sleep(10)
  broken = false
  t.equal(await retryDeadLetters([queue]), 2)
  while (await queue.getCompletedCount() < 4) await sleep(10)
  while (await queue.getFailedCount() < 1) await sleep(10)
  t.strictSame((await listDeadLetters(queue)).map(({ id }) => id), [files!.id])
})

t.test('a payload of another version, or none, is a dead letter at once', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis, 'verification', { defaultJobOptions: FAST })
  let ran = 0
  startWorker(t, redis, 'verification', () => { ran++ })
  for (const [index, data] of [{ version: 2 }, {}, null, 'text'].entries()) await queue.add('x', data, { jobId: `x${index}` })
  while (await queue.getFailedCount() < 4) await sleep(10)
  for (const { id, provider, kind, receivedAt, failure, attempts } of await listDeadLetters(queue)) {
    t.equal(failure, 'not a delivery of version 1')
    t.equal(attempts, 1)
    t.strictSame([provider, kind, receivedAt], ['', '', ''], id)
  }
  t.equal(ran, 0)
})

t.test('close() lets running jobs end, starts no others and loses none of 500', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis)
  const { app } = createHost(t)
  const { deliver } = createQueueingHost(t, queue)
  await Promise.all(Array.from({ length: 520 }, (_, index) => deliver(AGHANIM, `id-${index}`)))
  const gate = gateOf<void>()
  const [begun, done] = [new Set<string>(), new Map<string, number>()]
  const count = (id: string) => done.set(id, (done.get(id) ?? 0) + 1)
  startWorker(t, redis, 'verification', async ({ id }) => {
    begun.add(id)
    await gate.promise
    count(id)
  }, { app, concurrency: 20 })
  await app.ready()
  await until(() => begun.size === 20)
  t.equal(await queue.getWaitingCount(), 500)
  const closed = app.close()
  await sleep(100)
  t.equal(done.size, 0, 'it waits')
  gate.resolve()
  await closed
  t.equal(begun.size, 20)
  t.strictSame([...done.keys()].sort(), [...begun].sort())
  t.match(await queue.getJobCounts('active', 'completed', 'waiting', 'failed'), {
    active: 0, completed: 20, waiting: 500, failed: 0
  })
  startWorker(t, redis, 'verification', ({ id }) => { count(id) }, { concurrency: 50 })
  await until(() => done.size === 520)
  t.ok([...done.values()].every((times) => times === 1), 'each was processed once')
})

t.test('close() waits no longer than drainTimeout; unfinished jobs run again elsewhere', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis)
  const { app, lines } = createHost(t)
  const { deliver } = createQueueingHost(t, queue)
  const gate = gateOf<void>()
  let runs = 0
  startWorker(t, redis, 'verification', () => { runs++; return gate.promise }, { app, drainTimeout: 50, lockDuration: 500 })
  await app.ready()
  await deliver(AGHANIM, 'id-1')
  await until(() => runs === 1)
  const start = performance.now()
  await app.close()
  t.ok(performance.now() - start < 5000)
  t.match(lines.filter(({ level }) => level === 40).map(({ msg }) => msg), ['worker was closed before its jobs ended'])
  const next = createHost(t)
  startWorker(t, redis, 'verification', () => { runs++ }, { app: next.app, lockDuration: 500 })
  await next.app.ready()
  await until(() => runs === 2)
  gate.resolve()
  await until(() => next.lines.some(({ level, msg }) => level === 40 && msg === 'job stalled and will be retried'))
})

t.test('close() can be called at any time, also while it connects', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const rejections = watchRejections()
  for (const queue of ['one', ['one']]) {
    for (let wait = 0; wait < 15; wait++) {
      // BullMQ leaves a timer of half a lock if it is closed at the wrong moment, for which the suite would wait.
      const { workers, close } = createWorker(queue, () => {}, { connection: { url: redis.url }, lockDuration: 1000 })
      await sleep(wait)
      await close()
      t.ok(workers[0]!.closing)
    }
  }
  t.strictSame(rejections, [])
})

const PARTITIONS = ['verification-0', 'verification-1', 'verification-2']

/** Sends the events of some members in turn, which are to be processed in order. */
async function deliverInOrder (
  send: (event: object) => Promise<unknown>, members: number, each: number
): Promise<void> {
  for (let step = 0; step < each; step++) {
    for (let member = 0; member < members; member++) {
      await send({ OP: 1, member: { ...MEMBER, id: String(member) }, guild: GUILD, method: String(step) })
    }
  }
}

t.test('in a list of queues the order of each member is kept, through failures and with several workers', {
  skip: noRedis
}, async (t) => {
  const redis = await startRedis(t)
  const queues = PARTITIONS.map((name) => openQueue(t, redis, name, { defaultJobOptions: FAST }))
  const { app, lines } = createHost(t)
  const { send } = createQueueingHost(t, queues)
  const done = new Map<string, number[]>()
  const failed = new Set<string>()
  let running = 0
  let most = 0
  const handle: HandleDelivery<KnownDelivery> = async (delivery, job) => {
    if (delivery.provider !== 'altdentifier' || delivery.kind !== 'passed') throw new Error('another')
    running++
    most = Math.max(most, running)
    await sleep(Math.random() * 5)
    running--
    const { member, method } = delivery.event
    if (Math.random() < 0.3 && job.attemptsStarted < 3) {
      failed.add(delivery.id)
      throw new Error('now and then')
    }
    const steps = done.get(member.id) ?? []
    done.set(member.id, [...steps, Number(method)])
  }
  startWorker(t, redis, PARTITIONS, handle, { app })
  startWorker(t, redis, PARTITIONS, handle, { app })
  await app.ready()
  await deliverInOrder((event) => send(ALTDENTIFIER, event), 6, 12)
  await until(() => [...done.values()].flat().length === 72)
  for (const [member, steps] of done) t.strictSame(steps, Array.from({ length: 12 }, (_, step) => step), `member ${member}`)
  t.ok(failed.size > 0)
  t.ok(most > 1 && most <= PARTITIONS.length, `${most} at a time`)
  const again = lines.filter(({ msg }) => msg === 'job failed and will be retried')
  t.match(again[0], { level: 40, attempt: 1, queue: /^verification-\d$/, name: 'altdentifier passed', failure: { type: 'Error' } })
  t.strictSame(await listDeadLetters(queues), [])
})

t.test('a job that keeps failing delays its queue, and becomes a dead letter', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const backoff = { type: 'exponential', delay: 100 }
  const queue = openQueue(t, redis, 'one', { defaultJobOptions: { attempts: 3, backoff } })
  const { deliver } = createQueueingHost(t, [queue])
  const { app, lines } = createHost(t)
  const runs: string[] = []
  const begun: number[] = []
  const text: unknown = 'a text'
  const throwing: Record<string, () => never> = {
    a: () => { throw new Error('always') },
    b: () => { throw new UnrecoverableError('at once') },
    c: () => { throw text }
  }
  startWorker(t, redis, ['one'], (delivery) => {
    const id = (delivery.event as { idempotency_key?: string }).idempotency_key!
    runs.push(id)
    begun.push(performance.now())
    throwing[id]?.()
  }, { app })
  for (const id of ['a', 'b', 'c', 'd']) await deliver(SESSION, id)
  await until(() => runs.includes('d'))
  t.equal(runs.join(''), 'aaabcccd')
  t.ok(begun[1]! - begun[0]! > 95 && begun[2]! - begun[1]! > 195, 'each attempt waits for its backoff')
  t.match((await listDeadLetters([queue])).map(({ failure, attempts }) => [failure, attempts]), [
    ['a text', 3], ['at once', 1], ['always', 3]
  ])
  t.equal(await retryDeadLetters([queue], (await listDeadLetters([queue])).map(({ id }) => id)), 3)
  await until(() => runs.length === 15)
  t.strictSame(lines.filter(({ msg }) => msg === 'worker error'), [])
})

t.test('without a backoff an ordered job is retried at once, and without attempts never', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const prefix = 'other'
  const queue = openQueue(t, redis, 'one', { prefix, defaultJobOptions: { attempts: 2, backoff: 0 } })
  const plain = openQueue(t, redis, 'two', { prefix })
  let runs = 0
  startWorker(t, redis, ['one', 'two'], () => { runs++; throw new Error('always') }, { prefix })
  await createQueueingHost(t, [queue]).deliver(SESSION, 'a')
  await until(() => runs === 2)
  await plain.add('x', { version: 1 }, { attempts: 3 })
  await until(() => runs === 5)
  await plain.add('x', { version: 1 })
  await until(() => runs === 6)
  while (await plain.getFailedCount() < 2) await sleep(10)
})

t.test('an unreachable Redis is reported by the log only, with ordered queues too', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const queue = openQueue(t, redis, 'one', { defaultJobOptions: FAST })
  const { app, lines } = createHost(t)
  const printed = t.capture(console, 'error')
  let runs = 0
  startWorker(t, redis, ['one'], () => { runs++ }, { app, drainTimeout: 50 })
  await app.ready()
  await createQueueingHost(t, [queue]).deliver(SESSION, 'a')
  await until(() => runs === 1)
  await queue.close()
  await redis.stop()
  await until(() => lines.some(({ msg }) => msg === 'worker error'))
  t.strictSame(printed(), [])
})

t.test('a worker that cannot start reports it', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t, '--rename-command', 'HSET', '')
  const { app, lines } = createHost(t)
  startWorker(t, redis, ['one'], () => {}, { app, drainTimeout: 50 })
  const told = () => lines.find(({ msg }) => msg === 'worker error')
  await until(() => told() !== undefined)
  t.match(told(), { level: 40, queue: 'one', failure: { type: 'ReplyError' } })
})

t.test('a job that no longer exists when it fails is reported, too', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const { app, lines } = createHost(t)
  const { workers } = startWorker(t, redis, 'verification', () => {}, { app })
  await app.ready()
  workers[0]!.emit('failed', undefined, new Error('gone'), 'active')
  t.match(lines.at(-1), { level: 40, queue: 'verification', failure: { type: 'Error' } })
})

t.test("telemetry and metrics are BullMQ's own, ordered or not", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  for (const names of ['any', ['in-order']] as const) {
    const name = [names].flat()[0]!
    const queue = openQueue(t, redis, name)
    const spans: string[] = []
    const ignore = () => {}
    const span = {
      setAttribute: ignore,
      setAttributes: ignore,
      addEvent: ignore,
      recordException: ignore,
      end: ignore,
      setSpanOnContext: () => ({})
    }
    const telemetry = {
      tracer: { startSpan (text: string) { spans.push(text); return span } },
      contextManager: {
        with: (_context: unknown, run: () => unknown) => run(),
        active: () => ({}),
        getMetadata: () => '',
        fromMetadata: () => ({})
      }
    }
    const options = { telemetry: telemetry as never, metrics: { maxDataPoints: 60 } }
    const { workers } = startWorker(t, redis, names, () => {}, options)
    await createQueueingHost(t, typeof names === 'string' ? queue : [queue]).deliver(SESSION, 'a')
    while ((await queue.getMetrics('completed')).meta.count < 1) await sleep(10)
    t.ok(spans.some((text) => text === `process ${name}`), `${spans}`)
    t.equal(workers[0]!.opts.metrics?.maxDataPoints, 60)
  }
})

t.test('a given client is used, and left open; an ordered queue has no other Redis', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const client = redis.connect({ maxRetriesPerRequest: null })
  const queue = openQueue(t, redis, 'one')
  let runs = 0
  const worker = startWorker(t, redis, ['one'], () => { runs++ }, { connection: client as never })
  await createQueueingHost(t, [queue]).deliver(SESSION, 'a')
  await until(() => runs === 1)
  t.equal(await queue.getGlobalConcurrency(), 1)
  await worker.close()
  t.equal(await client.ping(), 'PONG')
})

t.test('an invalid argument is an error that names it', async (t) => {
  const connection = { url: `redis://127.0.0.1:${await freePort()}` }
  const handle = () => {}
  const wrong: [unknown, unknown, object, string][] = [
    [undefined, handle, { connection }, 'queue'], ['', handle, { connection }, 'queue'], ['a:b', handle, { connection }, 'queue'],
    [[], handle, { connection }, 'queue'], [['a', 'a'], handle, { connection }, 'queue'], ['a', undefined, { connection }, 'handle'],
    ['a', handle, {}, 'connection'], ['a', handle, { connection: null }, 'connection'],
    ['a', handle, { connection: 'redis://localhost' }, 'connection'], ['a', handle, { connection: {} }, 'connection'],
    ['a', handle, { connection: { url: undefined } }, 'connection'], ['a', handle, { connection: { url: '' } }, 'connection'],
    ['a', handle, { connection: { db: 1 } }, 'connection'],
    ['a', handle, { connection: { host: 'redis', url: undefined } }, 'connection'],
    ['a', handle, { connection, telemetry: true }, 'telemetry'], ['a', handle, { connection, metrics: 60 }, 'metrics'], ['a', handle, { connection, prefix: 1 }, 'prefix'],
    ['a', handle, { connection, concurrency: 0 }, 'concurrency'], ['a', handle, { connection, lockDuration: 0 }, 'lockDuration'],
    ['a', handle, { connection, drainTimeout: '1' }, 'drainTimeout'], ['a', handle, { connection, app: {} }, 'app'],
    ['a', handle, { connection, retries: 1 }, 'retries']
  ]
  for (const [queue, handler, options, option] of wrong) {
    t.throws(() => createWorker(queue as never, handler as never, options as never), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: new RegExp(`^createWorker: option "${option}" `)
    })
  }
  const queue = queueThat(async () => {})
  for (const [call, option] of [
    [() => listDeadLetters({} as never), 'queue" must be a BullMQ Queue or an array of them'], [() => listDeadLetters(queue as never, { limit: 0 }), 'limit'],
    [() => retryDeadLetters([] as never), 'queue']
  ] as const) {
    await t.rejects<unknown>(call(), { code: 'FST_VERIFICATION_INVALID_OPTION', message: new RegExp(`option "${option}`) })
  }
})
