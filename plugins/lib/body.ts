import type { FastifyReply, FastifyRequest } from 'fastify'
import { Readable } from 'node:stream'
import { httpErrors } from '@fastify/sensible'
import { createError } from '@fastify/error'
import { isUtf8 } from 'node:buffer'
import secureJson from 'secure-json-parse'
import { createDeadlines } from './timers.js'
import type { Arriving, DeliveryContext } from './context.js'
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

/** The deadlines of the bodies that are arriving. */
interface BodyDeadlines {
  readonly start: (delivery: DeliveryContext, reply: FastifyReply, payload: unknown) => void
  /** Stops the deadline, if it runs, when the body has arrived or the response is sent without it. */
  readonly stop: (delivery: DeliveryContext) => void
}

/** Makes deadlines that end a body that takes longer than `bodyTimeout` milliseconds to arrive. */
export function createBodyDeadlines (bodyTimeout: number): BodyDeadlines {
  const deadlines = createDeadlines<Arriving>(bodyTimeout, ({ reply, payload }) => {
    if (reply.sent) return
    // While Fastify reads the body, its reader must receive the error. Otherwise it would respond once more when the
    // client disconnects.
    if (payload.listenerCount('error') > 0) payload.emit('error', new BodyTimeout())
    else reply.send(new BodyTimeout())
  })
  return {
    start (delivery, reply, payload) {
      delivery.deadline = deadlines.start({ reply, payload: payload as Readable }, delivery.since)
    },
    stop (delivery) {
      if (delivery.deadline !== undefined) deadlines.stop(delivery.deadline)
      delivery.deadline = undefined
    }
  }
}

/** Reads the bytes of a body and keeps them in the context of the delivery. Parses nothing. */
export function keepBytes (
  request: FastifyRequest, delivery: DeliveryContext, payload: unknown,
  done: (error: Error | null, body?: Buffer) => void
): void {
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
    done(null, body)
  })
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

