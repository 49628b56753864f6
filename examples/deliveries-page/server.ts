import type { FastifyInstance, FastifyRequest } from 'fastify'
import { randomBytes } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { Type, type Static } from '@sinclair/typebox'
import { httpErrors } from '@fastify/sensible'
import fp from 'fastify-plugin'
import type { DeliveryReport } from '../../plugins/lib/telemetry.js'
import { explain } from './reasons.js'
import { propertyNames, redactBody, redactHead, type RedactedRequest } from './redact.js'
import type { Sample } from './samples.js'

export interface DeliveriesPageOptions {
  /** Samples that the page can send. Each one has a button. */
  readonly samples: readonly Sample[]
}

const CHANNEL = 'fastify-verification:delivery'
const MAX_DELIVERIES = 200
const MAX_STREAMS = 20
/** Maximum number of bytes buffered for a slow reader. A reader that exceeds it is disconnected and must reconnect. */
const MAX_WAITING = 1_000_000

const FILES: readonly [path: string, file: string, type: string][] = [
  ['', 'index.html', 'text/html'], ['/page.js', 'page.js', 'text/javascript'], ['/style.css', 'style.css', 'text/css']
]
const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store'
}
/** Hosts of this machine. Any other host name was pointed at this machine by somebody else. */
const OWN_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i

const SampleSchema = Type.Object({ provider: Type.String(), kind: Type.String() })

/** Rejects requests that another site makes a browser send here, through its own host name or across origins. */
function checkOrigin ({ method, headers }: FastifyRequest): void {
  const { host = '', origin } = headers
  const isOwn = OWN_HOST.test(host) && (origin === undefined ? method === 'GET' : origin === `http://${host}`)
  if (!isOwn) throw httpErrors.forbidden('This page is available on this machine only')
}

/**
 * Serves `GET /deliveries`, a live page with the last 200 deliveries of this server. It keeps no secrets. For
 * development only: anybody who can reach the page sees the deliveries and can send samples. Register it before the
 * plugins whose deliveries it should show.
 */
async function servePage (app: FastifyInstance, { samples }: DeliveriesPageOptions): Promise<void> {
  const shown: object[] = []
  const streams = new Set<ServerResponse>()
  const requests = rememberRequests(app)

  const write = (stream: ServerResponse, event: string, data: unknown): void => {
    stream.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
    if (stream.writableLength > MAX_WAITING) stream.destroy()
  }
  const onDelivery = (message: unknown): void => {
    const { keyId, requestId, ...report } = message as DeliveryReport
    const request = requests.take(requestId)
    if (request === undefined) return // from another server in this process
    const delivery = { ...report, at: Date.now(), explanation: explain(report.reason), request }
    shown.push(delivery)
    if (shown.length > MAX_DELIVERIES) shown.shift()
    for (const stream of streams) write(stream, 'delivery', delivery)
  }
  subscribe(CHANNEL, onDelivery)
  app.addHook('preClose', (done) => {
    for (const stream of streams) stream.destroy()
    done()
  })
  app.addHook('onClose', () => { unsubscribe(CHANNEL, onDelivery) })

  await app.register(async (scope) => {
    scope.addHook('onRequest', async (request, reply) => {
      reply.headers(SECURITY_HEADERS)
      checkOrigin(request)
    })
    for (const [path, file, type] of FILES) {
      const text = readFileSync(new URL(file, import.meta.url))
      scope.get(path, { schema: { hide: true } }, (_request, reply) => reply.type(`${type}; charset=utf-8`).send(text))
    }

    scope.get('/events', { schema: { hide: true } }, (_request, reply) => {
      if (streams.size >= MAX_STREAMS) throw httpErrors.serviceUnavailable()
      reply.hijack()
      const stream = reply.raw
      stream.writeHead(200, { ...SECURITY_HEADERS, 'content-type': 'text/event-stream', connection: 'close' })
      streams.add(stream)
      stream.once('close', () => streams.delete(stream))
      write(stream, 'start', {
        samples: samples.map(({ provider, kind }) => ({ provider, kind })), deliveries: shown
      })
    })

    scope.post<{ Body: Static<typeof SampleSchema> }>('/samples', {
      schema: { hide: true, body: SampleSchema }
    }, async ({ body }, reply) => {
      const sample = samples.find(({ provider, kind }) => provider === body.provider && kind === body.kind)
      if (sample === undefined) throw httpErrors.notFound()
      for (const request of sample.requests()) await app.inject(request)
      reply.code(204)
    })
  }, { prefix: '/deliveries' })
}

/**
 * Remembers the redacted requests whose deliveries are not reported yet. Sets request ids that are unique among all
 * servers in this process, since they all report on one channel.
 */
function rememberRequests (app: FastifyInstance) {
  const server = randomBytes(4).toString('hex')
  const requests = new Map<string, RedactedRequest>()
  let count = 0

  app.setGenReqId(() => `${server}-${++count}`)
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.method === 'POST' && !request.is404) {
      requests.set(request.id, redactHead(request))
      if (requests.size > MAX_DELIVERIES) requests.delete(requests.keys().next().value!)
    }
    done()
  })
  app.addHook('preHandler', (request, _reply, done) => {
    const redacted = requests.get(request.id)
    const schema = request.routeOptions.schema?.body
    if (redacted !== undefined) redacted.body = redactBody(request.body, propertyNames(schema))
    done()
  })
  return {
    take (id: string): RedactedRequest | undefined {
      const request = requests.get(id)
      requests.delete(id)
      return request
    }
  }
}

export const deliveriesPage = fp(servePage, { name: 'deliveries-page', fastify: '5.x' })
