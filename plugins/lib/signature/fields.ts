import type { IncomingHttpHeaders } from 'node:http'
import { reject, type Rejection } from './rejection.js'

/** A tuple with one string per header name. */
export type Texts<Names extends readonly string[]> = { [Index in keyof Names]: string }

/** Returns the values of the headers, or a rejection if one is absent, empty or given as several values. */
export function readHeaders<Names extends readonly string[]> (
  headers: IncomingHttpHeaders, ...names: Names
): Texts<Names> | Rejection {
  const texts: string[] = []
  for (const name of names) {
    const text = headers[name]
    if (typeof text !== 'string' || text === '') {
      return reject(Array.isArray(text) && text.length > 1 ? 'duplicate_header' : 'missing_header', name)
    }
    texts.push(text)
  }
  return texts as Texts<Names>
}

/**
 * Returns every value that a header was sent with. Node joins or drops repeated headers everywhere except in
 * `rawHeaders`.
 */
export function rawHeaderValues (rawHeaders: readonly string[], name: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]!.toLowerCase() === name)
}