/** Returns true if the request has a body, according to its headers. */
export function announcesBody (request: FastifyRequest): boolean {
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
export function refuseFraming (
  { headers }: FastifyRequest, contentTypes: readonly string[], pattern: RegExp
): Error | undefined {
  const { 'content-type': type, 'content-encoding': encoding, 'transfer-encoding': transfer } = headers
  if (transfer !== undefined && transfer.toLowerCase() !== 'chunked') {
    // For `gzip, chunked`, Node passes on the body without decoding it.
    return httpErrors.badRequest()
  }
  const plain = encoding === undefined || encoding.toLowerCase() === 'identity'
  if (plain && (type === undefined || contentTypes.includes(type) || pattern.test(type))) return undefined
  return httpErrors.createError(415, { code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE' })
}

// Errors with the codes of Fastify's own parsers.
const BodyTooLarge = createError<[]>('FST_ERR_CTP_BODY_TOO_LARGE', 'Request body is too large', 413, RangeError)
const InvalidContentLength = createError<[]>(
  'FST_ERR_CTP_INVALID_CONTENT_LENGTH', 'Request body size did not match Content-Length', 400, RangeError)

// Each chunk of a body costs Node a few microseconds, however short it is.
const MAX_PIECES = 1000
const MIN_AVERAGE = 64 // bytes per chunk, for a body in more chunks than that
const BLOCK = 4096 // bytes; shorter chunks are copied together, since a Buffer has an overhead of a hundred bytes

interface Rules {
  /** Maximum length of the body in bytes. */
  readonly limit: number
  /** Value of `Content-Length` in bytes. NaN if the header is absent. */
  readonly length: number
  /** True if the bytes are kept. A body that is not kept is still read to its end. */
  readonly keeps: boolean
}

/** Callback for the end of a body. `bytes` is the length of the body. */
type Done = (error: Error | null, body: Buffer | undefined, bytes: number) => void

/**
 * Reads a body to its end, or calls back with the error that ends it. Never throws: Fastify before 5.12.8 does not
 * catch what a parser throws.
 */
export function readBody (payload: Readable, { limit, length, keeps }: Rules, done: Done): void {
  // A preParsing hook of the host application may have replaced the stream with anything.
  if (typeof (payload as Readable | null)?.on !== 'function') return done(new TypeError('No stream'), undefined, 0)
  if (length > limit) return done(new BodyTooLarge(), undefined, 0)
  const kept: Buffer[] = []
  let block: Buffer | undefined
  let used = 0
  let received = 0
  let pieces = 0

  function keep (piece: Buffer): void {
    if (block !== undefined && (piece.length > block.length - used || piece.length >= BLOCK >> 1)) {
      kept.push(block.subarray(0, used))
      block = undefined
    }
    if (piece.length >= BLOCK >> 1) {
      kept.push(piece)
      return
    }
    if (block === undefined) {
      block = Buffer.allocUnsafe(received === length ? piece.length : BLOCK)
      used = 0
    }
    used += piece.copy(block, used)
  }

  function onData (given: Buffer | string): void { // a string if a hook of the host made the stream
    const piece = typeof given === 'string' ? Buffer.from(given) : given
    received += piece.length
    pieces++
    if (received > limit) end(new BodyTooLarge())
    else if (pieces > MAX_PIECES && received < pieces * MIN_AVERAGE) end(httpErrors.badRequest())
    else if (keeps) keep(piece)
  }

  function onEnd (): void {
    if (!Number.isNaN(length) && received !== length) return end(new InvalidContentLength())
    // Always a copy, so that no code holds a view of a buffer that the socket reads into.
    if (!keeps) return end(null)
    if (kept.length === 0 && used === block?.length) return end(null, block)
    if (block !== undefined) kept.push(block.subarray(0, used))
    end(null, Buffer.concat(kept, received))
  }

  function onError (error: Error & { statusCode?: unknown }): void {
    if (!(typeof error.statusCode === 'number' && error.statusCode >= 400)) error.statusCode = 400
    end(error)
  }

  function end (error: Error | null, body?: Buffer): void {
    payload.removeListener('data', onData)
    payload.removeListener('end', onEnd)
    payload.removeListener('error', onError)
    done(error, body, received)
  }

  payload.on('data', onData)
  payload.on('end', onEnd)
  payload.on('error', onError)
  payload.resume()
}

const BYTE_ORDER_MARK = 0xFEFF
const ESCAPED = /[%+]/

/** Parses a JSON object like `parseJson`. Returns undefined for an array. */
export function parseJsonObject (bytes: Buffer): object | undefined {
  const value = parseJson(bytes)
  return Array.isArray(value) ? undefined : value
}

/**
 * Parses a JSON object or array. Returns undefined for other root values, invalid UTF-8 (which lenient decoding would
 * turn into characters that nobody signed), a byte order mark, and `__proto__` and `constructor.prototype` keys.
 */
export function parseJson (bytes: Buffer): object | undefined {
  const text = textOf(bytes)
  if (text === undefined) return undefined
  try {
    const value: unknown = secureJson.parse(text, { protoAction: 'error', constructorAction: 'error' })
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined // the parser's own message quotes the body
  }
}

/**
 * Parses a form (application/x-www-form-urlencoded). Each member is a string, or a list of strings if its name occurs
 * more than once. Returns undefined for invalid UTF-8, a `%` without two hex digits after it, and a member named
 * `__proto__`.
 */
export function parseForm (bytes: Buffer): object | undefined {
  const text = textOf(bytes)
  if (text === undefined) return undefined
  const members = new Map<string, string | string[]>()
  try {
    for (const pair of text.split('&')) {
      if (pair === '') continue
      const at = pair.indexOf('=')
      const name = decodePart(at === -1 ? pair : pair.slice(0, at))
      const value = at === -1 ? '' : decodePart(pair.slice(at + 1))
      const others = members.get(name)
      if (Array.isArray(others)) others.push(value) // copying it for each member would take minutes for a long list
      else members.set(name, others === undefined ? value : [others, value])
    }
  } catch {
    return undefined // thrown by decodeURIComponent
  }
  return members.has('__proto__') ? undefined : Object.fromEntries(members)
}

const decodePart = (text: string): string =>
  ESCAPED.test(text) ? decodeURIComponent(text.replaceAll('+', ' ')) : text

function textOf (bytes: Buffer): string | undefined {
  if (!isUtf8(bytes)) return undefined
  const text = bytes.toString()
  return text.charCodeAt(0) === BYTE_ORDER_MARK ? undefined : text
}
