import type { FastifyInstance } from 'fastify'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Pool } from 'undici'
import { limitShutdown } from '../../example-server.js'
import type { WebhookOptions } from '../../plugins/index.js'
import { API_SECRET, bodyOf, PROVIDERS, SECRET, type ProviderCase } from '../support/deliveries.js'
import { createHost, exchange, listen, NO_REQUEST_LOG, portOf, rawRequest, statusOf } from '../support/host.js'
import { scriptedStore } from '../support/life-cycle.js'
import { gateOf, until, watchLag, watchRejections } from '../support/waiting.js'

const rejections = watchRejections()
const [ALTDENTIFIER, AGHANIM, IDENTITY] = PROVIDERS as [ProviderCase, ProviderCase, ProviderCase]
const turn = () => new Promise((resolve) => setImmediate(resolve))

/**
 * Milliseconds that an immediate action may take: far more than a busy machine needs, and far less than Node keeps a
 * connection that nobody closes.
 */
const HELD_UP = 8000

const pairs = (headers: Record<string, string>): [string, string][] => Object.entries(headers)
const headOf = (provider: ProviderCase, length: number) => rawRequest(provider.url,
  [...pairs(provider.sign(bodyOf(provider))), ['content-length', String(length)]], '')
const connectionsOf = (app: FastifyInstance) => new Promise<number>((resolve, reject) => {
  app.server.getConnections((error, count) => error ? reject(error) : resolve(count))
})

interface Client { readonly socket: Socket, text: string, closedAfter: number | undefined }

/** Connects, sends the beginning of a request, and records the response and the time at which the server closes. */
async function begin (app: FastifyInstance, part: Buffer): Promise<Client> {
  const socket = connect({ port: portOf(app), host: '127.0.0.1', noDelay: true, allowHalfOpen: false })
  const client: Client = { socket, text: '', closedAfter: undefined }
  socket.on('error', () => {}) // a reset counts as a close
  socket.on('data', (chunk) => { client.text += chunk.toString('latin1') })
  await once(socket, 'connect')
  const start = performance.now()
  socket.on('close', () => { client.closedAfter = performance.now() - start })
  socket.write(part)
  return client
}

const areOver = (clients: readonly Client[]) => clients.every(({ closedAfter }) => closedAfter !== undefined)

/** Numbers of clients. All providers share the code: one of them gets many of these clients, the others a few. */
const CROWDS: [provider: ProviderCase, slow: number, cutOff: number][] = [
  [ALTDENTIFIER, 60, 60], [AGHANIM, 500, 600], [IDENTITY, 60, 60]
]

for (const [provider, , count] of CROWDS) {
  t.test(`${provider.name}: ${count} bodies that are cut off leave nothing behind`, async (t) => {
    const { store, asked } = scriptedStore()
    const { app } = createHost(t, { logger: false })
    const calls: unknown[] = []
    const dedupe = provider === ALTDENTIFIER ? { dedupe: 60 } : {}
    // A deadline that is not cleared would keep its timer for a minute.
    provider.register(app, calls, { deliveries: store, bodyTimeout: 60_000, ...dedupe })
    await listen(app)
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    const before = timers()
    let received = 0
    app.server.on('request', () => { received++ })
    for (const cut of ['end', 'resetAndDestroy'] as const) {
      const begun = await Promise.all(Array.from({ length: count / 2 }, () =>
        begin(app, Buffer.concat([headOf(provider, 50), Buffer.from('{"cut":')]))))
      await until(() => received === begun.length)
      t.equal(await connectionsOf(app), begun.length)
      t.equal(timers(), before + 1, 'one timer for all their deadlines')
      for (const { socket } of begun) socket[cut]()
      await until(() => areOver(begun))
      while (await connectionsOf(app) > 0) await turn()
      await until(() => timers() === before)
      received = 0
    }
    t.equal(calls.length, 0)
    t.strictSame(asked, [])
    const body = bodyOf(provider)
    const { statusCode } = await app.inject({ method: 'POST', url: provider.url, headers: provider.sign(body), payload: body })
    t.equal(statusCode, provider.success, 'all of it is received')
    const start = performance.now()
    await app.close()
    t.ok(performance.now() - start < HELD_UP, 'and close() is not delayed')
  })
}

