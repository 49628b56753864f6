import { spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { signAghanim, signAltdentifier, signIdentityValidation } from '../../plugins/index.js'
import { DEMO_TOKEN_SECRET } from '../../cli/demo.js'
import { GUILD, MEMBER, PLAYER, VERIFY_EVENT } from '../support/deliveries.js'
import { createLog, portOf, statusOf, type Test } from '../support/host.js'
import { PLAIN, plainProgram } from '../support/programs.js'
import { read } from '../support/project.js'
import { freePort, noRedis, startRedis } from '../support/redis.js'
import { until } from '../support/waiting.js'

// Imports the module as the main program, which must run it: here into the refusal to generate secrets.
const entry = process.argv[1]
process.argv[1] = fileURLToPath(import.meta.resolve('../../examples/worker.js'))
const workerTold = t.capture(console, 'error', () => {})
const { build: buildWorker, main: worker } = await import('../../examples/worker.js')
workerTold.restore()
process.argv[1] = fileURLToPath(import.meta.resolve('../../example-server.js'))
process.env['NODE_ENV'] = 'production'
const told = t.capture(console, 'error', () => {})
const { build, loggerFor, main, readEnv } = await import('../../example-server.js')
told.restore()
process.argv[1] = entry!
delete process.env['NODE_ENV']

t.test('it runs as the main program', async (t) => {
  t.equal(process.exitCode, 1)
  process.exitCode = 0
  t.match(told()[0]?.args[0], /^in production, set/)
  t.strictSame(workerTold.args(), [['the worker requires REDIS_URL']])
})

const SECRETS = {
  ALTDENTIFIER_SECRET: 'canary of altdentifier',
  AGHANIM_SECRET: 'canary of aghanim, long enough',
  IDENTITY_API_KEY: 'canary-key',
  IDENTITY_API_SECRET: Buffer.from('canary of identity, long enough').toString('base64'),
  HUMANDETECT_API_KEY: 'canary-key-of-humandetect'
}

/** Strings about the persons in the fixtures, which the examples log on purpose. */
const TOLD = [MEMBER.id, MEMBER.username, PLAYER.player_id, PLAYER.name]

async function createServer (test: Test, env: Record<string, string> = {}) {
  const { lines, stream, check } = createLog(TOLD)
  const app = await build({ ...SECRETS, ...env }, { logger: { stream } })
  test.teardown(async () => {
    await app.close()
    check()
  })
  const endpoint = '/webhooks/identity-validation'
  const post = (url: string, event: object) => {
    const body = JSON.stringify(event)
    const headers = url.endsWith('altdentifier')
      ? signAltdentifier({ secret: SECRETS.ALTDENTIFIER_SECRET, body })
      : url.endsWith('aghanim')
        ? signAghanim({ secret: SECRETS.AGHANIM_SECRET, body })
        : signIdentityValidation({
          apiKey: SECRETS.IDENTITY_API_KEY, secret: SECRETS.IDENTITY_API_SECRET, endpoint: url, body
        })
    return app.inject({ method: 'POST', url, headers, payload: body })
  }
  return { app, lines, endpoint, post }
}

t.test('each event is answered, and logged in a readable line', async (t) => {
  const { app, lines, endpoint, post } = await createServer(t)
  const who = { member: MEMBER, guild: GUILD }
  const cases: [string, object, number, string][] = [
    ['/webhooks/altdentifier', { OP: 0, ...who }, 204, 'Auxim (66166172835385344) started verification'],
    ['/webhooks/altdentifier', { OP: 1, ...who, method: 'steam' }, 204, 'Auxim (66166172835385344) passed verification by steam'],
    ['/webhooks/altdentifier', { OP: 2, ...who, member: { id: '1', name: 'A' }, method: 'xbox', reason: 'too new' }, 204,
      'A (1) failed verification by xbox: too new'],
    ['/webhooks/altdentifier', { OP: 3, ...who, action: 'kick' }, 204, 'ignored verification, action kick'],
    ['/webhooks/altdentifier', { OP: 4, ...who, member: { id: '1' } }, 204, 'member (1) verified with another account'],
    ['/webhooks/altdentifier', { OP: 5 }, 204, 'test event'],
    ['/webhooks/aghanim', VERIFY_EVENT, 200, 'player 2D2R-OP3C requested by hub.login: Beebee-Ate'],
    ['/webhooks/aghanim', { ...VERIFY_EVENT, trigger: null, event_data: { player_id: '1' } }, 401, 'player 1 requested by an unknown trigger: denied'],
    ['/webhooks/aghanim', { event_id: 'whevt_1', event_type: 'item.add', event_data: {} }, 200, 'item.add whevt_1'],
    [`${endpoint}/sessions`, { session: { id: 'iss-1', status: 'VERIFIED' } }, 204, 'session iss-1 is VERIFIED'],
    [`${endpoint}/required-files`, {}, 204, 'files are required']
  ]
  for (const [url, event, status, line] of cases) {
    t.equal((await post(url, event)).statusCode, status)
    t.ok(lines.splice(0).some(({ msg }) => msg.includes(line)), line)
  }
  t.strictSame((await app.inject('/health')).json(), { status: 'ok' })
})

t.test('a name can neither begin a line of the log nor control a terminal', async (t) => {
  const { lines, endpoint, post } = await createServer(t)
  const name = 'A\n\u001b[2J\u009b31m\u202e\u2028\r{"level":50}'
  const member = { id: '1', name }
  await post('/webhooks/altdentifier', { OP: 2, member, guild: GUILD, method: name, reason: name })
  await post('/webhooks/altdentifier', { OP: 3, member, guild: GUILD, action: name })
  await post('/webhooks/aghanim', { ...VERIFY_EVENT, trigger: name, event_data: { player_id: name } })
  await post('/webhooks/aghanim', { event_id: name, event_type: name, event_data: {} })
  await post(`${endpoint}/sessions`, { session: { id: name, status: name } })
  const told = lines.map(({ msg }) => msg).filter((msg) => msg.includes('[2J'))
  t.equal(told.length, 5)
  for (const msg of told) t.notMatch(msg, /[\p{Cc}\p{Cf}\p{Zl}]/u)
})

t.test('outcomes of deliveries are counted for Prometheus', async (t) => {
  const { app, post } = await createServer(t)
  await post('/webhooks/aghanim', VERIFY_EVENT)
  await post('/webhooks/aghanim', { ...VERIFY_EVENT, event_data: { player_id: '1' } })
  const { statusCode, headers, body } = await app.inject('/metrics')
  t.equal(statusCode, 200)
  t.match(headers['content-type'], /^text\/plain; version=0\.0\.4/)
  for (const outcome of ['outcome="accepted",reason="handled"', 'outcome="denied",reason="denied"']) {
    t.match(body, new RegExp(`^fastify_verification_\\w+\\{provider="aghanim",${outcome}\\} 1$`, 'm'))
  }
})

const { scripts } = JSON.parse(read('package.json'))
/** Command of `npm start`. */
const START = [...PLAIN, ...scripts.start.split(' ')]

function run (program: readonly string[], env: Record<string, string>) {
  const child = spawn('env', program, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const output: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => { output.push(line) })
  }
  return { child, output, exit: once(child, 'exit') as Promise<[number | null, string | null]> }
}

