import { Pool } from 'undici/index.js' // imported by file name, since Bun replaces the bare name
import type { Delivery } from './providers.js'
import { roundTo3 } from './tally.js'

const CONNECT_MS = 10_000
const ANSWER_MS = 30_000 // three times the default handlerTimeout
const MAX_BYTES = 1_048_576

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
  /** Time from before the request to the end of the response, in milliseconds. */
  readonly duration: number
}
/** The response, or a description of why there is no response. */
export type Outcome = Reply | { readonly failure: string }

export interface Connection {
  /** Sends a delivery. Resolves to undefined if the signal is aborted first. */
  readonly send: (delivery: Delivery) => Promise<Outcome | undefined>
  readonly close: () => Promise<void>
}

/** Opens up to `connections` keep-alive connections. Follows no redirects. Trusts the certificates that Node trusts. */
export function connect (url: URL, connections: number, signal: AbortSignal): Connection {
  const pool = new Pool(url.origin, {
    connections,
    connect: { timeout: CONNECT_MS },
    headersTimeout: ANSWER_MS,
    bodyTimeout: ANSWER_MS,
    maxResponseSize: MAX_BYTES
  })
  signal.addEventListener('abort', () => { pool.destroy() }, { once: true })
  return {
    async send ({ headers, body }) {
      const start = performance.now()
      try {
        const reply = await pool.request({ method: 'POST', path: url.pathname + url.search, headers, body })
        const text = await reply.body.text()
        const duration = roundTo3(performance.now() - start)
        return { status: reply.statusCode, headers: reply.headers, body: text, duration }
      } catch (error) {
        return signal.aborted ? undefined : { failure: `${url.origin}: ${describeFailure(error as Error)}` }
      }
    },
    close: () => pool.destroy()
  }
}

const CAUSES = new Map([
  ['ECONNREFUSED', 'connection refused'],
  ['ECONNRESET', 'connection closed unexpectedly'],
  ['UND_ERR_SOCKET', 'connection closed unexpectedly'],
  ['ENOTFOUND', 'host not found'],
  ['UND_ERR_CONNECT_TIMEOUT', `no connection within ${CONNECT_MS / 1000} s`],
  ['UND_ERR_HEADERS_TIMEOUT', `no response within ${ANSWER_MS / 1000} s`],
  ['UND_ERR_BODY_TIMEOUT', `response stalled for ${ANSWER_MS / 1000} s`],
  ['UND_ERR_RES_EXCEEDED_MAX_SIZE', 'the response is larger than 1 MiB'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'the server does not support TLS']
])
// Certificate error codes of OpenSSL and Node.
const CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO|INVALID_CA/

/** Describes a failure in one line, with its error code, which can be searched for. */
export function describeFailure ({ code, message }: { code?: unknown, message: string }): string {
  if (typeof code !== 'string') return message.split('\n')[0]!
  const cause = CERTIFICATE.test(code)
    ? 'the certificate is not trusted; NODE_EXTRA_CA_CERTS can add a trusted authority'
    : CAUSES.get(code) ?? message.split('\n')[0]!
  return `${cause} (${code})`
}
