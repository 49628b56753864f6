import Fastify, { LogController, type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { randomBytes } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { Type, type Static } from '@sinclair/typebox'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { Registry } from 'prom-client'
import { createSamples } from './examples/deliveries-page/samples.js'
import { deliveriesPage } from './examples/deliveries-page/server.js'
import { FILES_REQUIRED, tellItem, tellMember, tellPlayer, tellSession } from './examples/messages.js'
import { QUEUE_NAME } from './examples/worker.js'
import {
  aghanimPlugin, altdentifierPlugin, humandetectApiPlugin, humandetectPlugin, identityValidationPlugin, issueToken,
  openToken, redisDeliveries, type HumanDetectApiOptions, type Player
} from './plugins/index.js'
import { collectMetrics } from './plugins/metrics.js'
import { enqueue } from './plugins/queue.js'
import { DEMO, DEMO_TOKEN_SECRET } from './cli/demo.js'
import { GuardErrorResponses } from './schemas/humandetect.js'

/** What `/docs` says beside what the routes say themselves. */
const API = {
  openapi: '3.1.0',
  info: {
    title: 'The example server of fastify-verification',
    version: '1.0.0',
    description: 'Deliveries are signed, which this page cannot do: what it sends to a webhook is refused. To sign up, ' +
      'ask `/humandetect/demo-token` for a token first.'
  },
  tags: ['AltDentifier', 'Aghanim', 'Identity validation', 'HumanDetect', 'Example'].map((name) => ({ name }))
}
const API_PAGE = {
  uiConfig: { deepLinking: true, showCommonExtensions: true },
  // Without the form for other documents, and the column for links, of which there are none.
  theme: { css: [{ filename: 'page.css', content: '.download-url-wrapper, .response-col_links { display: none !important }' }] }
}
const LOOPBACK = new Set(['127.0.0.1', '::1', 'localhost'])

/** The players of the demo game: the one of Aghanim's own example. */
const PLAYERS = new Map<string, Player>([
  ['2D2R-OP3C', { player_id: '2D2R-OP3C', name: 'Beebee-Ate', attributes: { level: 2 }, country: 'US' }]
])

type Env = Readonly<Record<string, string | undefined>>

/** The settings of the environment, with demo secrets where it gives none and no stranger can reach the server. */
export function readEnv (env: Env) {
  const host = env['HOST'] || '127.0.0.1'
  const port = Number(env['PORT'] || 3000)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error('PORT must be a number from 0 to 65535')

  const missing = Object.entries(DEMO).filter(([name, value]) => !env[name] || env[name] === value)
  const names = missing.map(([name]) => name).join(', ')
  if (missing.length > 0 && env['NODE_ENV'] === 'production') throw new Error(`production needs ${names}`)
  if (missing.length > 0 && !LOOPBACK.has(host)) throw new Error(`to serve on ${host}, set ${names}`)

  if (env['QUEUE'] && !env['REDIS_URL']) throw new Error('QUEUE needs REDIS_URL')

  const given = (name: keyof typeof DEMO): string => env[name] || DEMO[name]
  /** The one in use first: by the order, metrics tell which of them deliveries are signed with. */
  const live = (name: keyof typeof DEMO, next: string | undefined): string[] => [given(name), ...next ? [next] : []]
  const isPrivate = env['NODE_ENV'] !== 'production' && LOOPBACK.has(host)
  return {
    host,
    port,
    altdentifierSecret: live('ALTDENTIFIER_SECRET', env['ALTDENTIFIER_SECRET_NEXT']),
    aghanimSecret: live('AGHANIM_SECRET', env['AGHANIM_SECRET_NEXT']),
    identityKeys: { [given('IDENTITY_API_KEY')]: live('IDENTITY_API_SECRET', env['IDENTITY_API_SECRET_NEXT']) },
    humandetectKey: given('HUMANDETECT_API_KEY'),
    /** Undefined for the Token Verification API of this very program. */
    humandetectUrl: env['HUMANDETECT_BASE_URL'] || undefined,
    /** Undefined for this program's memory. */
    redisUrl: env['REDIS_URL'] || undefined,
    /** Whether deliveries are worked on by `npm run worker`. */
    isQueued: Boolean(env['QUEUE']),
    /** Whether nobody but its developer can ask: who asks is given tokens, and shown what comes in. */
    isPrivate,
    /** Known to everyone only where anybody is given a token anyway. */
    tokenSecret: env['HUMANDETECT_TOKEN_SECRET'] ||
      (isPrivate ? DEMO_TOKEN_SECRET : randomBytes(32).toString('base64')),
    /** The demo secrets in use, as lines for a shell. */
    madeUp: missing.map(([name, value]) => `export ${name}='${value}'`)
  }
}

const SignupSchema = Type.Object({
  email: Type.String({ minLength: 3 }),
  token: Type.Optional(Type.Unknown({ description: 'Checked by the guard; a string here would be coerced first' }))
}, { examples: [{ email: 'ada@example.com', token: 'from /humandetect/demo-token' }] })
const DemoTokenSchema = Type.Object({
  identifier: Type.String({ minLength: 1, maxLength: 320, description: 'Whom it is about' }),
  human: Type.Optional(Type.Boolean({ description: 'false: the token of a bot' }))
}, { examples: [{ identifier: 'ada@example.com', human: true }] })
const StatusSchema = (status: string, description: string) =>
  Type.Object({ status: Type.Literal(status) }, { description })

/** A log to read on a terminal; elsewhere it stays JSON. */
export function loggerFor (stream: { isTTY?: boolean }): NonNullable<FastifyServerOptions['logger']> {
  const options = { ignore: 'pid,hostname,reqId', translateTime: 'SYS:HH:MM:ss' }
  return stream.isTTY ? { transport: { target: 'pino-pretty', options } } : true
}

/** The whole server, ready to listen or to be injected into. */
export async function build (env: Env = {}, options: FastifyServerOptions = {}): Promise<FastifyInstance> {
  const app = Fastify({
    logController: new LogController({ disableRequestLogging: true }),
    return503OnClosing: false, // what still comes in on a connection that a proxy keeps is handled, and closes it
    requestTimeout: 20_000,
    http: { headersTimeout: 5000, connectionsCheckingInterval: 1000 },
    ...options
  })
  limitShutdown(app)
  try {
    await assemble(app, env)
  } catch (error) {
    await app.close() // a connection to Redis keeps a process alive
    throw error
  }
  return app
}

async function assemble (app: FastifyInstance, env: Env): Promise<void> {
  const {
    altdentifierSecret, aghanimSecret, identityKeys, humandetectKey, humandetectUrl, redisUrl, isQueued, isPrivate,
    tokenSecret
  } = readEnv(env)
  // Before the routes, which it describes.
  await app.register(swagger, { openapi: API })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: true, ...API_PAGE })
  const redis = redisUrl === undefined ? undefined : openRedis(app, redisUrl)
  const deliveries = redis && redisDeliveries({ client: redis })
  const later = isQueued ? enqueue(openQueue(app, redisUrl!)) : undefined
  if (isPrivate) await app.register(deliveriesPage, { samples: createSamples(env) })

  app.register(altdentifierPlugin, {
    prefix: '/webhooks',
    secret: altdentifierSecret,
    handleEvent: later ?? ((event, request) => request.log.info(tellMember(event)))
  })

  app.register(aghanimPlugin, {
    prefix: '/webhooks',
    secret: aghanimSecret,
    deliveries,
    verifyPlayer (event, request) {
      const player = PLAYERS.get(event.event_data.player_id) ?? null
      request.log.info(tellPlayer(event, player))
      return player
    },
    handleEvent: later ?? ((event, request) => request.log.info(tellItem(event)))
  })

  app.register(identityValidationPlugin, {
    prefix: '/webhooks',
    apiKeys: identityKeys,
    deliveries,
    handleSession: later ?? ((notification, request) => request.log.info(tellSession(notification))),
    handleRequiredFiles: later ?? ((_notification, request) => request.log.info(FILES_REQUIRED))
  })

  // Tokens in place of those an SDK would make.
  const tokenService: HumanDetectApiOptions = {
    apiKeys: [humandetectKey],
    verifyToken: (token) => openToken({ secret: tokenSecret, token })
  }
  app.register(humandetectApiPlugin, tokenService)
  if (isPrivate) {
    app.post<{ Body: Static<typeof DemoTokenSchema> }>('/humandetect/demo-token', {
      schema: {
        tags: ['Example'],
        summary: 'A token for trying things out',
        body: DemoTokenSchema,
        response: { 200: Type.Object({ token: Type.String() }, { description: 'Good for one use' }) }
      }
    }, ({ body: { identifier, human = true } }) => ({ token: issueToken({ secret: tokenSecret, identifier, human }) }))
  }

  await app.register(humandetectPlugin, {
    apiKey: humandetectKey,
    deliveries,
    baseUrl: humandetectUrl ?? await serveTokens(app, tokenService),
    allowHttp: true,
    handleResult: (_result, request) => request.log.info('HumanDetect: a human was verified')
  })
  app.post<{ Body: Static<typeof SignupSchema> }>('/signup', {
    schema: {
      tags: ['Example'],
      summary: 'Sign up, for humans only',
      body: SignupSchema,
      response: { 201: StatusSchema('created', 'A human has signed up'), ...GuardErrorResponses }
    },
    preHandler: app.humandetect.requireHuman({ identifier: ({ body }) => body.email })
  }, async (request, reply) => {
    request.log.info('HumanDetect: a human signed up')
    reply.code(201)
    return { status: 'created' }
  })

  app.get('/health', {
    schema: { tags: ['Example'], summary: 'Whether it runs', response: { 200: StatusSchema('ok', 'It runs') } }
  }, () => ({ status: 'ok' }))
  app.get('/ready', {
    schema: {
      tags: ['Example'],
      summary: 'Whether it could handle a delivery now: asked once, before the next server is restarted',
      response: { 200: StatusSchema('ok', 'It could'), 503: StatusSchema('waiting', 'Redis cannot be reached') }
    }
  }, (_request, reply) => {
    if (redis === undefined || redis.status === 'ready') return { status: 'ok' as const }
    return reply.code(503).send({ status: 'waiting' })
  })
  serveMetrics(app)
  await app.ready()
}

