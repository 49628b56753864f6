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

/** RFC 9110 sections 8.3.1 and 5.6.6: one of the types with any parameters, but no charset other than utf-8. */
export function contentTypePattern (types: readonly string[]): RegExp {
  const names = types.map((type) => type.replaceAll(/[.+]/g, '\\$&')).join('|')
  const parameters = `(?:;[ \\t]*(?:(?:${CHARSET}|${PARAMETER})[ \\t]*)?)*`
  return new RegExp(`^[ \\t]*(?:${names})[ \\t]*${parameters}$`, 'i')
}

/**
 * The scope's only content type parser: it keeps the bytes and parses nothing. Refuses, before any byte is read,
 * what has none of the content types, or could not be in UTF-8 as it was signed, and ends bodies that take longer than
 * `bodyTimeout` (ms) to arrive. Returns what ends that time: the body is here, or the answer is given without it.
 */
export function captureRawBody (
  scope: FastifyInstance, bodyTimeout: number, contentTypes: readonly string[] = [JSON_TYPE]
): (request: FastifyRequest) => void {
  const pattern = contentTypePattern(contentTypes)
  const isAccepted = (type: string): boolean => contentTypes.includes(type) || pattern.test(type)
  const deadlines = createDeadlines<Arriving>(bodyTimeout, ({ reply, payload }) => {
    if (reply.sent) return
    // While Fastify reads the body, its reader must take the error, or it would answer once more when the client goes.
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
      setter () {} // it stays the bytes, whatever a host's hook makes of them
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
    const { readableDidRead } = Object(payload) as Readable // a hook of the host may have put anything in its place
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
      if (taken) Reflect.set(request, 'rawBody', body) // unless the host's own is read-only
      done(null, body)
    })
  }
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser([...contentTypes], keepBytes)
  // Finds the types in capitals, which some versions of Fastify 5 compare as they are.
  scope.addContentTypeParser(pattern, keepBytes)
  return endDeadline
}

/** Returns true if the end of a body has been read: who waits for it would wait for ever. */
function isConsumed ({ raw }: FastifyRequest, payload: Readable): boolean {
  const { readableEnded, destroyed } = Object(payload) as Readable
  return readableEnded || (destroyed && payload !== raw) // where `raw` is, the client is gone
}

/** The bytes that a serverless platform, or a body parser of Express, has kept of the body that it has read. */
function keptBody ({ raw }: FastifyRequest): Readable | undefined {
  const { rawBody } = raw as { rawBody?: unknown }
  return Buffer.isBuffer(rawBody) ? Readable.from([rawBody]) : undefined
}

/** Whether there is a body that has not been read to its end. */
export function bodyArrives (request: FastifyRequest): boolean {
  if (contextOf(request)?.bytes !== undefined) return false
  const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers
  if (coding !== undefined || length !== '0') return true
  if (request.raw.httpVersionMajor > 1) return true // whose frames tell, no header
  return headersAreMissing(request)
}

/** Node leaves out the headers beyond its limit, or the host's: one of them may have told of a body. */
function headersAreMissing ({ raw, server: { server } }: FastifyRequest): boolean {
  const most = server.maxHeadersCount ?? 1000
  return most > 0 && raw.rawHeaders.length >= most * 2
}

/** A body without a content type is left to Fastify, which has no parser for it. */
function refuseFraming ({ headers }: FastifyRequest, isAccepted: (type: string) => boolean): Error | undefined {
  const { 'content-type': type, 'content-encoding': encoding, 'transfer-encoding': transfer } = headers
  if (transfer !== undefined && transfer.toLowerCase() !== 'chunked') {
    // Node passes the body on undecoded for `gzip, chunked`.
    return httpErrors.badRequest()
  }
  const plain = encoding === undefined || encoding.toLowerCase() === 'identity'
  if (plain && (type === undefined || isAccepted(type))) return undefined
  return httpErrors.createError(415, { code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE' })
}