// Tests that wait for processes, for Redis and for time, so they run at the same time.
t.test('as a program, and with a Redis', { jobs: 8 }, async (t) => {
  t.test('servers that share a Redis handle a delivery once among them', { skip: noRedis, buffered: true }, async (t) => {
    const { url } = await startRedis(t)
    const event = { event_id: 'whevt_1', event_type: 'item.add', event_data: {} }
    const servers = [await createServer(t, { REDIS_URL: url }), await createServer(t, { REDIS_URL: url })]
    const replies = []
    for (const { post } of servers) replies.push(await post('/webhooks/aghanim', event))
    t.strictSame(replies.map(({ statusCode, body }) => [statusCode, body]), Array(2).fill([200, '{"status":"ok"}']))
    t.strictSame(replies.map(({ headers }) => headers['idempotency-replayed']), [undefined, 'true'])
  })

  t.test('while Redis is down deliveries are refused, and its password is not logged', { buffered: true }, async (t) => {
    const { app, post } = await createServer(t, { REDIS_URL: `redis://:canary@127.0.0.1:${await freePort()}` })
    const reply = await post('/webhooks/aghanim', { event_id: 'whevt_1', event_type: 'item.add', event_data: {} })
    t.equal(reply.statusCode, 503)
    t.equal(reply.json().code, 'FST_VERIFICATION_STORE_UNAVAILABLE')
    t.equal((await app.inject('/health')).statusCode, 200)
    t.notMatch(reply.body, /canary/)
  })

  t.test('it is ready while Redis can be reached, and healthy without it', { skip: noRedis, buffered: true }, async (t) => {
    const redis = await startRedis(t)
    const { app } = await createServer(t, { REDIS_URL: redis.url })
    const answers = async () => [(await app.inject('/ready')).json().status, (await app.inject('/health')).statusCode]
    const become = async (status: string) => { while ((await answers())[0] !== status) await sleep(5) }
    await become('ok')
    await redis.stop()
    await become('waiting')
    t.strictSame(await answers(), ['waiting', 200])
    t.equal((await app.inject('/ready')).statusCode, 503)
    await redis.start()
    await become('ok')
    t.equal((await app.inject('/ready')).statusCode, 200)
  })

  for (const [signal, program] of [['SIGTERM', START], ['SIGINT', plainProgram('example-server')]] as const) {
    t.test(`as a program it listens, prints the generated secrets, and closes cleanly on ${signal}`, { buffered: true }, async (t) => {
      const { AGHANIM_SECRET } = SECRETS
      const { child, output, exit } = run(program, { PORT: '0', AGHANIM_SECRET })
      t.teardown(() => child.kill('SIGKILL'))
      while (!output.some((line) => line.startsWith('export HUMANDETECT_API_KEY'))) await once(child.stdout, 'data')
      const address = output.find((line) => line.startsWith('Listening on '))!.slice('Listening on '.length)
      t.equal((await fetch(`${address}/health`)).status, 200)
      t.equal(output.filter((line) => line.startsWith('export ')).length, 4)
      t.notMatch(output.join('\n'), /canary/)
      child.kill(signal)
      t.strictSame(await exit, [0, null])
    })
  }

  t.test('as a program it refuses to generate secrets in production', { buffered: true }, async (t) => {
    const { output, exit } = run(plainProgram('example-server'), { NODE_ENV: 'production', PORT: '0' })
    t.strictSame(await exit, [1, null])
    t.strictSame(output, [
      'in production, set ALTDENTIFIER_SECRET, AGHANIM_SECRET, IDENTITY_API_KEY, IDENTITY_API_SECRET, HUMANDETECT_API_KEY'
    ])
  })

  t.test('with a queue, the worker logs the deliveries', { skip: noRedis, buffered: true }, async (t) => {
    const { url } = await startRedis(t)
    const { lines: told, stream } = createLog(TOLD)
    const worker = await buildWorker(url, { logger: { stream } })
    t.teardown(() => worker.close())
    const { app, lines, post, endpoint } = await createServer(t, { REDIS_URL: url, QUEUE: '1' })
    const cases: [string, object, string][] = [
      ['/webhooks/altdentifier', { OP: 1, member: MEMBER, guild: GUILD, method: 'steam' }, 'passed verification by steam'],
      ['/webhooks/aghanim', { event_id: 'whevt_1', event_type: 'item.add', event_data: {} }, 'item.add whevt_1'],
      [`${endpoint}/sessions`, { session: { id: 'iss-1', status: 'VERIFIED' } }, 'session iss-1 is VERIFIED'],
      [`${endpoint}/required-files`, {}, 'files are required']
    ]
    for (const [path, event, line] of cases) {
      t.ok((await post(path, event)).statusCode < 300)
      await until(() => told.some(({ msg }) => msg.includes(line)))
      t.notOk(lines.some(({ msg }) => msg.includes(line)))
    }
    t.equal((await post('/webhooks/aghanim', VERIFY_EVENT)).statusCode, 200)
    t.ok(lines.some(({ msg }) => msg.includes('requested by')), 'but for what is to be answered at once')
    await app.close()
  })

  t.test('while its Redis is down, deliveries for the queue are answered with 503', { skip: noRedis, buffered: true }, async (t) => {
    const redis = await startRedis(t)
    await redis.stop()
    const { post } = await createServer(t, { REDIS_URL: redis.url, QUEUE: '1' })
    const { statusCode, headers } = await post('/webhooks/altdentifier', { OP: 5 })
    t.equal(statusCode, 503)
    t.ok(headers['retry-after'])
    await redis.start()
    while ((await post('/webhooks/altdentifier', { OP: 5 })).statusCode !== 204) await sleep(50)
  })
})

