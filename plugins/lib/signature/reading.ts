import type { FastifyRequest } from 'fastify'
import type { ParsedSignature } from './authenticate.js'
import { rawHeaderValues, readHeaders, reject, type Rejection } from './fields.js'
import { isThenable, toPromise } from '../timers.js'

/**
 * Values read from the headers of a delivery. A delivery is rejected if a MAC or the timestamp cannot be read and is
 * undefined.
 */
export interface Reading {
  /**
   * The decoded MAC. If a delivery may carry the MACs of several secrets, a list of up to 8, any of which may match.
   */
  readonly mac: Uint8Array | undefined | readonly (Uint8Array | undefined)[]
  /** The signed content that precedes the body: header values and their separators, one byte per character. */
  readonly prefix: string
  /** Time of signing in Unix seconds, if it is part of `prefix`. Null if the provider does not state it. */
  readonly timestamp: number | null | undefined
  /** The provider's id of the delivery, if it is part of `prefix`. */
  readonly id?: string | undefined
}

const MAX_MACS = 8
const BEYOND_A_BYTE = /[\u0100-\uffff]/

/**
 * Makes a reader that passes the header values, each of which must be sent exactly once, to a user's `read`. The reader
 * throws if `read` throws or returns anything but a reading or undefined.
 */
export function createReader (
  names: readonly string[], read: (texts: readonly string[]) => unknown
): (request: FastifyRequest) => ParsedSignature | Rejection {
  return ({ headers, raw: { rawHeaders } }) => {
    const texts = readHeaders(headers, names)
    if (!Array.isArray(texts)) return texts
    const repeated = names.find((name) => rawHeaderValues(rawHeaders, name).length > 1)
    if (repeated !== undefined) return reject('duplicate_header', repeated)

    const reading = read(texts) as Reading | undefined
    if (isThenable(reading)) toPromise(reading).catch(() => {}) // throws below: a promise has no prefix
    if (reading === undefined) return reject('malformed_header')
    const { mac, prefix, timestamp, id } = reading
    const several = Array.isArray(mac)
    const macs: readonly unknown[] = several ? mac : [mac]
    if (typeof prefix !== 'string' || BEYOND_A_BYTE.test(prefix)) throw new TypeError('read: "prefix" must be bytes')
    if (timestamp === undefined || macs.length === 0 || macs.length > MAX_MACS || macs.includes(undefined)) {
      return reject('malformed_header')
    }
    return { ok: true, macs: macs.map(bytesOf), prefix, id, several, ...(timestamp !== null && { timestamp }) }
  }
}

function bytesOf (mac: unknown): Buffer {
  if (mac instanceof Uint8Array) return Buffer.from(mac)
  throw new TypeError('read: MACs must be bytes')
}
