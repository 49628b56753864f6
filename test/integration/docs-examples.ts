import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import Fastify, { type FastifyInstance } from 'fastify'
import { Queue } from 'bullmq'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { build } from '../../example-server.js'
import { aghanimPlugin, issueToken, signAghanim, signAltdentifier, signIdentityValidation } from '../../plugins/index.js'
import { createWorker } from '../../plugins/queue.js'
import { FORBIDDEN, GUILD, MEMBER, VERIFY_EVENT } from '../support/deliveries.js'
import { blocksOf, PAGES, tableOf } from '../support/docs.js'
import { read } from '../support/project.js'
import { portOf } from '../support/host.js'
import { noRedis, startRedis } from '../support/redis.js'

// Runs the examples of all pages. (Those of the command line are run by the suites about it.)

/** Returns the TypeScript block of a page that contains `text`. */
function example (page: string, text: string): string {
  const [found, ...others] = blocksOf(read(page), 'ts').filter((block) => block.includes(text))
  if (found === undefined || others.length > 0) throw new Error(`not exactly one example with ${text} in ${page}`)
  return found
}

/** Returns an answer without the parts that differ each time. */
function essence (answer: string): string {
  return answer.replaceAll('\r', '').split('\n')
    .filter((line) => !/^(content-length|date|connection|keep-alive):/i.test(line)).join('\n').trim()
}

/** Runs a script for the example server, on its actual port, and returns the output. */
async function shell (app: FastifyInstance, script: string): Promise<string> {
  const ported = script.replaceAll('127.0.0.1:3000', `127.0.0.1:${portOf(app)}`)
  return essence((await promisify(execFile)('bash', ['-c', ported], { encoding: 'utf8' })).stdout)
}

async function serve (t: Test): Promise<FastifyInstance> {
  const app = await build()
  t.teardown(() => app.close())
  await app.listen({ port: 0 })
  return app
}

/** Scripts with `curl`, and the answers that the pages show after them. */
const SCRIPTS = PAGES.flatMap((page) => {
  const parts = read(page).split(/^```sh\n(?=(?:(?!^```).*\n)*?curl -i )/m).slice(1)
  return parts.map((part) => ({ page, script: part.slice(0, part.indexOf('```')), shown: blocksOf(`\n${part.slice(part.indexOf('```') + 3)}`, 'http') }))
})
const SIGNED = SCRIPTS.filter(({ script }) => script.includes('openssl'))

t.test('each provider has a script', async (t) => {
  t.strictSame(SCRIPTS.map(({ page }) => page).sort(),
    ['README.md', 'docs/altdentifier.md', 'docs/humandetect.md', 'docs/identity-validation.md'])
  t.equal(SIGNED.length, 3)
})

for (const { page, script, shown } of SIGNED) {
  t.test(`${page}: the delivery sent by hand is answered as shown, and refused with one byte changed`, async (t) => {
    const app = await serve(t)
    const [first, second] = shown
    t.equal(await shell(app, script), essence(first!))
    const again = script.slice(script.lastIndexOf('curl'))
    if (page.includes('identity')) {
      t.ok((await shell(app, `${script}\n${again}`)).endsWith(essence(second!)), 'the second time')
    }
    const tampered = script.replace('--data-binary "$body"', '--data-binary "$body "')
    t.not(tampered, script)
    const refused = await shell(app, tampered)
    t.ok(refused.endsWith(FORBIDDEN))
    if (page === 'README.md') t.equal(refused, essence(second!))
  })
}

t.test('docs/humandetect.md: a human signs up as shown, once, and nobody else does', async (t) => {
  const app = await serve(t)
  const { script, shown: [created, refused] } = SCRIPTS.find(({ page }) => page === 'docs/humandetect.md')!
  t.equal(await shell(app, script), essence(created!))

  const again = `${script}\n${script.slice(script.lastIndexOf('curl'))}`
  const bot = script.replace('"}\'', '","human":false}\'')
  const another = script.replace('{\\"email\\":\\"ada@', '{\\"email\\":\\"eve@')
  const madeUp = script.replace('"$token', '"x$token').replace('\\"$token', '\\"x$token')
  t.equal(new Set([script, again, bot, another, madeUp]).size, 5)
  t.ok((await shell(app, again)).endsWith(essence(refused!)), 'the same token again')
  for (const attempt of [bot, another, madeUp]) t.equal(await shell(app, attempt), essence(refused!), attempt)
})

/** Runs a block as a module. Its imports of the package resolve to the code under test, and the test gets the app. */
async function importBlock (t: Test, block: string, { plain = false } = {}): Promise<Record<string, any>> {
  const source = block
    .replace(/'fastify-verification'/g, `'${import.meta.resolve('../../plugins/index.js')}'`)
    .replace(/'fastify-verification\/([\w/-]+)'/g, (_all, name: string) =>
      `'${import.meta.resolve(`../../plugins/${name.replace(/^deliveries/, 'stores')}.js`)}'`)
    .replace('logger: true', 'logger: false')
    .replace('port: 3000', 'port: 0')
    .replace('const app', 'export const app')
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
  })
  const name = `${createHash('sha256').update(block).digest('hex')}.mjs` // distinct for each block, since a module is loaded once only
  const folder = t.testdir({ [name]: plain ? source : outputText })
  const module = await import(`${folder}/${name}`)
  t.teardown(() => module['app']?.close())
  return module
}