t.test('without a Redis it is ready at once', async (t) => {
  const { app } = await createServer(t)
  t.strictSame((await app.inject('/ready')).json(), { status: 'ok' })
})

t.test('a human signs up with a demo token, a bot or anyone else does not', async (t) => {
  const { app, lines } = await createServer(t)
  const post = async (url: string, payload: object, headers = {}) => {
    const reply = await app.inject({ method: 'POST', url, payload, headers })
    return { status: reply.statusCode, ...reply.json() }
  }
  const mint = async (claims: object) => (await post('/humandetect/demo-token', claims)).token
  const token = await mint({ identifier: 'canary@example.com' })
  t.match(await post('/v1/humandetect/verify', { token }, { 'x-api-key': SECRETS.HUMANDETECT_API_KEY }), {
    status: 200, valid: true, identifier: 'canary@example.com'
  })
  t.match(await post('/v1/humandetect/verify', { token }), { status: 401, code: 'unauthorized' })
  t.strictSame(await post('/signup', { email: 'canary@example.com', token }), { status: 'created' })
  t.equal(lines.at(-1)?.msg, 'HumanDetect: a human signed up')
  const bot = await mint({ identifier: 'canary@example.com', human: false })
  const others = await mint({ identifier: 'eve@example.com' })
  for (const refused of [token, bot, others, 'made up']) {
    t.match(await post('/signup', { email: 'canary@example.com', token: refused }), {
      code: 'FST_HUMANDETECT_NOT_HUMAN', statusCode: 403
    })
  }
  for (const none of [{}, { token: '' }, { token: 5 }, { token: 'x'.repeat(8193) }]) {
    t.match(await post('/signup', { email: 'canary@example.com', ...none }), {
      statusCode: 400, code: 'FST_HUMANDETECT_TOKEN_REQUIRED'
    })
  }
  for (const secret of [token, bot, others]) t.notOk(JSON.stringify(lines).includes(secret))
})

