import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { Authenticate } from '../lib/signature/authenticate.js'
import { InvalidOption } from '../lib/errors.js'
import { rawHeaderValues, readHeaders, reject, type Rejection, type Verified } from '../lib/signature/fields.js'
import { problemWithin } from '../lib/signature/secrets.js'

const MIN_LENGTH = 3
// Excludes the comma, with which Node joins repeated headers.
const VISIBLE_ASCII = /^[\x21-\x2b\x2d-\x7e]+$/

/** Returns the key if it can be sent in a header. Errors never contain the key. */
export function checkApiKey (plugin: string, option: string, key: unknown): string {
  if (typeof key !== 'string' || !VISIBLE_ASCII.test(key)) {
    throw new InvalidOption(plugin, option, 'must be visible ASCII without spaces or commas')
  }
  const problem = problemWithin(key) ?? (key.length < MIN_LENGTH ? `must be at least ${MIN_LENGTH} characters long` : undefined)
  if (problem !== undefined) throw new InvalidOption(plugin, option, problem)
  return key
}

/** Creates a check that a header contains one of the keys. Always compares all keys, in constant time. */
export function createKeyCheck (plugin: string, option: string, header: string, keys: unknown): Authenticate {
  if (!Array.isArray(keys) || keys.length === 0) throw new InvalidOption(plugin, option, 'must be an array of keys')
  const known = Array.from(keys, (key) => digest(checkApiKey(plugin, option, key))) // Array.from also visits holes
  if (new Set(keys).size !== keys.length) throw new InvalidOption(plugin, option, 'must not contain the same key twice')

  const authenticate = ({ headers, raw }: FastifyRequest): Verified | Rejection => {
    const texts = readHeaders(headers, [header])
    if (!Array.isArray(texts)) return texts
    if (rawHeaderValues(raw.rawHeaders, header).length > 1) return reject('duplicate_header', header)
    const presented = digest(texts[0])
    let secretIndex = -1
    known.forEach((key, index) => { if (timingSafeEqual(key, presented)) secretIndex = index })
    return secretIndex === -1 ? reject('unknown_key', header) : { ok: true, secretIndex }
  }
  return Object.assign(authenticate, { readHeaders: authenticate })
}

function digest (text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