/** Sends a body with its headers. */
const send = (app: FastifyInstance, url: string, body: string | Buffer, headers: Record<string, string>) =>
  app.inject({ method: 'POST', url, headers, payload: body })

/** Sends an event like Aghanim. */
function sendAghanim (app: FastifyInstance, url: string, secret: string, event: object, timestamp?: number) {
  const body = JSON.stringify({ event_id: 'whevt_1', ...event })
  return send(app, url, body, signAghanim({ secret, body, timestamp }))
}

t.test('the complete server of the README works, as JavaScript too, with the secrets it names', async (t) => {
  const [start] = blocksOf(read('README.md'), 'sh').filter((block) => block.includes('node server.mjs'))
  for (const [, name, value] of start!.matchAll(/([A-Z_]+)='([^']+)'/g)) process.env[name!] = value!
  const server = example('README.md', 'app.listen')
  const { app } = await importBlock(t, server, { plain: true })
  const { script, shown } = SCRIPTS.find(({ page }) => page === 'README.md')!
  t.equal(await shell(app, script), essence(shown[0]!))
  const body = '{"OP":5}'
  const headers = signAltdentifier({ secret: process.env['ALTDENTIFIER_SECRET']!, body })
  t.equal((await send(app, '/webhooks/altdentifier', body, headers)).statusCode, 204)

  delete process.env['ALTDENTIFIER_SECRET']
  await t.rejects(importBlock(t, `${server}// without a secret`, { plain: true }), /option "secret" must not be empty/)
})

const AGHANIM_SECRET = process.env['AGHANIM_SECRET'] = 'demo-aghanim-secret-of-32-bytes!'

t.test('docs/production.md: two servers that share a Redis handle an event once', { skip: noRedis }, async (t) => {
  process.env['REDIS_URL'] = (await startRedis(t)).url
  const secret = process.env['ALTDENTIFIER_SECRET'] = 'demo-altdentifier-secret'
  const source = example('docs/production.md', 'redisDeliveries')
  const body = JSON.stringify({ OP: 5 })
  for (const replayed of [undefined, 'true']) {
    const { app } = await importBlock(t, `${source}// server ${replayed}`)
    const reply = await send(app, '/altdentifier', body, signAltdentifier({ secret, body }))
    t.equal(reply.statusCode, 204)
    t.equal(reply.headers['idempotency-replayed'], replayed)
  }
})

const QUEUES = 'docs/queue.md'