t.test('tokens are minted on a private machine only, and another token service can be used', async (t) => {
  const mint = { method: 'POST', url: '/humandetect/demo-token', payload: { identifier: 'a' } } as const
  const reachable = await build({ ...SECRETS, HOST: '0.0.0.0' })
  t.teardown(() => reachable.close())
  t.equal((await reachable.inject(mint)).statusCode, 404)
  const app = await build({ ...SECRETS, NODE_ENV: 'production', HUMANDETECT_BASE_URL: 'https://localhost:1' })
  t.teardown(() => app.close())
  t.equal((await app.inject(mint)).statusCode, 404)
  const payload = { email: 'canary@example.com', token: 'any' }
  t.equal((await app.inject({ method: 'POST', url: '/signup', payload })).statusCode, 503)
  await t.rejects(build({ ...SECRETS, HUMANDETECT_BASE_URL: 'http://example.com' }), {
    code: 'FST_VERIFICATION_INVALID_OPTION', message: /"baseUrl"/
  })
})

t.test('the demo secret of tokens is for a private machine only; elsewhere it is random', async (t) => {
  t.equal(readEnv({}).tokenSecret, DEMO_TOKEN_SECRET)
  t.equal(readEnv({ HUMANDETECT_TOKEN_SECRET: 'canary' }).tokenSecret, 'canary')
  for (const more of [{ HOST: '0.0.0.0' }, { NODE_ENV: 'production' }]) {
    const secrets = [1, 2].map(() => readEnv({ ...SECRETS, ...more }).tokenSecret)
    t.equal(new Set([...secrets, DEMO_TOKEN_SECRET]).size, 3)
  }
})

