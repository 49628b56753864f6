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

/** General part of the API documentation at `/docs`. The routes add their own schemas. */
const API = {
  openapi: '3.1.0',
  info: {
    title: 'fastify-verification example server',
    version: '1.0.0',
    description: 'This page cannot sign deliveries, so webhooks reject its requests. To sign up, get a token from ' +
      '`/humandetect/demo-token` first.'
  },
  tags: ['AltDentifier', 'Aghanim', 'Identity validation', 'HumanDetect', 'Example'].map((name) => ({ name }))
}
const API_PAGE = {
  uiConfig: { deepLinking: true, showCommonExtensions: true },
  // Hides the form for other documents and the column for links, which would be empty.
  theme: { css: [{ filename: 'page.css', content: '.download-url-wrapper, .response-col_links { display: none !important }' }] }
}
const LOOPBACK = new Set(['127.0.0.1', '::1', 'localhost'])

/** Players of the demo game: the one in Aghanim's own example. */
const PLAYERS = new Map<string, Player>([
  ['2D2R-OP3C', { player_id: '2D2R-OP3C', name: 'Beebee-Ate', attributes: { level: 2 }, country: 'US' }]
])

type Env = Readonly<Record<string, string | undefined>>

/** Reads settings from the environment. Replaces missing secrets with demo secrets if only this machine has access. */
export function readEnv (env: Env) {
  const host = env['HOST'] || '127.0.0.1'
  const port = Number(env['PORT'] || 3000)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error('PORT must be a number from 0 to 65535')

  const missing = Object.entries(DEMO).filter(([name, value]) => !env[name] || env[name] === value)
  const names = missing.map(([name]) => name).join(', ')
  if (missing.length > 0 && env['NODE_ENV'] === 'production') throw new Error(`in production, set ${names}`)
  if (missing.length > 0 && !LOOPBACK.has(host)) throw new Error(`to serve on ${host}, set ${names}`)

  if (env['QUEUE'] && !env['REDIS_URL']) throw new Error('QUEUE requires REDIS_URL')

  const given = (name: keyof typeof DEMO): string => env[name] || DEMO[name]
  /** Lists the current secret first. Metrics show by this index which secret signs deliveries. */
  const live = (name: keyof typeof DEMO, next: string | undefined): string[] => [given(name), ...next ? [next] : []]
  const isPrivate = env['NODE_ENV'] !== 'production' && LOOPBACK.has(host)
  return {
    host,
    port,
    altdentifierSecret: live('ALTDENTIFIER_SECRET', env['ALTDENTIFIER_SECRET_NEXT']),
    aghanimSecret: live('AGHANIM_SECRET', env['AGHANIM_SECRET_NEXT']),
    identityKeys: { [given('IDENTITY_API_KEY')]: live('IDENTITY_API_SECRET', env['IDENTITY_API_SECRET_NEXT']) },
    humandetectKey: given('HUMANDETECT_API_KEY'),
    /** URL of the Token Verification API. Undefined for the one in this program. */
    humandetectUrl: env['HUMANDETECT_BASE_URL'] || undefined,
    /** URL of the delivery store's Redis. Undefined for a store in memory. */
    redisUrl: env['REDIS_URL'] || undefined,
    /** True if `npm run worker` processes the deliveries. */
    isQueued: Boolean(env['QUEUE']),
    /** True if only its developer can reach the server. It then issues tokens to any client and shows deliveries. */
    isPrivate,
    /** Secret of the demo tokens. Publicly known only if the server issues tokens to any client anyway. */
    tokenSecret: env['HUMANDETECT_TOKEN_SECRET'] ||
      (isPrivate ? DEMO_TOKEN_SECRET : randomBytes(32).toString('base64')),
    /** Demo secrets in use, as lines for a shell. */
    madeUp: missing.map(([name, value]) => `export ${name}='${value}'`)
  }
}

const SignupSchema = Type.Object({
  email: Type.String({ minLength: 3 }),
  token: Type.Optional(Type.Unknown({ description: 'Token from the SDK. Any type, since Fastify would coerce it to a string' }))
}, { examples: [{ email: 'ada@example.com', token: 'from /humandetect/demo-token' }] })
const DemoTokenSchema = Type.Object({
  identifier: Type.String({ minLength: 1, maxLength: 320, description: 'Identifier for the token' }),
  human: Type.Optional(Type.Boolean({ description: 'false for the token of a bot' }))
}, { examples: [{ identifier: 'ada@example.com', human: true }] })
const StatusSchema = (status: string, description: string) =>
  Type.Object({ status: Type.Literal(status) }, { description })

/** Returns logger options: readable on a terminal, otherwise JSON. */
export function loggerFor (stream: { isTTY?: boolean }): NonNullable<FastifyServerOptions['logger']> {
  const options = { ignore: 'pid,hostname,reqId', translateTime: 'SYS:HH:MM:ss' }
  return stream.isTTY ? { transport: { target: 'pino-pretty', options } } : true
}