t.test(`${QUEUES}: the worker processes the jobs that the server adds`, { skip: noRedis }, async (t) => {
  process.env['REDIS_URL'] = (await startRedis(t)).url
  const secret = process.env['ALTDENTIFIER_SECRET'] = 'demo-altdentifier-secret'
  const { app } = await importBlock(t, example(QUEUES, 'app.listen'))
  await importBlock(t, example(QUEUES, 'delivery.kind === '))
  const body = JSON.stringify({ OP: 1, member: MEMBER, guild: GUILD })
  t.equal((await send(app, '/altdentifier', body, signAltdentifier({ secret, body }))).statusCode, 204)
  const { app: metrics } = await importBlock(t, example(QUEUES, 'exportPrometheusMetrics'))
  const count = async () => (await metrics.inject('/metrics/queue')).body
  while (!(await count()).includes('bullmq_job_count{queue="verification", state="completed"} 1'));
  for (const state of ['failed', 'waiting', 'delayed']) t.match(await count(), `state="${state}"} 0`)
})

t.test(`${QUEUES}: dead letters are listed and retried; queues in order are processed`, { skip: noRedis }, async (t) => {
  const { url } = await startRedis(t)
  process.env['REDIS_URL'] = url
  const dead = new Queue('verification', { connection: { url } })
  t.teardown(() => dead.close())
  const { id } = await dead.add('x', { version: 0, provider: 'altdentifier', kind: 'passed' })
  const { workers, close } = createWorker('verification', () => {}, { connection: { url } })
  while (await dead.getFailedCount() === 0);
  await close()
  t.equal(workers.length, 1)
  const print = t.capture(console, 'log', () => {})
  await importBlock(t, example(QUEUES, 'listDeadLetters'))
  t.match(print.args(), [[/^\d{4}-.*Z$/, 'altdentifier', 'passed', id, '1 attempts: not a delivery of version 1']])
  t.equal(await dead.getWaitingCount(), 1)

  const { queues, work } = await importBlock(t, example(QUEUES, 'names.map'))
  t.teardown(() => Promise.all(queues.map((queue: Queue) => queue.close())))
  const sixteenth = new Queue('verification-15', { connection: { url } })
  t.teardown(() => sixteenth.close())
  await sixteenth.add('x', { version: 1, id: 'y', kind: 'passed' })
  const ordered = work()
  t.equal(ordered.workers.length, 16)
  while (await sixteenth.getCompletedCount() === 0);
  await ordered.close()
  t.match(print.args(), [['passed', 'y']])
})

