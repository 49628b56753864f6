import { setTimeout as delay } from 'node:timers/promises'
// Imported by file name: Bun replaces the bare name with its own module, whose pools never send a request.
import { Pool } from 'undici/index.js'
import type { BaseUrl } from './base-url.js'
import { parseJsonObject } from '../lib/body.js'
import { createSemaphore } from './semaphore.js'

const MAX_BYTES = 65_536
const MAX_CONNECTIONS = 128
const RETRY_DELAY = { least: 20, spread: 80 } // ms
// RFC 9110 section 8.3.1. A response without a content type counts as JSON.
const JSON_TYPE = /^[ \t]*application\/json[ \t]*(?:;|$)/i

/** A response of the service. `body` is undefined if it is not a plain JSON object. */
export interface JsonAnswer {
  readonly statusCode: number
  readonly body: object | undefined
}

interface Service extends BaseUrl {
  readonly headers: Readonly<Record<string, string>>
  /** Total time in milliseconds for a call, including both attempts. */
  readonly timeout: number
}

export interface JsonClient {
  /** Sends a POST request. Rejects if there is no response in time, or if the response is too large. */
  post: (body: object) => Promise<JsonAnswer>
  close: () => Promise<void>
}

/**
 * Creates a client that posts JSON to one URL over keep-alive connections. It follows no redirects, which would forward
 * the headers. It accepts no content encoding, which could inflate without bound. It retries once after a broken
 * connection or a 5xx.
 */
export function createJsonClient ({ origin, prefix, headers, timeout }: Service, path: string): JsonClient {
  const options: Pool.Options = {
    connections: MAX_CONNECTIONS,
    maxResponseSize: MAX_BYTES,
    // Set explicitly, so that no environment variable of Node can override it.
    connect: { timeout, rejectUnauthorized: true }
  }
  const pool = new Pool(origin, options)
  // Used for the retry: whatever made one keep-alive connection stale may have affected all of them.
  const freshPool = new Pool(origin, { ...options, pipelining: 0 })
  // Limits requests to the number of connections, since undici ignores signals of requests in its own queue.
  const takeSlot = createSemaphore(MAX_CONNECTIONS)

  async function attempt (connections: Pool, body: string, signal: AbortSignal): Promise<JsonAnswer> {
    const reply = await connections.request({
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

  async function twice (body: string, signal: AbortSignal): Promise<JsonAnswer> {
    try {
      const answer = await attempt(pool, body, signal)
      if (answer.statusCode < 500) return answer
    } catch (error) {
      const tooLarge = (error as { code?: unknown }).code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE'
      if (signal.aborted || tooLarge) throw error
    }
    await delay(RETRY_DELAY.least + Math.random() * RETRY_DELAY.spread)
    return attempt(freshPool, body, signal)
  }

  return {
    async post (value) {
      const body = JSON.stringify(value)
      const signal = AbortSignal.timeout(timeout)
      const release = await takeSlot(signal)
      const answer = twice(body, signal).finally(release)
      // undici also ignores the signal while it connects.
      return Promise.race([answer, aborted(signal)])
    },
    async close () {
      await Promise.all([pool.close(), freshPool.close()])
    }
  }
}

function aborted (signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}