t.test('demo secrets are for a private machine only', async (t) => {
  t.equal(readEnv({}).madeUp.length, 5)
  t.strictSame(readEnv(SECRETS).madeUp, [])
  t.strictSame(readEnv({ ...SECRETS, AGHANIM_SECRET: undefined }).madeUp, ["export AGHANIM_SECRET='demo-aghanim-secret-of-32-bytes!'"])
  t.throws(() => readEnv({ NODE_ENV: 'production' }), { message: /^in production, set ALTDENTIFIER_SECRET, AGHANIM_SECRET/ })
  t.throws(() => readEnv({ ...SECRETS, IDENTITY_API_KEY: '', NODE_ENV: 'production' }), { message: 'in production, set IDENTITY_API_KEY' })
  t.throws(() => readEnv({ HOST: '0.0.0.0' }), { message: /^to serve on 0\.0\.0\.0, set ALTDENTIFIER_SECRET/ })
  t.equal(readEnv({ ...SECRETS, NODE_ENV: 'production', HOST: '0.0.0.0' }).host, '0.0.0.0')
  t.throws(() => readEnv({ ...SECRETS, AGHANIM_SECRET: 'demo-aghanim-secret-of-32-bytes!', NODE_ENV: 'production' }), {
    message: 'in production, set AGHANIM_SECRET'
  }, 'not even if given')
  t.equal(readEnv({ PORT: '8080' }).port, 8080)
  for (const PORT of ['x', '-1', '65536', '80.5']) t.throws(() => readEnv({ PORT }), { message: /^PORT/ })
  await t.rejects(build({ NODE_ENV: 'production' }))
})

t.test('deliveries in progress while it stops are handled, and close their connections', async (t) => {
  const { app, lines } = await createServer(t)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect(portOf(app), '127.0.0.1')
  const connected = once(app.server, 'connection')
  const body = '{"OP":5}'
  const headers = Object.entries({ host: 'a', ...signAltdentifier({ secret: SECRETS.ALTDENTIFIER_SECRET, body }) })
  const fields = [...headers.map(([name, value]) => `${name}: ${value}`), `content-length: ${body.length}`]
  socket.write('POST /webhooks/altdentifier HTTP/1.1\r\n')
  await connected
  const closed = app.close()
  while (app.server.listening) await sleep(1)
  socket.write(`${fields.join('\r\n')}\r\n\r\n${body}`)
  let text = ''
  for await (const chunk of socket) text += chunk
  t.equal(statusOf(text), 204)
  t.match(text, /^connection: close\r$/im)
  t.ok(lines.some(({ msg }) => msg === 'AltDentifier: test event'))
  await closed
})

t.test('the next secret is accepted together with the current one', async (t) => {
  const next = {
    ALTDENTIFIER_SECRET_NEXT: 'next canary of altdentifier',
    AGHANIM_SECRET_NEXT: 'next canary of aghanim, long enough',
    IDENTITY_API_SECRET_NEXT: Buffer.from('next canary of identity, long enough').toString('base64')
  }
  const { altdentifierSecret, aghanimSecret, identityKeys } = readEnv({ ...SECRETS, ...next })
  t.strictSame(altdentifierSecret, [SECRETS.ALTDENTIFIER_SECRET, next.ALTDENTIFIER_SECRET_NEXT])
  t.strictSame(aghanimSecret, [SECRETS.AGHANIM_SECRET, next.AGHANIM_SECRET_NEXT])
  const [secret, nextSecret] = [SECRETS.IDENTITY_API_SECRET, next.IDENTITY_API_SECRET_NEXT]
  t.strictSame(identityKeys, { [SECRETS.IDENTITY_API_KEY]: [secret, nextSecret] })
  t.strictSame(readEnv({ ...SECRETS, AGHANIM_SECRET_NEXT: '' }).aghanimSecret, [SECRETS.AGHANIM_SECRET])
})