t.test('docs/several-instances.md: a new secret is read from a file while the server runs', async (t) => {
  const [old, next] = ['the old secret of aghanim, of 32 bytes', 'the next secret of aghanim, of 32 bytes']
  const folder = mkdtempSync(join(tmpdir(), 'secrets-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = process.env['AGHANIM_SECRETS_FILE'] = join(folder, 'secrets')
  writeFileSync(file, `${old}\n`)
  const { app } = await importBlock(t, example('docs/several-instances.md', 'SIGHUP'))
  t.teardown(() => process.removeAllListeners('SIGHUP'))
  const statusOf = async (secret: string) => (await sendAghanim(app, '/aghanim', secret, VERIFY_EVENT)).statusCode
  t.strictSame([await statusOf(old), await statusOf(next)], [401, 403])
  for (const [content, statuses] of [[`${old}\n${next}\n`, [401, 401]], [next, [403, 401]]] as const) {
    writeFileSync(file, content)
    process.emit('SIGHUP')
    while (await statusOf(old) !== statuses[0] || await statusOf(next) !== statuses[1]);
  }
  rmSync(file)
  process.emit('SIGHUP')
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame([await statusOf(old), await statusOf(next)], [403, 401], 'without a file they do not change')
})

t.test('docs/aghanim.md: a banned player may log in, and not buy', async (t) => {
  const { app } = await importBlock(t, example('docs/aghanim.md', 'deny({'))
  const ask = (trigger: string) => sendAghanim(app, '/aghanim', AGHANIM_SECRET, { ...VERIFY_EVENT, trigger })
  t.match((await ask('hub.login')).json(), { player_id: '2D2R-OP3C', banned: true })
  const denied = await ask('hub.purchase')
  t.equal(denied.statusCode, 403)
  t.strictSame(denied.json(), { status: 'error', code: 'banned', message: 'Banned' })
  const other = await sendAghanim(app, '/aghanim', AGHANIM_SECRET, { event_type: 'item.add', event_data: {} })
  t.strictSame(other.json(), { status: 'ok' })
})

t.test('docs/aghanim.md: an event with a custom schema is verified and typed', async (t) => {
  const { app } = await importBlock(t, example('docs/aghanim.md', 'aghanimOptions'))
  const event = { ...VERIFY_EVENT, event_data: { provider: 'apple', subject: 'Beebee-Ate' } }
  const reply = await sendAghanim(app, '/aghanim', AGHANIM_SECRET, event)
  t.strictSame(reply.json(), { player_id: 'apple:Beebee-Ate', name: 'Beebee-Ate', attributes: { level: 1 } })
})

const SESSIONS = '/identity-validation/sessions'

/** Sends a session with an api-key and its secret. */
function sendSession (app: FastifyInstance, apiKey: string, secret: string, session: object, id: string) {
  const body = JSON.stringify({ event_id: 'identity-session-status-changed', session, idempotency_key: id })
  return send(app, SESSIONS, body, signIdentityValidation({ apiKey, secret, endpoint: SESSIONS, body }))
}

t.test('docs/identity-validation.md: a stricter custom schema is applied', async (t) => {
  const [apiKey, secret] = ['key', Buffer.alloc(32, 1).toString('base64')]
  Object.assign(process.env, { IDENTITY_API_KEY: apiKey, IDENTITY_API_SECRET: secret })
  const { app } = await importBlock(t, example('docs/identity-validation.md', 'identityValidationOptions'))
  t.equal((await sendSession(app, apiKey, secret, { id: 'iss-1', status: 'VERIFIED' }, 'a')).statusCode, 204)
  t.match((await sendSession(app, apiKey, secret, { id: '', status: 'VERIFIED' }, 'b')).json(),
    { statusCode: 400, code: 'FST_VERIFICATION_INVALID_PAYLOAD' })
})

t.test('a guarded route and a custom token service work together', async (t) => {
  const secret = process.env['TOKEN_SECRET'] = 'a secret of at least 24 bytes'
  process.env['HUMANDETECT_API_KEY'] = 'demo-humandetect-key'
  const { app: service } = await importBlock(t, example('docs/humandetect.md', 'humandetectApiPlugin'))
  process.env['HUMANDETECT_BASE_URL'] = await service.listen({ port: 0 })
  const guard = example('README.md', 'requireHuman').replace('BASE_URL!', 'BASE_URL!, allowHttp: true')
  const { app } = await importBlock(t, guard)
  const payload = { email: 'ada@example.com', token: issueToken({ secret, identifier: 'ada@example.com', human: true }) }
  t.strictSame((await app.inject({ method: 'POST', url: '/signup', payload })).json(), { human: true })
  t.equal((await app.inject({ method: 'POST', url: '/signup', payload })).statusCode, 403)
})

t.test('signing and verifying give the results in the comments', async (t) => {
  const block = example('README.md', 'verifyAghanim')
  const calls = [...block.matchAll(/^(verifyAghanim\(.*\)) \/\/ (.*)$/gm)]
  t.equal(calls.length, 2)
  const exported = calls.reduce((text, [line, call], index) => text.replace(line, `export const result${index} = ${call}`), block)
  const results = await importBlock(t, exported)
  t.strictSame(results['result0'], { ok: true, secretIndex: 0 })
  t.strictSame(results['result1'], { ok: false, reason: 'mismatch' })
  t.match(calls[0]![2], 'ok: true, secretIndex: 0')
  t.match(calls[1]![2], "ok: false, reason: 'mismatch'")
})

const TENANTS = 'docs/multi-tenant.md'

t.test(`${TENANTS}: each Discord server has its secret, and can only send events about itself`, async (t) => {
  const { app, guilds } = await importBlock(t, example(TENANTS, 'verified: Set'))
  const [[one, { secret, verified }], [another, other]] = [...guilds] as [[string, any], [string, any]]
  t.equal(one, GUILD.id)
  const body = JSON.stringify({ OP: 1, member: MEMBER, guild: GUILD })
  const headers = signAltdentifier({ secret, body })
  t.equal((await send(app, `/altdentifier/${one}`, body, headers)).statusCode, 204)
  t.strictSame([...verified], [MEMBER.id])

  const refused = [await send(app, `/altdentifier/${another}`, body, headers), await send(app, '/altdentifier/1', body, headers)]
  t.strictSame(refused.map(({ body }) => body), [FORBIDDEN, FORBIDDEN], 'that secret is accepted for no other, and no other for it')
  const theirs = await send(app, `/altdentifier/${another}`, body, signAltdentifier({ secret: other.secret, body }))
  t.equal(theirs.statusCode, 204)
  t.strictSame([...other.verified], [], 'about another server')
  const test = '{"OP":5}'
  t.equal((await send(app, `/altdentifier/${one}`, test, signAltdentifier({ secret, body: test }))).statusCode, 204)
})

t.test(`${TENANTS}: with a queue, a Discord server can only send events about itself, too`, { skip: noRedis }, async (t) => {
  process.env['REDIS_URL'] = (await startRedis(t)).url
  const { app, queue } = await importBlock(t, example(TENANTS, 'enqueue(queue)'))
  t.teardown(() => queue.close())
  await queue.waitUntilReady()
  const secret = 'the signature of one server'
  for (const guild of [GUILD, { ...GUILD, id: '81384788765712384' }]) {
    const body = JSON.stringify({ OP: 1, member: MEMBER, guild })
    const sent = await send(app, `/altdentifier/${GUILD.id}`, body, signAltdentifier({ secret, body }))
    t.equal(sent.statusCode, 204)
  }
  const jobs = await queue.getWaiting()
  const found = jobs.map(({ data: { params, event } }: any) => [params, event.guild.id])
  t.strictSame(found, [[{ guild: GUILD.id }, GUILD.id]])
})

t.test(`${TENANTS}: each game has its secret, players and path`, async (t) => {
  const { app, games } = await importBlock(t, example(TENANTS, 'aghanimPlugin'))
  const ask = (path: string, { secret }: { secret: string }, id: string | null = games.chess.gameId) =>
    sendAghanim(app, `/games/${path}/aghanim`, secret, { ...VERIFY_EVENT, event_data: { player_id: 'p1' }, game_id: id })
  t.equal((await ask('chess', games.chess)).json().name, 'Ada')
  t.equal((await ask('chess', games.chess, null)).json().name, 'Ada')
  t.equal((await ask('chess', games.chess, 'gm_other')).statusCode, 401)
  t.equal((await ask('chess', games.checkers)).body, FORBIDDEN)
  t.equal((await ask('checkers', games.checkers)).statusCode, 401)
})

t.test(`${TENANTS}: each api-key has its secrets, old and new, and its tenant`, async (t) => {
  const { app, tenants, sessions } = await importBlock(t, example(TENANTS, 'identityValidationPlugin'))
  const [[shop, { secret }], [bank, { secret: [old, next] }]] = [...tenants] as [[string, any], [string, any]]
  const session = { id: 'iss-1', status: 'VERIFIED' }
  for (const [apiKey, secretOf, id] of [[shop, secret, 'a'], [bank, old, 'a'], [bank, next, 'b']]) {
    t.equal((await sendSession(app, apiKey, secretOf, session, id)).statusCode, 204)
  }
  t.strictSame(sessions, ['shop', 'bank', 'bank'].map((name) => `${name}: iss-1 is VERIFIED`))
  t.equal((await sendSession(app, shop, old, session, 'c')).body, FORBIDDEN)
  t.equal((await sendSession(app, 'key-of-nobody', secret, session, 'd')).body, FORBIDDEN)
})

const ROWS = 'docs/from-a-row-to-a-player.md'

/** Decimal like those of decimal.js and Prisma. */
class Decimal {
  readonly #text: string
  constructor (text: string) { this.#text = text }
  toNumber () { return Number(this.#text) }
  toJSON () { return this.#text }
}

t.test(`${ROWS}: rows of pg, objects of Prisma and documents of Mongoose admit their player`, async (t) => {
  const { fromRow } = await importBlock(t, example(ROWS, 'fromRow'))
  const { fromPrisma } = await importBlock(t, example(ROWS, 'fromPrisma'))
  const { fromDocument } = await importBlock(t, example(ROWS, 'fromDocument'))
  const document = { // must not expose its virtuals and its version
    player_id: 'p1', secret: 'canary', toJSON: () => ({ _id: 'x', __v: 0, player_id: 'p1', name: 'Ada', attributes: { level: 3 } })
  }
  const id = { toString: () => 'p1' }
  const cases: [result: unknown, player: object | undefined][] = [
    [fromRow({ id: 'p1', nickname: 'Ada', level: 3, gold: '10.50', country: null, banned: null }),
      { attributes: { level: 3, soft_currency_amount: 10.5 } }],
    [fromRow({ id: 'p1', nickname: 'Ada', level: 3, gold: null, country: 'US', banned: true }), { country: 'US', banned: true }],
    [fromPrisma({ id: 'p1', nickname: 'Ada', level: 3, gold: new Decimal('10.50'), gems: 7n, country: null }),
      { attributes: { level: 3, soft_currency_amount: 10.5, hard_currency_amount: 7 } }],
    [fromPrisma({ id: 'p1', nickname: 'Ada', level: 3, gold: null, gems: 0n, country: 'US' }),
      { attributes: { level: 3, hard_currency_amount: 0 }, country: 'US' }],
    [fromDocument({ _id: id, nickname: 'Ada', stats: { level: 3 } }), {}],
    [fromDocument({ _id: id, nickname: 'Ada', stats: { level: 3 }, tags: ['vip'] }), { segments: ['vip'] }],
    [document, {}],
    [undefined, undefined]
  ]
  for (const [result, player] of cases) {
    const app = Fastify()
    t.teardown(() => app.close())
    app.register(aghanimPlugin, { secret: AGHANIM_SECRET, verifyPlayer: () => result as null })
    const reply = await sendAghanim(app, '/aghanim', AGHANIM_SECRET, { event_type: 'player.verify', event_data: { player_id: 'p1' } })
    t.strictSame([reply.statusCode, player && reply.json()], player === undefined
      ? [401, undefined]
      : [200, { player_id: 'p1', name: 'Ada', attributes: { level: 3 }, ...player }])
  }
})

const MIGRATION = 'docs/migration.md'
const ROUTE = '/webhooks/aghanim'
const DAY = 86_400 // in seconds
const seconds = () => Math.floor(Date.now() / 1000)
const PLAYER_EVENT = { event_type: 'player.verify', event_data: { player_id: 'p1' } }

interface Migrated { app: FastifyInstance, players: Map<string, unknown>, items: unknown[] }

/** Situations of a server, in the words of the page's table. */
const HAPPENINGS: Readonly<Record<string, (server: Migrated, load: () => Promise<Migrated>) => Promise<string>>> = {
  async 'an item is sent twice, as after a lost answer' ({ app, items }) {
    const event = { event_type: 'item.add', event_data: { sku: 'gems' }, event_id: 'whevt_twice' }
    for (let i = 0; i < 2; i++) await sendAghanim(app, ROUTE, AGHANIM_SECRET, event)
    return `added ${['never', 'once', 'twice'][items.length]}`
  },
  async 'a delivery of yesterday is sent again' ({ app }) {
    return String((await sendAghanim(app, ROUTE, AGHANIM_SECRET, PLAYER_EVENT, seconds() - DAY)).statusCode)
  },
  async 'bytes that are not UTF-8 are changed' ({ app }) {
    const body = Buffer.from(JSON.stringify({ event_id: 'whevt_1', ...PLAYER_EVENT, request_id: '\ufffd' }))
    const headers = signAghanim({ secret: AGHANIM_SECRET, body })
    const at = body.indexOf('\ufffd')
    const changed = Buffer.concat([body.subarray(0, at), Buffer.of(0xff), body.subarray(at + 3)])
    return String((await send(app, ROUTE, changed, headers)).statusCode)
  },
  async 'the secret is not set, and the sender signs with none' (_server, load) {
    delete process.env['AGHANIM_SECRET']
    try {
      const { app } = await load()
      await app.ready()
      const body = Buffer.from(JSON.stringify({ event_id: 'whevt_1', ...PLAYER_EVENT }))
      const timestamp = String(seconds())
      // Signs with an empty key, which the plugins' own functions refuse.
      const { createHmac } = await import('node:crypto')
      const signature = createHmac('sha256', '').update(`${timestamp}.`).update(body).digest('hex')
      return String((await send(app, ROUTE, body, {
        'content-type': 'application/json', 'x-aghanim-signature': signature, 'x-aghanim-signature-timestamp': timestamp
      })).statusCode)
    } catch {
      return 'does not start'
    } finally {
      process.env['AGHANIM_SECRET'] = AGHANIM_SECRET
    }
  },
  async 'signed, but without `event_data`' ({ app }) {
    return String((await sendAghanim(app, ROUTE, AGHANIM_SECRET, { event_type: 'player.verify' })).statusCode)
  },
  async 'no signature, and no JSON' ({ app }) {
    return String((await send(app, ROUTE, '{', { 'content-type': 'application/json' })).statusCode)
  },
  async 'the database fails' ({ app, players }) {
    players.get = () => { throw new Error('password of the database') }
    const reply = await sendAghanim(app, ROUTE, AGHANIM_SECRET, PLAYER_EVENT)
    if (reply.statusCode !== 500) return `answered ${reply.statusCode}`
    return reply.body.includes('password') ? 'its message is sent' : 'a fixed text'
  }
}

t.test(`${MIGRATION}: the mistakes of a manual check, and their results here, are those of the table`, async (t) => {
  const rows = tableOf(read(MIGRATION), '## What is wrong with it')
  t.strictSame(rows.map(([name]) => name), Object.keys(HAPPENINGS).map((name) => name.replaceAll('`', '')))
  const blocks = [example(MIGRATION, 'createHmac'), example(MIGRATION, 'aghanimPlugin')]
  for (const [index, happening] of Object.values(HAPPENINGS).entries()) {
    const [name, ...told] = rows[index]!
    for (const [side, block] of blocks.entries()) {
      let loads = 0
      const load = async () => await importBlock(t, `${block}// ${index} ${loads++}`) as unknown as Migrated
      t.equal(await happening(await load(), load), told[side], `${name}, ${['by hand', 'here'][side]}`)
    }
  }
})

t.test(`${MIGRATION}: an honest delivery has the same answer on both sides`, async (t) => {
  for (const text of ['createHmac', 'aghanimPlugin']) {
    const { app } = await importBlock(t, `${example(MIGRATION, text)}// honest`)
    const reply = await sendAghanim(app, ROUTE, AGHANIM_SECRET, PLAYER_EVENT)
    t.equal(reply.statusCode, 200)
    t.strictSame(reply.json(), { player_id: 'p1', name: 'Ada', attributes: { level: 2 } })
    const unknown = { ...PLAYER_EVENT, event_data: { player_id: 'p2' } }
    t.equal((await sendAghanim(app, ROUTE, AGHANIM_SECRET, unknown)).statusCode, 401)
  }
})

t.test('the page about custom providers shows the tested ones unchanged', async (t) => {
  const blocks = blocksOf(read('docs/your-own-provider.md'), 'ts')
  const fileOf = (name: string) => read(`test/support/own-providers/${name}.ts`)
    .replace('../../../plugins/provider.js', 'fastify-verification/provider')
  t.strictSame([blocks[0], blocks[2]], [fileOf('github'), fileOf('stripe')])
})

t.test("a provider's check of the URL, with its plugin", async (t) => {
  process.env['GITHUB_WEBHOOK_SECRET'] = AGHANIM_SECRET
  const block = blocksOf(read('docs/your-own-provider.md'), 'ts').find((text) => text.includes('app.get('))!
  const github = import.meta.resolve('../support/own-providers/github.js')
  const { app } = await importBlock(t, block.replace('./github.js', github))
  const url = '/webhooks/github'
  t.strictSame((await app.inject({ method: 'GET', url })).json(), { ok: true })
  t.equal((await app.inject({ method: 'HEAD', url })).statusCode, 200)
  t.equal((await app.inject({ method: 'POST', url, payload: {} })).body, FORBIDDEN)
})
