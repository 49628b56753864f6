import type { FastifyInstance, FastifyRequest } from 'fastify'
import { KEY_ID, type KeyLookup } from '../signature/keys.js'
import type { NamedKey } from '../signature/secrets.js'
import type { Settings } from '../options.js'
import { diagnose } from './diagnose.js'
import { NO_KNOWN_MISTAKE, say } from './mistakes.js'
import type { Evidence, Scheme, SearchLimits } from './scheme.js'

/** Explains for the log why a delivery was not authentic. The promise never rejects. */
export type Explain = (request: FastifyRequest, body: Buffer | undefined) => Promise<string>

type Others = NonNullable<Evidence['others']>
type KnownKeys = NonNullable<KeyLookup<[]>['known']>

interface Route {
  readonly path: string
  readonly scheme: Scheme
  readonly keysFor: KeyLookup<[request: FastifyRequest, keyId: string | undefined]>
  /** The endpoint that must be signed, for a scheme that signs one. */
  readonly endpoint?: string
}

const NO_SEARCH = 'the search for a mistake failed'
const NOT_SEARCHED = 'not searched for, since another delivery was being searched'
const MAX_OTHERS = 50
/** Limits that keep a search under about 20 ms, whatever a stranger sends. */
const LIMITS: SearchLimits = { body: 2 ** 13, messages: 2 ** 21 }

/** The keys of each server's routes, by path. */
const servers = new WeakMap<object, Map<string, KnownKeys>>()

/**
 * Makes the function that finds mistakes in deliveries to a route, or returns undefined if `diagnose` is off. It
 * searches one delivery at a time and lets the event loop turn once before the next. It calls a resolver once more per
 * delivery.
 */
export function createExplain (
  scope: FastifyInstance, { diagnose: wanted, ...freshness }: Settings, { path, scheme, keysFor, endpoint }: Route
): Explain | undefined {
  if (!wanted) return undefined
  const routes = servers.get(scope.server) ?? new Map<string, KnownKeys>()
  servers.set(scope.server, routes)
  if (keysFor.known !== undefined) routes.set(path, keysFor.known)

  const search: Explain = async (request, body = Buffer.alloc(0)) => {
    const { headers, originalUrl: url } = request
    const given = scheme.keyId === undefined ? undefined : headers[scheme.keyId]
    const keyId = typeof given === 'string' && KEY_ID.test(given) ? given : undefined
    const nameless = scheme.keyId !== undefined && keyId === undefined
    const own = nameless ? [] : await keysFor(request, keyId) ?? []
    const found = diagnose(scheme, {
      headers,
      body,
      url,
      endpoint,
      freshness,
      keys: own.map(({ key }) => key),
      keyIds: [...keysFor.known?.keys() ?? []],
      others: othersThan(own, routes, path),
      limits: LIMITS
    })
    return found ?? NO_KNOWN_MISTAKE
  }

  let searching = false
  return async (request, body) => {
    if (searching) return NOT_SEARCHED
    searching = true
    const found = await search(request, body).catch(() => NO_SEARCH)
    setImmediate(() => { searching = false })
    return found
  }
}

/** Lists the keys of other signers: those of the other api-keys and of the other routes. */
function othersThan (own: readonly NamedKey[], routes: ReadonlyMap<string, KnownKeys>, path: string): Others {
  const seen = new Set(own.map(({ name }) => name))
  const others: { key: NamedKey['key'], mistake: string }[] = []
  const add = (keys: KnownKeys, tell: (id: string) => string): void => {
    for (const [id, { name, key }] of [...keys].flatMap(([id, list]) => list.map((key) => [id, key] as const))) {
      if (!seen.has(name)) others.push({ key, mistake: tell(id) })
      seen.add(name)
    }
  }
  add(routes.get(path) ?? new Map(), (id) => say('otherApiKey', id))
  for (const [route, keys] of routes) add(keys, () => say('otherRoute', route))
  return others.slice(0, MAX_OTHERS)
}