t.test('main listens until a signal', async (t) => {
  const print = t.capture(console, 'log')
  const stdout = t.capture(process.stdout, 'write', () => true)
  const signals = new EventEmitter()
  await main({ ...SECRETS, AGHANIM_SECRET: undefined, PORT: '0' }, signals as typeof process)
  stdout.restore()
  print.restore()
  const printed = print().flatMap(({ args }) => args).join('\n')
  const [address, ...rest] = printed.trim().slice('Listening on '.length).split(/\s*\n/)
  t.match(address, /^http:\/\/127\.0\.0\.1:\d+$/)
  t.strictSame(rest, [
    `Deliveries: ${address}/deliveries`,
    `API docs: ${address}/docs`,
    `Metrics: ${address}/metrics`,
    'Demo secrets in use:',
    "export AGHANIM_SECRET='demo-aghanim-secret-of-32-bytes!'"
  ])
  for (const path of ['health', 'deliveries', 'metrics']) t.equal((await fetch(`${address}/${path}`)).status, 200)
  signals.emit('SIGTERM')
  while (await fetch(`${address}/health`).then(() => true, () => false));
  t.pass('it has closed')
})

t.test('in production main prints no URL of the page that shows deliveries', async (t) => {
  const print = t.capture(console, 'log')
  const stdout = t.capture(process.stdout, 'write', () => true)
  const signals = new EventEmitter()
  await main({ ...SECRETS, NODE_ENV: 'production', PORT: '0' }, signals as typeof process)
  stdout.restore()
  print.restore()
  const [, address, , ...pages] = print().flatMap(({ args }) => args).join('\n').split('\n')
  const origin = address!.slice('Listening on '.length)
  t.strictSame(pages, [`API docs: ${origin}/docs`, `Metrics: ${origin}/metrics`, ''])
  signals.emit('SIGTERM')
  while (await fetch(`${origin}/health`).then(() => true, () => false));
})

t.test('main prints its error, and runs only as the main program', async (t) => {
  const print = t.capture(console, 'error', () => {})
  await main({ NODE_ENV: 'production' })
  t.equal(process.exitCode, 1)
  t.match(print()[0]?.args[0], /^in production, set/)
  await main({ PORT: '0', HOST: '127.0.0.1', ...SECRETS, IDENTITY_API_SECRET: 'canary' })
  const [, second] = print.args()
  process.exitCode = 0
  t.notMatch(second, /canary/)
})

t.test('a start that fails releases all resources', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const print = t.capture(console, 'error', () => {})
  const stdout = t.capture(process.stdout, 'write', () => true)
  const env = { ...SECRETS, REDIS_URL: redis.url, QUEUE: '1' }
  await main({ ...env, PORT: String(redis.port) })
  await main({ ...env, PORT: '0', IDENTITY_API_SECRET: 'canary' })
  stdout.restore()
  process.exitCode = 0
  t.match(print.args(), [[/EADDRINUSE/], [/apiKeys/]])
  const clients = String(await redis.connect().client('LIST'))
  t.equal(clients.trim().split('\n').length, 1, 'only the connection of this command')
})

t.test('a queue needs a Redis, for the server as for the worker', async (t) => {
  await t.rejects(build({ ...SECRETS, QUEUE: '1' }), { message: 'QUEUE requires REDIS_URL' })
  const print = t.capture(console, 'error', () => {})
  await worker({})
  t.equal(process.exitCode, 1)
  process.exitCode = 0
  t.strictSame(print.args(), [['the worker requires REDIS_URL']])
})

t.test('the worker works until a signal ends it', { skip: noRedis }, async (t) => {
  const redis = await startRedis(t)
  const client = redis.connect()
  const connected = async () => String(await client.client('LIST')).trim().split('\n').length - 1
  const stdout = t.capture(process.stdout, 'write', () => true)
  const signals = new EventEmitter()
  await worker({ REDIS_URL: redis.url }, signals as typeof process)
  while (await connected() < 2);
  signals.emit('SIGTERM')
  while (await connected() > 0);
  stdout.restore()
  t.pass('it has closed')
})

t.test('the log is pretty on a terminal only', async (t) => {
  t.equal(loggerFor({}), true)
  t.match(loggerFor({ isTTY: true }), { transport: { target: 'pino-pretty' } })
})
