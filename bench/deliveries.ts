import { createHmac } from 'node:crypto'
import { signAghanim, signAltdentifier, signIdentityValidation } from '../plugins/index.js'
import { API_KEY, API_SECRET, GUILD, MEMBER, SECRET, SESSIONS, VERIFY_EVENT } from '../test/support/deliveries.js'
import type { ServerSettings } from './servers.js'

// Deliveries for the servers of the benchmarks. Each differs from all others, is signed just before it is sent, and is
// a complete HTTP request in bytes, so that sending it costs nothing more.

export type Provider = 'aghanim' | 'altdentifier' | 'identity' | 'humandetect-api'
type Headers = Readonly<Record<string, string>>

export const PATHS: Readonly<Record<Provider, string>> = {
  aghanim: '/aghanim',
  altdentifier: '/altdentifier',
  identity: SESSIONS,
  'humandetect-api': '/v1/humandetect/verify'
}

export const VERDICT = {
  valid: true,
  identifier: 'ada@example.com',
  timestamp: '2026-09-22T14:52:11.104-0500',
  checksum: 'd6f644b19812e97b5d871658d6d3400ecd4787faeb9b8990c1e7608288664be7',
  version: 1
} as const

const STANDARD_KEY = Buffer.from(SECRET)
export const STANDARD_SECRET = `whsec_${STANDARD_KEY.toString('base64')}`

export interface Traffic {
  /** Size of a body in bytes, at least the fixture's own. Default 330. */
  readonly bytes?: number
  /** Gives each delivery an id, by which it is handled once. Default false. */
  readonly keyed?: boolean
  /** Changes one byte of each body after signing. Default false. */
  readonly forged?: boolean
}

export interface Batch { readonly requests: readonly Buffer[], /** Expected status. */ readonly status: number }

/** Returns the event of a provider, before it is filled to its size. */
function eventOf (provider: Provider, id: string, keyed: boolean): Record<string, unknown> {
  switch (provider) {
    case 'aghanim': return { ...VERIFY_EVENT, event_id: id, ...(keyed && { idempotency_key: id, request_id: null }) }
    case 'altdentifier': return { OP: 1, member: MEMBER, guild: GUILD, method: 'steam', id }
    case 'identity':
      return {
        event_id: 'identity-session-status-changed',
        session: { id: 'iss-1', status: 'VERIFIED' },
        ...(keyed ? { idempotency_key: id } : { id })
      }
    case 'humandetect-api': return { token: id }
  }
}

/** Member for a provider's own data, which is validated and must not change under the same id. */
const FILLED: Readonly<Record<Provider, string>> = {
  aghanim: 'event_data', altdentifier: 'details', identity: 'details', 'humandetect-api': 'token'
}

/** Returns JSON of about this many bytes: short ones filled with a string, long ones with objects like order items. */
export function bodyOf (provider: Provider, id: string, keyed: boolean, bytes: number): string {
  const event = eventOf(provider, id, keyed)
  const missing = bytes - JSON.stringify(event).length
  if (missing <= 0) return JSON.stringify(event)
  const field = FILLED[provider]
  if (field === 'token') return JSON.stringify({ ...event, token: id + 'x'.repeat(missing) })
  const items = Array.from({ length: Math.max(0, Math.floor((missing - 40) / 84)) }, (_, index) => ({
    sku: `item-${String(index).padStart(6, '0')}`, type: 'bundle', quantity: 1, price: 4.99, currency: 'USD'
  }))
  const filled = { ...event, [field]: { ...event[field] as object, ...(items.length > 0 && { items }), note: '' } }
  const rest = bytes - JSON.stringify(filled).length
  return JSON.stringify({ ...filled, [field]: { ...filled[field] as object, note: 'x'.repeat(Math.max(0, rest)) } })
}

function sign ({ kind, provider }: ServerSettings, id: string, body: string): Headers {
  const json = { 'content-type': 'application/json' }
  if (kind === 'octokit') {
    const mac = createHmac('sha256', SECRET).update(body).digest('hex')
    return { ...json, 'x-github-event': 'push', 'x-github-delivery': id, 'x-hub-signature-256': `sha256=${mac}` }
  }
  if (kind === 'standardwebhooks') {
    const timestamp = String(Math.floor(Date.now() / 1000))
    const mac = createHmac('sha256', STANDARD_KEY).update(`${id}.${timestamp}.${body}`).digest('base64')
    return { ...json, 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${mac}` }
  }
  switch (provider) {
    case 'aghanim': return signAghanim({ secret: SECRET, body })
    case 'altdentifier': return signAltdentifier({ secret: SECRET, body })
    case 'identity': return signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint: SESSIONS, body })
    case 'humandetect-api': return { ...json, 'x-api-key': API_KEY }
  }
}

/** Returns the bytes of one request to a server. */
function requestOf (path: string, headers: Headers, body: string): Buffer {
  const lines = [
    `POST ${path} HTTP/1.1`, 'host: localhost', 'accept: */*', 'user-agent: bench',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), `content-length: ${body.length}`
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1')
}

let sent = 0

/** Returns new deliveries, in turn for each instance of the plugin. */
export function makeBatch (
  server: ServerSettings, { bytes = 330, keyed = false, forged = false }: Traffic, count: number
): Batch {
  const { provider, instances = 1 } = server
  const path = PATHS[provider]
  const requests = Array.from({ length: count }, (_, index) => {
    const id = `whevt_${String(++sent).padStart(28, '0')}`
    const body = bodyOf(provider, id, keyed, bytes)
    const headers = sign(server, id, body)
    const instance = index % instances
    return requestOf(instance === 0 ? path : `/${instance}${path}`, headers, forged ? forge(body) : body)
  })
  const answersEmpty = provider === 'altdentifier' || provider === 'identity'
  return { requests, status: forged ? 403 : answersEmpty ? 204 : 200 }
}

/** Changes a body that stays valid JSON and satisfies the schema: only its signature is wrong. */
function forge (body: string): string {
  const at = body.indexOf('whevt_')
  return `${body.slice(0, at)}W${body.slice(at + 1)}`
}
