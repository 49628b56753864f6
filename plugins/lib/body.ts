import type { FastifyContentTypeParser, FastifyInstance, FastifyRequest } from 'fastify'
import { Readable } from 'node:stream'
import { httpErrors } from '@fastify/sensible'
import { InvalidContentLength, readBody } from './body-reader.js'
import { createDeadlines } from './deadlines.js'
import { startDelivery, contextOf, kContext, type Arriving } from './context.js'
import { BODY_CONSUMED, BodyTimeout, errorOf } from './errors.js'

export const JSON_TYPE = 'application/json'
export const FORM_TYPE = 'application/x-www-form-urlencoded'

const TOKEN = "[\\w!#$%&'*+.^`|~-]+"
const CHARSET = 'charset=(?:utf-8|"utf-8")'
const PARAMETER = `(?!charset=)${TOKEN}=(?:${TOKEN}|"(?:[^"\\\\]|\\\\.)*")`

/**
 * Makes a pattern that matches one of the types with any parameters, but no charset other than utf-8 (RFC 9110 sections
 * 8.3.1 and 5.6.6).
 */
export function contentTypePattern (types: readonly string[]): RegExp {
  const names = types.map((type) => type.replaceAll(/[.+]/g, '\\$&')).join('|')
  const parameters = `(?:;[ \\t]*(?:(?:${CHARSET}|${PARAMETER})[ \\t]*)?)*`
  return new RegExp(`^[ \\t]*(?:${names})[ \\t]*${parameters}$`, 'i')
}

/**
 * Adds the scope's only content type parser, which keeps the bytes and parses nothing. Before any byte is read, refuses
 * a body that has none of the content types, or that could not be in UTF-8 as it was signed. Ends bodies that take
 * longer than `bodyTimeout` milliseconds to arrive. Returns a function that stops this deadline, for when the body has
 * arrived or the response is sent without it.
 */
export function captureRawBody (
  scope: FastifyInstance, bodyTimeout: number, contentTypes: readonly string[] = [JSON_TYPE]
): (request: FastifyRequest) => void {
  const pattern = contentTypePattern(contentTypes)
  const isAccepted = (type: string): boolean => contentTypes.includes(type) || pattern.test(type)
  const deadlines = createDeadlines<Arriving>(bodyTimeout, ({ reply, payload }) => {
    if (reply.sent) return
    // While Fastify reads the body, its reader must receive the error. Otherwise it would respond once more when the
    // client disconnects.
    if (payload.listenerCount('error') > 0) payload.emit('error', new BodyTimeout())
    else reply.send(new BodyTimeout())
  })

  function endDeadline (request: FastifyRequest): void {
    const deadline = contextOf(request)?.deadline
    if (deadline !== undefined) deadlines.stop(deadline)
  }

  const taken = scope.hasRequestDecorator('rawBody')
  if (!taken) {
    scope.decorateRequest('rawBody', {
      getter () { return contextOf(this)?.rawBody },
      setter () {} // ignored: hooks of the host cannot replace the bytes
    })
  }
  scope.decorateRequest(kContext, undefined)

  scope.addHook('preParsing', (request, reply, payload, done) => {
    const delivery = startDelivery(request)
    const refusal = refuseFraming(request, isAccepted)
    if (refusal !== undefined) return done(refusal)
    if (bodyArrives(request)) {
      delivery.deadline = deadlines.start({ reply, payload: payload as Readable }, delivery.since)
    }
    done(null, payload)
  })

  const keepBytes: FastifyContentTypeParser = (request, payload, done) => {
    const delivery = contextOf(request)!
    const { bodyLimit: limit } = request.routeOptions
    const length = Number(request.headers['content-length'])
    const { readableDidRead } = Object(payload) as Readable // a hook of the host may have replaced it
    const failConsumed = (): void => {
      delivery.failure = BODY_CONSUMED
      done(errorOf(BODY_CONSUMED))
    }
    const stream = isConsumed(request, payload as Readable) ? keptBody(request) : payload
    if (stream === undefined) return failConsumed()
    readBody(stream as Readable, { limit, length, keeps: !delivery.dropsBody }, (error, body, bytes) => {
      if (error instanceof InvalidContentLength && readableDidRead && stream === payload) return failConsumed()
      if (error !== null) return done(error)
      delivery.rawBody = body
      delivery.bytes = bytes
      endDeadline(request)
      if (taken) Reflect.set(request, 'rawBody', body) // has no effect if the host's own is read-only
      done(null, body)
    })
  }
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser([...contentTypes], keepBytes)
  // Matches types in upper case, which some versions of Fastify 5 compare case-sensitively.
  scope.addContentTypeParser(pattern, keepBytes)
  return endDeadline
}

/** Returns true if the end of a body has already been read. Waiting for it would never finish. */
function isConsumed ({ raw }: FastifyRequest, payload: Readable): boolean {
  const { readableEnded, destroyed } = Object(payload) as Readable
  return readableEnded || (destroyed && payload !== raw) // if `raw` is destroyed, the client has disconnected
}

/** Returns the bytes that a serverless platform, or an Express body parser, kept of a body that it has read. */
function keptBody ({ raw }: FastifyRequest): Readable | undefined {
  const { rawBody } = raw as { rawBody?: unknown }
  return Buffer.isBuffer(rawBody) ? Readable.from([rawBody]) : undefined
}

/** Returns true if there is a body that has not been read to its end. */
export function bodyArrives (request: FastifyRequest): boolean {
  if (contextOf(request)?.bytes !== undefined) return false
  const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers
  if (coding !== undefined || length !== '0') return true
  if (request.raw.httpVersionMajor > 1) return true // HTTP/2 announces a body by frames, not by a header
  return headersAreMissing(request)
}

/** Returns true if Node dropped headers beyond its limit, or the host's. One of them may have announced a body. */
function headersAreMissing ({ raw, server: { server } }: FastifyRequest): boolean {
  const most = server.maxHeadersCount ?? 1000
  return most > 0 && raw.rawHeaders.length >= most * 2
}

/**
 * Returns an error for a content type or coding that is not supported. A body without a content type is left to
 * Fastify, which has no parser for it.
 */
function refuseFraming ({ headers }: FastifyRequest, isAccepted: (type: string) => boolean): Error | undefined {
  const { 'content-type': type, 'content-encoding': encoding, 'transfer-encoding': transfer } = headers
  if (transfer !== undefined && transfer.toLowerCase() !== 'chunked') {
    // For `gzip, chunked`, Node passes on the body without decoding it.
    return httpErrors.badRequest()
  }
  const plain = encoding === undefined || encoding.toLowerCase() === 'identity'
  if (plain && (type === undefined || isAccepted(type))) return undefined
  return httpErrors.createError(415, { code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE' })
}
