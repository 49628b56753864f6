import { createError } from '@fastify/error'
import { httpErrors } from '@fastify/sensible'
import type { Readable } from 'node:stream'

// Errors with the codes of Fastify's own parsers.
const BodyTooLarge = createError<[]>('FST_ERR_CTP_BODY_TOO_LARGE', 'Request body is too large', 413, RangeError)
export const InvalidContentLength = createError<[]>(
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
