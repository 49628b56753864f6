import express from 'express'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, type FastifySchema } from 'fastify'
import rawBody from 'fastify-raw-body'
import { createHmac, createSecretKey, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createNodeMiddleware, Webhooks } from '@octokit/webhooks'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { Webhook } from 'standardwebhooks'
import {
  aghanimPlugin, altdentifierPlugin, humandetectApiPlugin, identityValidationPlugin, memoryDeliveries, redisDeliveries,
  type DeliveryStore
} from '../plugins/index.js'
import { enqueue } from '../plugins/queue.js'
import { PlayerSchema, PlayerVerifyEventSchema, type PlayerVerifyEvent } from '../schemas/aghanim.js'
import { VerificationPassedSchema } from '../schemas/altdentifier.js'
import { HumanDetectResultSchema, TokenVerificationSchema } from '../schemas/humandetect.js'
import { API_KEY, API_SECRET, PLAYER, SECRET, SessionNotificationSchema } from '../test/support/deliveries.js'
import { PATHS, STANDARD_SECRET, VERDICT, type Provider } from './deliveries.js'
import { fill } from './store.js'

// A server of the benchmarks, in a separate process. All do the same work: they accept a delivery and answer with the
// player (or 204, or the verdict). Those on Fastify have the same schemas. None logs unless `log` is set: then
// Fastify's own log at level info, to /dev/null.

export type ServerKind = 'bare' | 'floor' | 'plugin' | 'raw-body' | 'standardwebhooks' | 'octokit' | 'express'

export interface ServerSettings {
  readonly kind: ServerKind
  readonly provider: Provider
  /** Number of valid secrets of the plugin; the deliveries are signed with the first. Default 1. */
  readonly secrets?: number
  /** Number of registrations of the plugin, each on its own path. Default 1. */
  readonly instances?: number
  /** Number of deliveries in the memory store at the start. Default 0. */
  readonly entries?: number
  /** URL of the Redis that stores deliveries. Default: they are stored in memory. */
  readonly redis?: string | undefined
  /** Name of a queue in that Redis, for notifications of identity validation. Default: no queue. */
  readonly queue?: string
  readonly log?: boolean
}

export interface Usage { /** User and system time of the process, in microseconds. */ cpu: number }

const settings = JSON.parse(process.argv[2]!) as ServerSettings
const PLAYERS = new Map([[PLAYER.player_id, PLAYER]])
const findPlayer = ({ event_data: { player_id: id } }: PlayerVerifyEvent) => PLAYERS.get(id) ?? null
const path = PATHS[settings.provider]

/** Route of each provider, without any verification. */
const ROUTES: Record<Provider, { schema: FastifySchema, handle: (body: never) => unknown }> = {
  aghanim: { schema: { body: PlayerVerifyEventSchema, response: { 200: PlayerSchema } }, handle: findPlayer },
  altdentifier: { schema: { body: VerificationPassedSchema }, handle () {} },
  identity: { schema: { body: SessionNotificationSchema }, handle () {} },
  'humandetect-api': {
    schema: { body: TokenVerificationSchema, response: { 200: HumanDetectResultSchema } }, handle: () => VERDICT
  }
}
const { schema, handle } = ROUTES[settings.provider]

function answer (request: FastifyRequest, reply: FastifyReply): void {
  const result = handle(request.body as never)
  if (result === undefined) reply.code(204)
  reply.send(result)
}

/** Uses Fastify's own JSON parser, validation and serialization, and nothing else. */
function bare (app: FastifyInstance): void {
  app.post(path, { schema }, answer)
}

/** Does the least work on the signed bytes: one MAC over them, compared with nothing, and `JSON.parse`. */
function floor (app: FastifyInstance): void {
  const algorithm = settings.provider === 'altdentifier' ? 'md5' : 'sha256'
  const key = createSecretKey(settings.provider === 'identity' ? Buffer.from(API_SECRET, 'base64') : Buffer.from(SECRET))
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    createHmac(algorithm, key).update(body).digest()
    done(null, JSON.parse(body.toString()))
  })
  app.post(path, { schema }, answer)
}

