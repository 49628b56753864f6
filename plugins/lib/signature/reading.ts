import type { FastifyRequest } from 'fastify'
import type { ParsedSignature } from './authenticate.js'
import { rawHeaderValues, readHeaders } from './fields.js'
import { reject, type Rejection } from './rejection.js'
import { isThenable, toPromise } from '../thenable.js'

/** What the headers of a delivery say. Where something of it cannot be read, and is undefined, it is refused. */
export interface Reading {
  /**
   * The MAC, decoded; or, where a delivery may carry those of several secrets, a list of up to 8, any of which may
   * match.
   */
  readonly mac: Uint8Array | undefined | readonly (Uint8Array | undefined)[]
  /** What is signed before the body: header texts and what is between them, one byte a character. */
  readonly prefix: string
  /** When it was signed, in Unix seconds, if that is in `prefix`; null where a provider does not say. */
  readonly timestamp: number | null | undefined
  /** What the provider calls this delivery, if that is in `prefix`. */
  readonly id?: string | undefined
}

const MAX_MACS = 8
const BEYOND_A_BYTE = /[\u0100-\uffff]/

/**
 * Hands the texts of the headers, each of which was sent once, to a user's `read`, and takes nothing but a reading from
 * it: throws, as `read` may, for anything else.
 */
export function createReader (
  names: readonly string[], read: (texts: readonly string[]) => unknown
): (request: FastifyRequest) => ParsedSignature | Rejection {
  return ({ headers, raw: { rawHeaders } }) => {
    const texts = readHeaders(headers, ...names)
    if (!Array.isArray(texts)) return texts
    const repeated = names.find((name) => rawHeaderValues(rawHeaders, name).length > 1)
    if (repeated !== undefined) return reject('duplicate_header', repeated)

    const reading = read(texts) as Reading | undefined
    if (isThenable(reading)) toPromise(reading).catch(() => {}) // thrown at below: it has no prefix
    if (reading === undefined) return reject('malformed_header')
    const { mac, prefix, timestamp, id } = reading
    const several = Array.isArray(mac)
    const macs: readonly unknown[] = several ? mac : [mac]
    if (typeof prefix !== 'string' || BEYOND_A_BYTE.test(prefix)) throw new TypeError('read: no prefix of bytes')
    if (timestamp === undefined || macs.length === 0 || macs.length > MAX_MACS || macs.includes(undefined)) {
      return reject('malformed_header')
    }
    return { ok: true, macs: macs.map(bytesOf), prefix, id, several, ...(timestamp !== null && { timestamp }) }
  }
}

function bytesOf (mac: unknown): Buffer {
  if (mac instanceof Uint8Array) return Buffer.from(mac)
  throw new TypeError('read: a MAC that is not bytes')
}
