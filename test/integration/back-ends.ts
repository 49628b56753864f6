import { AsyncLocalStorage } from 'node:async_hooks'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { aghanimPlugin } from '../../plugins/index.js'
import { now, PROVIDERS, SECRET, VERIFY_EVENT } from '../support/deliveries.js'
import { createHost } from '../support/host.js'
import { createReceiver, ITEM } from '../support/life-cycle.js'
import { createOwn } from '../support/own-providers/mine.js'
import { noPostgres, startPostgres } from '../support/postgres.js'
import { pathOf } from '../support/project.js'

// Drivers, mappers and tracers of real back ends in handlers. Their packages are installed for long runs only.

const BENCH = pathOf('bench/package.json')
const load = createRequire(BENCH)
const skip = existsSync(pathOf('bench/node_modules/pg')) ? false : 'npm run bench:install has not been run'
const [, AGHANIM] = PROVIDERS
const PLAYER = { player_id: '2D2R-OP3C', name: 'Ada', attributes: { level: 2 } }
const PLAYER_REPLY = Type.Object({
  player_id: Type.String(),
  name: Type.String(),
  attributes: Type.Object({ level: Type.Number(), soft_currency_amount: Type.Optional(Type.Number()) }),
  country: Type.Optional(Type.String()),
  email: Type.Optional(Type.String())
})

/** Returns the answers of `player.verify`, and of a custom provider with the same reply, to the result of a handler. */
async function answersOf (test: Test, find: () => unknown) {
  const { app, lines } = createHost(test)
  app.register(aghanimPlugin, { secret: SECRET, now, verifyPlayer: find as never })
  const payload = JSON.stringify(VERIFY_EVENT)
  const verify = await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM!.sign(payload), payload })
  const own = createOwn(test, { reply: PLAYER_REPLY }, { handleEvent: find })
  const replies = [verify, await own.deliver()]
  const problems = [...lines, ...own.lines].flatMap((line) => line['problems'] as string[] ?? [])
  return { replies: replies.map((reply) => [reply.statusCode, reply.json().code ?? reply.json()]), problems }
}

async function comesOutRight (test: Test, find: () => unknown, expected: object = PLAYER): Promise<void> {
  const { replies, problems } = await answersOf(test, find)
  test.strictSame(replies, [[200, expected], [200, expected]])
  test.strictSame(problems, [])
}

/** Checks that both fail, and that the log names each of these paths. */
async function failsWith (test: Test, find: () => unknown, paths: string[]): Promise<void> {
  const { replies, problems } = await answersOf(test, find)
  test.strictSame(replies, Array(2).fill([500, 'FST_VERIFICATION_INVALID_REPLY']))
  test.strictSame(problems.map((problem) => problem.split(':')[0]), [...paths, ...paths])
}

t.test('pg', { skip: skip || noPostgres }, async (t) => {
  const { Client } = load('pg')
  const client = new Client(await startPostgres(t))
  await client.connect()
  t.teardown(() => client.end())
  await client.query(`CREATE TABLE players (
    player_id text, name text, level int, gold numeric, gems bigint, country text, email text, born timestamptz DEFAULT now())`)
  await client.query('INSERT INTO players (player_id, name, level, gold, gems) VALUES ($1, $2, $3, $4, $5)',
    [PLAYER.player_id, PLAYER.name, 2, '1.50', '9007199254740993'])
  const row = async (columns: string) => (await client.query(`SELECT ${columns} FROM players`)).rows[0]
  const SHAPE = "player_id, name, json_build_object('level', level) AS attributes"

  await comesOutRight(t, () => row(`${SHAPE}, country, email`))
  await comesOutRight(t, () => row(`${SHAPE}, country, email, born, gems`), PLAYER)
  await comesOutRight(t, async () => {
    const { gold, level, ...rest } = await row('player_id, name, level, gold')
    return { ...rest, attributes: { level, soft_currency_amount: Number(gold) } }
  }, { ...PLAYER, attributes: { level: 2, soft_currency_amount: 1.5 } })
  await failsWith(t, async () => {
    const { gold, gems, country: name } = await row('gold, gems, country')
    return { player_id: PLAYER.player_id, name, attributes: { level: gems, soft_currency_amount: gold } }
  }, ['/name', '/attributes/level', '/attributes/soft_currency_amount'])
  const { replies } = await answersOf(t, async () => (await client.query('SELECT * FROM players WHERE false')).rows[0])
  t.strictSame(replies[0], [401, 'not_found'])

  for (const work of [
    () => client.query("UPDATE players SET country = 'DE'"),
    async () => (await client.query('UPDATE players SET level = level + 1 RETURNING *')).rows,
    async () => (await client.query('UPDATE players SET level = level + 1')).rowCount,
    async () => (await client.query('SELECT 1 WHERE false')).rows[0]
  ]) {
    let runs = 0
    const { deliver } = createReceiver(t, ITEM, () => { runs++; return work() })
    t.strictSame([(await deliver()).json(), (await deliver()).json(), runs], [{ status: 'ok' }, { status: 'ok' }, 1])
  }
})