/** In a registry of its own, since tests have several servers in one process. */
function serveMetrics (app: FastifyInstance): void {
  const registry = new Registry()
  app.addHook('onClose', collectMetrics({ registry }))
  app.get('/metrics', {
    schema: { tags: ['Example'], summary: 'What became of deliveries, for Prometheus' }
  }, async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()))
}

/** What is shared by all processes that are given the same Redis. */
function openRedis (app: FastifyInstance, url: string): Redis {
  const client = new Redis(url, { maxRetriesPerRequest: 1, lazyConnect: true })
  app.addHook('onReady', () => soon(client.connect())) // if that fails, the store tells of it
  app.addHook('onClose', () => client.disconnect())
  return client
}

/** For `npm run worker`. It fails at once while Redis is away, so that the sender comes again. */
function openQueue (app: FastifyInstance, url: string): Queue {
  const queue = new Queue(QUEUE_NAME, { connection: { url, enableOfflineQueue: false } })
  queue.on('error', () => {}) // which the store tells of
  const connected = soon(queue.waitUntilReady())
  app.addHook('onReady', () => connected)
  app.addHook('onClose', async () => {
    await connected // one that is closed while it connects rejects what nobody handles
    await queue.close()
  })
  return queue
}

/** So that a server that listens can handle deliveries, and one whose Redis is away listens nevertheless. */
async function soon (connected: Promise<unknown>): Promise<void> {
  await Promise.race([connected.catch(() => {}), sleep(1000, undefined, { ref: false })])
}

