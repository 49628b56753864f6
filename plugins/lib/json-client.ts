import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'
import type { BaseUrl } from './base-url.js'
import { parseJsonObject } from './json.js'

const MOST_BYTES = 65_536
const MOST_CONNECTIONS = 128
const RETRY_DELAY = { least: 20, spread: 80 } // ms
// RFC 9110 section 8.3.1; a reply that does not say what it is counts as what was asked for.
const JSON_TYPE = /^[ \t]*application\/json[ \t]*(?:;|$)/i

/** A service's answer. `body` is undefined if it is not a plain JSON object. */
export interface JsonAnswer {
  readonly statusCode: number
  readonly body: object | undefined
}

interface Service extends BaseUrl {
  readonly headers: Readonly<Record<string, string>>
  /** For the whole of a call, both attempts included, in milliseconds. */
  readonly timeout: number
}

export interface JsonClient {
  /** Rejects if there is no answer in time, or none of a bearable size. */
  post: (body: object) => Promise<JsonAnswer>
  close: () => Promise<void>
}

/**
 * Posts JSON to one place over kept-alive connections. Follows no redirect, which would carry the headers along; takes
 * no content encoding, which could inflate without bound; tries a second time after a broken connection or a 5xx.
 */
export function createJsonClient ({ origin, prefix, headers, timeout }: Service, path: string): JsonClient {
  const pool = new Pool(origin, {
    connections: MOST_CONNECTIONS,
    maxResponseSize: MOST_BYTES,
    // Said, so that no environment variable of Node's can say otherwise.
    connect: { timeout, rejectUnauthorized: true }
  })

  async function attempt (body: string, signal: AbortSignal): Promise<JsonAnswer> {
    const reply = await pool.request({
      method: 'POST',
      path: prefix + path,
      headers: { ...headers, 'content-type': 'application/json', accept: 'application/json', 'accept-encoding': 'identity' },
      body,
      signal
    })
    const bytes = Buffer.from(await reply.body.arrayBuffer())
    const { 'content-type': type = 'application/json', 'content-encoding': encoding = 'identity' } = reply.headers
    const plain = encoding === 'identity' && typeof type === 'string' && JSON_TYPE.test(type)
    return { statusCode: reply.statusCode, body: plain ? parseJsonObject(bytes) : undefined }
  }

  return {
    async post (value) {
      const body = JSON.stringify(value)
      const signal = AbortSignal.timeout(timeout)
      try {
        const answer = await attempt(body, signal)
        if (answer.statusCode < 500) return answer
      } catch (error) {
        const tooLarge = (error as { code?: unknown }).code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE'
        if (signal.aborted || tooLarge) throw error
      }
      await delay(RETRY_DELAY.least + Math.random() * RETRY_DELAY.spread, undefined, { signal })
      return attempt(body, signal)
    },
    close: () => pool.close()
  }
}