/** Builds the whole server, ready for `listen` or `inject`. */
export async function build (env: Env = {}, options: FastifyServerOptions = {}): Promise<FastifyInstance> {
  const app = Fastify({
    logController: new LogController({ disableRequestLogging: true }),
    return503OnClosing: false, // requests on a proxy's keep-alive connections are still handled, then close them
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
  // Registered before the routes that it documents.
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

  // Provides tokens instead of an SDK.
  const tokenService: HumanDetectApiOptions = {
    apiKeys: [humandetectKey],
    verifyToken: (token) => openToken({ secret: tokenSecret, token })
  }
  app.register(humandetectApiPlugin, tokenService)
  if (isPrivate) {
    app.post<{ Body: Static<typeof DemoTokenSchema> }>('/humandetect/demo-token', {
      schema: {
        tags: ['Example'],
        summary: 'Create a demo token',
        body: DemoTokenSchema,
        response: { 200: Type.Object({ token: Type.String() }, { description: 'A single-use token' }) }
      }
    }, ({ body: { identifier, human = true } }) => ({ token: issueToken({ secret: tokenSecret, identifier, human }) }))
  }

  await app.register(humandetectPlugin, {
    apiKey: humandetectKey,
    deliveries,
    baseUrl: humandetectUrl ?? await serveTokens(app, tokenService),
    allowHttp: true,
    handleResult: (_result, request) => request.log.info('HumanDetect: verified a human')
  })
  app.post<{ Body: Static<typeof SignupSchema> }>('/signup', {
    schema: {
      tags: ['Example'],
      summary: 'Sign up (humans only)',
      body: SignupSchema,
      response: { 201: StatusSchema('created', 'Signed up'), ...GuardErrorResponses }
    },
    preHandler: app.humandetect.requireHuman({ identifier: ({ body }) => body.email })
  }, async (request, reply) => {
    request.log.info('HumanDetect: a human signed up')
    reply.code(201)
    return { status: 'created' }
  })

  app.get('/health', {
    schema: { tags: ['Example'], summary: 'Liveness check', response: { 200: StatusSchema('ok', 'The server is running') } }
  }, () => ({ status: 'ok' }))
  app.get('/ready', {
    schema: {
      tags: ['Example'],
      summary: 'Readiness check',
      response: { 200: StatusSchema('ok', 'The server can handle deliveries'), 503: StatusSchema('waiting', 'Redis is unreachable') }
    }
  }, (_request, reply) => {
    if (redis === undefined || redis.status === 'ready') return { status: 'ok' as const }
    return reply.code(503).send({ status: 'waiting' })
  })
  serveMetrics(app)
  await app.ready()
}

/** Serves metrics from its own registry, since tests run several servers in one process. */
function serveMetrics (app: FastifyInstance): void {
  const registry = new Registry()
  app.addHook('onClose', collectMetrics({ registry }))
  app.get('/metrics', {
    schema: { tags: ['Example'], summary: 'Metrics for Prometheus' }
  }, async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()))
}

/** Opens the Redis client of the delivery store, which all processes with the same Redis share. */
function openRedis (app: FastifyInstance, url: string): Redis {
  const client = new Redis(url, { maxRetriesPerRequest: 1, lazyConnect: true })
  app.addHook('onReady', () => soon(client.connect())) // if that fails, the store logs it
  app.addHook('onClose', () => client.disconnect())
  return client
}

/** Opens the queue for `npm run worker`. Adding fails at once while Redis is unreachable, so the sender retries. */
function openQueue (app: FastifyInstance, url: string): Queue {
  const queue = new Queue(QUEUE_NAME, { connection: { url, enableOfflineQueue: false } })
  queue.on('error', () => {}) // the store logs the error
  const connected = soon(queue.waitUntilReady())
  app.addHook('onReady', () => connected)
  app.addHook('onClose', async () => {
    await connected // closing while it connects would cause an unhandled rejection
    await queue.close()
  })
  return queue
}

/**
 * Waits up to 1,000 ms for a connection. A server that listens can then handle deliveries, but a server whose Redis is
 * unreachable still starts to listen.
 */
async function soon (connected: Promise<unknown>): Promise<void> {
  await Promise.race([connected.catch(() => {}), sleep(1000, undefined, { ref: false })])
}

/** Starts the token service on a separate port for use by this server, whose own address is not known yet. */
async function serveTokens (app: FastifyInstance, options: HumanDetectApiOptions): Promise<string> {
  const service = Fastify({ forceCloseConnections: true })
  service.register(humandetectApiPlugin, options)
  app.addHook('onClose', () => service.close())
  const address = await service.listen({ port: 0, host: '127.0.0.1' })
  service.server.unref() // must not keep the process alive on its own
  return address
}

/**
 * Closes the remaining connections `grace` milliseconds after the server began to close. Default 20,000. Without it, an
 * incomplete request could delay the shutdown forever.
 */
export function limitShutdown (app: FastifyInstance, grace = 20_000): void {
  app.addHook('preClose', async () => { setTimeout(() => app.server.closeAllConnections(), grace).unref() })
}

/** Lists the pages for a browser, as lines for a terminal. */
function pages (address: string, isPrivate: boolean): string[] {
  const deliveries = `Deliveries: ${address}/deliveries`
  return [...isPrivate ? [deliveries] : [], `API docs: ${address}/docs`, `Metrics: ${address}/metrics`]
}

/** Runs the server until a signal ends it. If it cannot start, prints the reason in one line. */
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
