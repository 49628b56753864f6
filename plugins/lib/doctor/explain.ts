import type { FastifyInstance, FastifyRequest } from 'fastify'
import { KEY_ID, type KeyLookup } from '../signature/keys.js'
import type { NamedKey } from '../signature/secrets.js'
import { InvalidOption } from '../errors.js'
import type { Freshness } from '../signature/fields.js'
import type { CompiledScheme } from '../signature/scheme.js'
import { describeScheme } from './describe.js'
import { diagnose } from './diagnose.js'
import { NO_KNOWN_MISTAKE, say } from './mistakes.js'
import type { Evidence, Scheme, SearchLimits } from './scheme.js'

/** Explains for the log why a delivery was not authentic. The promise never rejects. */
export type Explain = (request: FastifyRequest, body: Buffer | undefined) => Promise<string>

type Others = NonNullable<Evidence['others']>
type KnownKeys = NonNullable<KeyLookup<[]>['known']>

type Keys = KeyLookup<[request: FastifyRequest, keyId: string | undefined]>

const NO_SEARCH = 'the diagnosis failed'
const NOT_SEARCHED = 'not diagnosed, since another delivery was being diagnosed'
const MAX_OTHERS = 50
/** Limits that keep a search under about 20 ms, whatever a stranger sends. */
const LIMITS: SearchLimits = { body: 2 ** 13, messages: 2 ** 21 }

/** The keys of each server's routes, by path. */
const servers = new WeakMap<object, Map<string, KnownKeys>>()

/**
 * Makes a function that makes the search for mistakes in deliveries to a route, given the path of the route and the
 * endpoint that must be signed, for a scheme that signs one. It searches one delivery at a time and lets the event loop
 * turn once before the next. It calls a resolver once more per delivery.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if the signature has no scheme that can be searched
 */
export function createExplain (
  scope: FastifyInstance, plugin: string, signature: object, keysFor: Keys, freshness: Freshness
): (path: string, endpoint: string | undefined) => Explain {
  const scheme = 'source' in signature ? describeScheme(signature as CompiledScheme) : undefined
  if (scheme === undefined) throw new InvalidOption(plugin, 'diagnose', 'requires a "scheme" that supports diagnosis')
  const routes = servers.get(scope.server) ?? new Map<string, KnownKeys>()
  servers.set(scope.server, routes)
  return (path, endpoint) => {
    if (keysFor.known !== undefined) routes.set(path, keysFor.known)
    return explainOne(scheme, keysFor, freshness, routes, path, endpoint)
  }
}

function explainOne (
  scheme: Scheme, keysFor: Keys, freshness: Freshness, routes: ReadonlyMap<string, KnownKeys>, path: string,
  endpoint: string | undefined
): Explain {
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