t.test('300 bodies without their last byte use the memory of what they have sent, and release it', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const held = () => {
    collect()
    const { external, arrayBuffers, rss } = process.memoryUsage()
    return { external, arrayBuffers, rss }
  }
  const COUNT = 300
  const LIMIT = 65_536
  const BODY_TIMEOUT = 1500
  const { app } = createHost(t, { logger: false })
  const calls: unknown[] = []
  AGHANIM.register(app, calls, { bodyTimeout: BODY_TIMEOUT })
  const sockets: Socket[] = []
  app.server.on('connection', (socket) => { sockets.push(socket) })
  await listen(app)
  const request = Buffer.concat([headOf(AGHANIM, LIMIT), Buffer.from(bodyOf(AGHANIM).padEnd(LIMIT - 1))])
  const before = held()
  const parked = await Promise.all(Array.from({ length: COUNT }, () => begin(app, request)))
  await until(() => sockets.reduce((bytes, { bytesRead }) => bytes + bytesRead, 0) >= COUNT * request.length)
  const during = held()
  await until(() => areOver(parked))
  while (await connectionsOf(app) > 0) await turn()
  sockets.length = 0
  const growth = during.arrayBuffers - before.arrayBuffers
  await until(() => held().arrayBuffers - before.arrayBuffers < growth / 10) // released, once it is collected
  const after = held()

  const mebibytes = (bytes: number) => Math.round(bytes / 2 ** 20 * 10) / 10
  t.comment('MiB more while they are parked, and once they are ended:', ['arrayBuffers', 'external', 'rss'].map((kind) => {
    const of = kind as keyof typeof before
    return `${kind} ${mebibytes(during[of] - before[of])}, ${mebibytes(after[of] - before[of])}`
  }).join('; '))
  t.ok(growth > 0.5 * COUNT * LIMIT, 'they are in memory')
  t.ok(growth < 2 * COUNT * LIMIT, 'and use no more than twice what was sent')
  t.strictSame(parked.filter(({ text }) => text !== '' && !text.startsWith('HTTP/1.1 408')), [])
  const longest = Math.max(...parked.map(({ closedAfter }) => closedAfter!))
  t.ok(longest < BODY_TIMEOUT + HELD_UP, `the last one was ended after ${longest} ms`)
  t.equal(calls.length, 0)
})

// Tests that mostly wait run at the same time; the one with most clients runs alone, before them.
t.jobs = 8