t.test('mongoose', { skip }, async (t) => {
  const { Schema, model } = load('mongoose')
  const transform = (_document: unknown, { password, _id, ...shown }: Record<string, unknown>) => shown
  const Player = model('Player', new Schema({
    player_id: String, name: String, attributes: { level: Number }, country: String, email: String, password: String
  }, { toJSON: { transform } }))
  await comesOutRight(t, () => Player.hydrate({ ...PLAYER, country: null, password: 'canary' }))
  await comesOutRight(t, () => Player.hydrate({ ...PLAYER, email: null }).toObject())
  await failsWith(t, () => Player.hydrate({ player_id: PLAYER.player_id, attributes: {} }), ['/name', '/attributes'])
  let runs = 0
  const { deliver } = createReceiver(t, ITEM, () => { runs++; return Player.hydrate({ ...PLAYER, password: 'canary' }) })
  t.strictSame([(await deliver()).json(), (await deliver()).json(), runs], [{ status: 'ok' }, { status: 'ok' }, 1])
})

t.test('sequelize', { skip }, async (t) => {
  const { Sequelize, DataTypes } = load('sequelize')
  const sequelize = new Sequelize({ dialect: 'postgres', logging: false })
  const Player = sequelize.define('player', {
    player_id: { type: DataTypes.STRING, primaryKey: true },
    name: DataTypes.STRING,
    attributes: DataTypes.JSONB,
    country: DataTypes.STRING
  })
  const build = (values: object) => Player.build(values, { isNewRecord: false })
  await comesOutRight(t, () => build({ ...PLAYER, country: null }))
  await failsWith(t, () => build({ ...PLAYER, name: null, attributes: { level: '2' } }), ['/name', '/attributes/level'])
  let runs = 0
  const { deliver } = createReceiver(t, ITEM, () => { runs++; return [build(PLAYER), true] }) // the result of upsert()
  t.strictSame([(await deliver()).json(), (await deliver()).json(), runs], [{ status: 'ok' }, { status: 'ok' }, 1])
})

t.test('an object of Prisma, whose decimals are of decimal.js', { skip }, async (t) => {
  const { Decimal } = load('decimal.js')
  const player = { ...PLAYER, country: null, email: null, createdAt: new Date() }
  await comesOutRight(t, () => player)
  await comesOutRight(t, () => ({ ...player, attributes: { level: new Decimal('2').toNumber(), soft_currency_amount: null } }))
  await failsWith(t, () => ({ ...player, attributes: { level: new Decimal('2.5'), soft_currency_amount: 3n } }),
    ['/attributes/level', '/attributes/soft_currency_amount'])
  await failsWith(t, () => ({ ...player, name: new Date(), email: new Decimal(1), player_id: 7n, attributes: null }),
    ['/player_id', '/attributes'])
})

t.test('a plain DTO', async (t) => {
  class PlayerDto {
    readonly #password: string = 'canary'
    readonly player_id = PLAYER.player_id
    readonly country: string | null = null
    attributes = PLAYER.attributes
    get name (): string { return this.#password === '' ? '' : PLAYER.name }
  }
  await comesOutRight(t, () => new PlayerDto())
  await failsWith(t, () => Object.assign(new PlayerDto(), { attributes: { level: '2' } }), ['/attributes/level'])
})

/** Members of an OpenTelemetry span that the test reads. */
interface Span {
  readonly name: string
  readonly endTime: [seconds: number, nanoseconds: number]
  readonly parentSpanContext?: { readonly spanId: string }
  readonly spanContext: () => { readonly spanId: string, readonly traceId: string }
}

t.test('@fastify/otel: the spans of a handler belong to its request, which ends when the answer is sent', { skip }, async (t) => {
  const { trace, context } = load('@opentelemetry/api')
  const { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } = load('@opentelemetry/sdk-trace-base')
  const { AsyncLocalStorageContextManager } = load('@opentelemetry/context-async-hooks')
  const { FastifyOtelInstrumentation } = load('@fastify/otel')
  const exporter = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  trace.setGlobalTracerProvider(provider)
  t.teardown(() => { context.disable(); trace.disable() })
  const tracer = trace.getTracer('test')
  const instrumentation = new FastifyOtelInstrumentation({ registerOnInitialization: false })
  instrumentation.setTracerProvider(provider)

  const app = Fastify()
  t.teardown(() => app.close())
  const storage = new AsyncLocalStorage<string>()
  app.addHook('onRequest', (_request, _reply, done) => storage.run('of the request', done))
  await app.register(instrumentation.plugin())
  const stored: unknown[] = []
  app.register(aghanimPlugin, {
    secret: SECRET,
    now,
    async verifyPlayer () {
      await sleep(5)
      await tracer.startActiveSpan('work', async (span: { end: () => void }) => {
        await sleep(20)
        stored.push(storage.getStore())
        span.end()
      })
      return PLAYER
    }
  })
  const payload = JSON.stringify({ ...VERIFY_EVENT, idempotency_key: 'k' })
  const reply = await app.inject({ method: 'POST', url: '/aghanim', headers: AGHANIM!.sign(payload), payload })
  t.equal(reply.statusCode, 200)
  await sleep(20)
  const spans: Span[] = exporter.getFinishedSpans()
  const time = ([seconds, nanoseconds]: [number, number]) => seconds * 1000 + nanoseconds / 1e6
  const work = spans.find(({ name }) => name === 'work')!
  const handler = spans.find((span) => span.spanContext().spanId === work.parentSpanContext?.spanId)!
  t.ok(handler, `the work has a parent: ${spans.map(({ name }) => name).join(', ')}`)
  t.match(handler.name, /handler/)
  t.ok(time(handler.endTime) >= time(work.endTime), 'which ends after it')
  t.equal(new Set(spans.map((span) => span.spanContext().traceId)).size, 1)
  t.strictSame(stored, ['of the request'])
})
