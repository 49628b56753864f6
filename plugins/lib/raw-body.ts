import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Readable } from 'node:stream'
import { httpErrors } from '@fastify/sensible'
import { createDeadlines, type Deadline } from './deadlines.js'
import { BodyTimeout } from './errors.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The bytes of the body as they arrived, on the routes of this collection. */
    rawBody?: string | Buffer
  }
}

interface Arriving { reply: FastifyReply, payload: Readable }

const kDeadline = Symbol('fastify-verification.bodyDeadline')
const kRawBody = Symbol('fastify-verification.rawBody')
type Captured = FastifyRequest & { [kDeadline]: Deadline<Arriving> | null, [kRawBody]: Buffer | undefined }

// RFC 9110 sections 8.3.1 and 5.6.6: application/json with any parameters, but no charset other than utf-8.
const TOKEN = "[\\w!#$%&'*+.^`|~-]+"
const CHARSET = 'charset=(?:utf-8|"utf-8")'
const PARAMETER = `(?!charset=)${TOKEN}=(?:${TOKEN}|"(?:[^"\\\\]|\\\\.)*")`
const JSON_TYPE = new RegExp(`^[ \\t]*application/json[ \\t]*(?:;[ \\t]*(?:(?:${CHARSET}|${PARAMETER})[ \\t]*)?)*$`, 'i')

/**
 * The scope's only content type parser: it keeps the bytes and parses nothing. Refuses, before any byte is read,
 * what could not be JSON as it was signed, and ends bodies that take longer than `bodyTimeout` (ms) to arrive.
 */
export function captureRawBody (scope: FastifyInstance, bodyTimeout: number): void {
  const deadlines = createDeadlines<Arriving>(bodyTimeout, ({ reply, payload }) => {
    if (reply.sent) return
    // While Fastify reads the body, its reader must take the error, or it would answer once more when the client goes.
    if (payload.listenerCount('error') > 0) payload.emit('error', new BodyTimeout())
    else reply.send(new BodyTimeout())
  })

  const taken = scope.hasRequestDecorator('rawBody')
  if (!taken) {
    scope.decorateRequest('rawBody', {
      getter () { return (this as Captured)[kRawBody] },
      setter () {} // it stays the bytes, whatever a host's hook makes of them
    })
  }
  scope.decorateRequest(kRawBody, undefined)
  scope.decorateRequest(kDeadline, null)

  scope.addHook('onRequest', (request, _reply, done) => done(refuseFraming(request)))
  scope.addHook('preParsing', (request, reply, payload, done) => {
    (request as Captured)[kDeadline] = deadlines.start({ reply, payload: payload as Readable })
    done(null, payload)
  })

  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const captured = request as Captured
    deadlines.stop(captured[kDeadline]!)
    captured[kRawBody] = body as Buffer
    if (taken) Reflect.set(request, 'rawBody', body) // unless the host's own is read-only
    done(null, body)
  })
}

/** A body without a content type is left to Fastify, which has no parser for it. */
function refuseFraming ({ headers }: FastifyRequest): Error | undefined {
  const { 'content-type': type, 'content-encoding': encoding, 'transfer-encoding': transfer } = headers
  if (transfer !== undefined && transfer.toLowerCase() !== 'chunked') {
    // Node passes the body on undecoded for `gzip, chunked`.
    return httpErrors.badRequest()
  }
  const plain = encoding === undefined || encoding.toLowerCase() === 'identity'
  if (plain && (type === undefined || JSON_TYPE.test(type))) return undefined
  return httpErrors.createError(415, { code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE' })
}