/** Opens the store and fills it before the server listens. */
async function openStore (): Promise<DeliveryStore> {
  const { redis, entries = 0 } = settings
  if (redis !== undefined) return redisDeliveries({ client: new Redis(redis, { maxRetriesPerRequest: 1 }) })
  const store = memoryDeliveries({ maxEntries: 2 ** 23 })
  await fill(store, entries)
  return store
}

function takeSession (): (notification: unknown, request: FastifyRequest) => unknown {
  const { queue, redis } = settings
  return queue === undefined ? () => {} : enqueue(new Queue(queue, { connection: { url: redis! } }))
}

async function plugin (app: FastifyInstance): Promise<void> {
  const { provider, secrets = 1, instances = 1 } = settings
  const others = Array.from({ length: secrets - 1 }, (_, index) => `another live secret, number ${index}`)
  const secret = [SECRET, ...others]
  for (let index = 0; index < instances; index++) {
    const options = { prefix: index === 0 ? '' : `/${index}` }
    const deliveries = await openStore()
    switch (provider) {
      case 'aghanim': app.register(aghanimPlugin, { ...options, deliveries, secret, verifyPlayer: findPlayer }); break
      case 'altdentifier': app.register(altdentifierPlugin, { ...options, secret, handleEvent () {} }); break
      case 'identity':
        app.register(identityValidationPlugin, {
          ...options, deliveries, apiKeys: { [API_KEY]: API_SECRET }, handleSession: takeSession()
        })
        break
      case 'humandetect-api':
        app.register(humandetectApiPlugin, { ...options, apiKeys: [API_KEY], verifyToken: () => VERDICT })
    }
  }
}

/** Checks Aghanim's signature like code written in an afternoon. */
function isAghanims (headers: IncomingHttpHeaders, body: Buffer): boolean {
  const { 'x-aghanim-signature': signature, 'x-aghanim-signature-timestamp': timestamp } = headers
  if (typeof signature !== 'string' || Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) return false
  const expected = createHmac('sha256', SECRET).update(`${String(timestamp)}.`).update(body).digest()
  const presented = Buffer.from(signature, 'hex')
  return presented.length === expected.length && timingSafeEqual(presented, expected)
}

function onRawBody (app: FastifyInstance): void {
  app.register(rawBody, { global: false, encoding: false, runFirst: true })
  app.after(() => {
    app.post(path, {
      config: { rawBody: true },
      schema,
      preHandler (request, reply, done) {
        if (isAghanims(request.headers, request.rawBody as Buffer)) done()
        else reply.code(403).send({ error: 'Forbidden' })
      }
    }, answer)
  })
}

function onStandardWebhooks (app: FastifyInstance): void {
  const webhook = new Webhook(STANDARD_SECRET)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    try {
      done(null, webhook.verify(body, request.headers as Record<string, string>))
    } catch (error) {
      done(Object.assign(error as Error, { statusCode: 403 }))
    }
  })
  app.post(path, { schema }, answer)
}

function onOctokit (): RequestListener {
  const webhooks = new Webhooks({ secret: SECRET })
  webhooks.on('push', ({ payload }) => { findPlayer(payload as never) })
  return createNodeMiddleware(webhooks, { path })
}

function onExpress (): RequestListener {
  const app = express()
  app.post(path, express.raw({ type: 'application/json' }), (request, response) => {
    if (!isAghanims(request.headers, request.body)) response.status(403).json({ error: 'Forbidden' })
    else response.json(findPlayer(JSON.parse(request.body.toString())))
  })
  return app
}

const ON_FASTIFY = { bare, floor, plugin, 'raw-body': onRawBody, standardwebhooks: onStandardWebhooks }
const ON_NODE = { octokit: onOctokit, express: onExpress }

async function listen (kind: ServerKind): Promise<Server> {
  if (kind === 'octokit' || kind === 'express') {
    const server = createServer(ON_NODE[kind]())
    server.keepAliveTimeout = 72_000 // like Fastify's: a connection may have to wait for its turn
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return server
  }
  const app = Fastify({ logger: settings.log === true && { level: 'info', file: '/dev/null' } })
  await ON_FASTIFY[kind](app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app.server
}

process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send!({ cpu: user + system } satisfies Usage)
})
process.on('disconnect', () => process.exit())
const server = await listen(settings.kind)
process.send!((server.address() as AddressInfo).port)