/** The same service on a port of its own, to be asked from here: where this server listens is not known yet. */
async function serveTokens (app: FastifyInstance, options: HumanDetectApiOptions): Promise<string> {
  const service = Fastify({ forceCloseConnections: true })
  service.register(humandetectApiPlugin, options)
  app.addHook('onClose', () => service.close())
  const address = await service.listen({ port: 0, host: '127.0.0.1' })
  service.server.unref() // if nothing else runs, it has nobody to serve
  return address
}

/** Ends what is left `grace` ms after the server began to close, which half a request would hold up for ever. */
export function limitShutdown (app: FastifyInstance, grace = 20_000): void {
  app.addHook('preClose', async () => { setTimeout(() => app.server.closeAllConnections(), grace).unref() })
}

/** What there is to see in a browser, as lines for a terminal. */
function pages (address: string, isPrivate: boolean): string[] {
  const deliveries = `What comes in, and why it is refused: ${address}/deliveries`
  return [...isPrivate ? [deliveries] : [], `API pages: ${address}/docs`, `Metrics: ${address}/metrics`]
}

/** Listens until a signal ends it. What stands in the way is told in one line. */
export async function main (env: Env, signals: Pick<NodeJS.Process, 'once'> = process): Promise<void> {
  let app: FastifyInstance | undefined
  try {
    const { host, port, madeUp, isPrivate } = readEnv(env)
    app = await build(env, { logger: loggerFor(process.stdout) })
    for (const signal of ['SIGINT', 'SIGTERM'] as const) signals.once(signal, () => app!.close())
    const address = await app.listen({ host, port })
    console.log(['', `Listening on ${address}`, '', ...pages(address, isPrivate), ''].join('\n'))
    if (madeUp.length > 0) console.log(['Demo secrets in use:', ...madeUp, ''].join('\n'))
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
    await app?.close() // a connection to Redis keeps a process alive
  }
}

const program = process.argv[1]
if (program !== undefined && realpathSync(program) === fileURLToPath(import.meta.url)) await main(process.env)