for (const [provider, count] of CROWDS.toSorted(([, one], [, other]) => other - one)) {
  t.test(`${provider.name}: ${count} slow clients are ended in time, and honest deliveries are accepted meanwhile`,
    { buffered: count < 100 }, async (t) => {
      const BODY_TIMEOUT = count < 100 ? 1000 : 1500 // larger ones take longer to connect
      const { app } = createHost(t, { logger: false })
      const calls: unknown[] = []
      provider.register(app, calls, { bodyTimeout: BODY_TIMEOUT })
      await listen(app)
      const pool = new Pool(`http://127.0.0.1:${portOf(app)}`, { connections: 4 })
      t.teardown(() => pool.destroy())

      const body = bodyOf(provider)
      const bytes = Buffer.from(body)
      const head = headOf(provider, bytes.length)
      const chunked = rawRequest(provider.url, [...pairs(provider.sign(body)), ['transfer-encoding', 'chunked']], '')
      const starts = [head, head, chunked]
      const lag = watchLag()
      const slow: Client[] = []
      while (slow.length < count) { // not all in one turn, or the first would wait for the last
        const begun = Array.from({ length: 20 }, (_, index) => begin(app, starts[(slow.length + index) % 3]!))
        slow.push(...await Promise.all(begun))
      }
      let sent = 0
      const drip = setInterval(() => {
        const byte = bytes.subarray(sent, ++sent)
        for (const [index, { socket }] of slow.entries()) {
          if (socket.writable && index % 3 === 1) socket.write(byte)
          if (socket.writable && index % 3 === 2) {
            socket.write(Buffer.concat([Buffer.from('1\r\n'), byte, Buffer.from('\r\n')]))
          }
        }
      }, 50)
      t.teardown(() => clearInterval(drip))

      let honest = 0
      const refused = new Set<number>()
      const deliver = async () => {
        while (!areOver(slow)) {
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

      t.strictSame([...refused], [], `all ${honest} honest deliveries were accepted`)
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
      t.ok(performance.now() - start < HELD_UP, 'and close() is not delayed')
    })
}

t.test('a body that stops halfway is ended after five seconds, unless an option says otherwise', { buffered: true }, async (t) => {
  const { app } = createHost(t, NO_REQUEST_LOG)
  AGHANIM.register(app, [])
  await listen(app)
  const half = await begin(app, headOf(AGHANIM, 50))
  await until(() => areOver([half]))
  t.match(half.text, /^HTTP\/1\.1 408 /)
  t.ok(half.closedAfter! > 4900 && half.closedAfter! < 5000 + HELD_UP, `${half.closedAfter} ms`)
})

const outcomeOf = (status: number, text: string): string =>
  [status, ...text.match(/FST_\w+/) ?? [], ...text.includes('retry-after') ? ['retry'] : []].join(' ')

const RESOLVERS: [provider: ProviderCase, option: string, secret: string][] = [
  [ALTDENTIFIER, 'secret', SECRET], [AGHANIM, 'secret', SECRET], [IDENTITY, 'apiKeys', API_SECRET]
]

for (const [provider, option, secret] of RESOLVERS) {
  t.test(`${provider.name}'s ${option}: a resolver that hangs has one second, and delays no other delivery`, { buffered: true }, async (t) => {
    const { app } = createHost(t)
    const gate = gateOf<undefined>()
    let called = 0
    let hangs = false
    const resolve = () => {
      called++
      return hangs ? gate.promise.then(() => secret) : secret
    }
    provider.register(app, [], { [option]: resolve } as WebhookOptions)
    const good = String(provider.success)
    let sent = 0
    const next = () => {
      const body = JSON.stringify({ ...provider.event, count: ++sent, idempotency_key: `key-${sent}` })
      const headers = provider.sign(body)
      // There is one look-up per api-key at a time.
      return { body, headers: option === 'apiKeys' ? { ...headers, 'x-api-key': `api-key-${sent}` } : headers }
    }
    const inject = async () => {
      const { body: payload, headers: sent } = next()
      const { statusCode, headers, body } = await app.inject({ method: 'POST', url: provider.url, headers: sent, payload })
      return outcomeOf(statusCode, JSON.stringify(headers) + body)
    }
    const overSocket = async () => {
      const { body, headers } = next()
      const more = [['content-length', String(Buffer.byteLength(body))], ['connection', 'close']] as const
      const { text } = await exchange(app, [rawRequest(provider.url, [...pairs(headers), ...more], body)])
      return outcomeOf(statusOf(text), text)
    }
    await listen(app)
    t.equal(await overSocket(), good) // the first one takes longest
    called = 0
    hangs = true
    const start = performance.now()
    const ended: string[] = []
    const hung = [inject(), inject(), overSocket(), overSocket()].map(async (answer) => { ended.push(await answer) })
    await until(() => called === 4)
    hangs = false
    t.equal(await overSocket(), good)
    t.strictSame(ended, [], 'while the others wait')
    await Promise.all(hung)
    t.strictSame(ended, Array(4).fill('503 FST_VERIFICATION_SECRET_UNAVAILABLE retry'))
    const time = performance.now() - start
    t.ok(time > 950 && time < HELD_UP, `${time} ms`)
    gate.resolve(undefined)
    t.equal(await inject(), good)
  })
}

t.test('a body that stops halfway delays close() no longer than bodyTimeout', { buffered: true }, async (t) => {
  const { app } = createHost(t, NO_REQUEST_LOG)
  const calls: unknown[] = []
  AGHANIM.register(app, calls, { bodyTimeout: 500 })
  await listen(app)
  const body = bodyOf(AGHANIM)
  const half = await begin(app, Buffer.concat([headOf(AGHANIM, body.length), Buffer.from(body.slice(0, -1))]))
  await once(app.server, 'request')
  const start = performance.now()
  await app.close()
  t.ok(performance.now() - start < HELD_UP)
  await until(() => areOver([half]))
  t.match(half.text, /^HTTP\/1\.1 408 /)
  t.strictSame(calls, [])
})

t.test('docs/production.md: an incomplete head is ended while the server runs, and does not delay its close', { buffered: true }, async (t) => {
  const http = { headersTimeout: 300, connectionsCheckingInterval: 100 }
  const { app } = createHost(t, { requestTimeout: 1000, http })
  const calls: unknown[] = []
  AGHANIM.register(app, calls)
  limitShutdown(app, 500)
  await listen(app)
  const head = Buffer.from(`POST ${AGHANIM.url} HTTP/1.1\r\nHost: localhost\r\n`)
  const slow = await begin(app, head)
  await until(() => areOver([slow]))
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
  await until(() => areOver([late]))
  t.equal(late.text, '')
  t.strictSame(calls, [])
})

t.test('no promise was rejected without being handled', async (t) => {
  await turn()
  t.strictSame(rejections, [])
})
