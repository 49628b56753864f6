import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { InvalidOption } from '../errors.js'
import { safeLog } from '../log.js'
import type { Callback } from '../callback.js'
import type { Awaitable } from '../rules.js'
import { deriveKeys, isWeak, type NamedKey, type Secret, type SecretRules } from './secrets.js'
import { isThenable } from '../thenable.js'
import { createTimeLimit } from '../time-limit.js'

/**
 * Finds the secret for a request that is **not verified yet**: trust nothing in it. It has one second. For `undefined`
 * and `null`, and for what cannot be a secret, the delivery is refused like a forged one; a thrown error is a 503.
 */
export type SecretResolver<Args extends unknown[] = [request: FastifyRequest]> =
  Callback<Args, Awaitable<Secret | null | undefined>>

/** The keys that may have signed a request; undefined if there are none for it. */
export interface KeyLookup<Args extends unknown[]> {
  (...args: Args): Awaitable<readonly NamedKey[] | undefined>
  /** All keys by their ids, or by '' where there are none. Absent where only a resolver knows. */
  readonly known?: ReadonlyMap<string, readonly NamedKey[]>
}

const MAX_CACHED = 1000
const RESOLVER_TIMEOUT = 1000 // ms
const ABSENT_FOR = 1000 // ms

/**
 * Derives keys once for secrets that arrive with every call, be it from a resolver or as an argument. Bounded: the
 * oldest goes first. `derived` is told of keys that were not known.
 */
export function cacheKeys (
  rules: SecretRules, derived?: (keys: readonly NamedKey[]) => void
): (secret: unknown) => readonly NamedKey[] {
  const cache = new Map<string, readonly NamedKey[]>()
  return (secret) => {
    const name = nameOf(secret)
    if (name === undefined) return deriveKeys(secret, rules) // which throws
    const known = cache.get(name)
    if (known !== undefined) return known
    const keys = deriveKeys(secret, rules)
    derived?.(keys)
    setBounded(cache, name, keys)
    return keys
  }
}

/** Adds to a Map that holds 1,000 at most: the oldest goes first. */
function setBounded<Value> (map: Map<string, Value>, name: string, value: Value): void {
  if (map.size === MAX_CACHED) map.delete(map.keys().next().value!)
  map.set(name, value)
}

/** Tells a text from a list of one text; undefined for what is neither. */
function nameOf (secret: unknown): string | undefined {
  if (typeof secret === 'string') return `text ${secret}`
  const texts = Array.isArray(secret) && secret.every((text) => typeof text === 'string')
  return texts ? `list ${JSON.stringify(secret)}` : undefined
}

/** The keys of a secret from the options. Warns of a weak one, which only `allowWeakSecret` lets through. */
function deriveOptionKeys (secret: unknown, rules: SecretRules, log: FastifyBaseLogger): readonly NamedKey[] {
  const keys = deriveKeys(secret, rules)
  if (keys.some(isWeak)) warnOfWeakSecret(rules, log)
  return keys
}

function warnOfWeakSecret ({ plugin, option }: SecretRules, log: FastifyBaseLogger): void {
  safeLog(log, 'warn', { plugin, option }, 'a secret is weak')
}

/** The keys of a `secret` option, be it secrets or a resolver. */
export function createKeyLookup (
  secret: Secret | SecretResolver, rules: SecretRules, log: FastifyBaseLogger
): KeyLookup<[request: FastifyRequest]> {
  if (typeof secret === 'function') return lookUpBy(secret, rules, log)
  const keys = deriveOptionKeys(secret, rules, log)
  return Object.assign(() => keys, { known: new Map([['', keys]]) })
}

/**
 * Secrets by the id under which a sender names them, or a function that finds them. That function is asked once at a
 * time for an id (and host and URL, unless it has the id as its only parameter), and not again for a second after it
 * found none.
 */
export type KeyRing = Readonly<Record<string, Secret>> | ReadonlyMap<string, Secret> |
  SecretResolver<[keyId: string, request: FastifyRequest]>

/** Visible ASCII except the comma, by which Node joins repeated headers; up to 256 characters. */
export const KEY_ID = /^[\x21-\x2b\x2d-\x7e]{1,256}$/

/** The keys of every id in a ring. Looked up in a Map: no id is the name of an object's own property. */
export function createKeyRingLookup (
  ring: KeyRing, rules: SecretRules, log: FastifyBaseLogger
): KeyLookup<[request: FastifyRequest, keyId: string | undefined]> {
  const { plugin, option } = rules
  if (typeof ring === 'function') {
    const lookUp = onceAtATime(lookUpBy(ring, rules, log), ring.length === 1
      ? (keyId) => keyId
      : (keyId, { host, originalUrl }) => JSON.stringify([keyId, host, originalUrl]))
    return (request, keyId) => lookUp(keyId!, request)
  }
  const secrets = ringEntries(ring, plugin, option)
  if (secrets.size === 0) throw new InvalidOption(plugin, option, 'must not be empty')
  if (![...secrets.keys()].every((keyId) => typeof keyId === 'string' && KEY_ID.test(keyId))) {
    throw new InvalidOption(plugin, option, 'must be named by visible ASCII without commas, of up to 256 characters')
  }
  const names = new Set<string>()
  const keys = new Map([...secrets].map(([keyId, secret]) => [keyId, deriveOptionKeys(secret, rules, log).map((key) => {
    // A delivery would be new under the other id.
    if (names.has(key.name)) throw new InvalidOption(plugin, option, 'must not have one secret under two ids')
    names.add(key.name)
    return { ...key, tenant: keyId }
  })]))
  return Object.assign((_request: FastifyRequest, keyId: string | undefined) => keys.get(keyId!), { known: keys })
}

function ringEntries (ring: unknown, plugin: string, option: string): ReadonlyMap<string, Secret> {
  if (ring instanceof Map) return ring
  if (typeof ring === 'object' && ring !== null && !Array.isArray(ring)) return new Map(Object.entries(ring))
  throw new InvalidOption(plugin, option, 'must be an object, a Map or a function')
}

/** The secret of one id, without a look at the others. */
export function findSecret (ring: unknown, keyId: string, caller: string, option: string): Secret | undefined {
  if (ring instanceof Map) return ring.get(keyId)
  if (typeof ring !== 'object' || ring === null || Array.isArray(ring)) {
    throw new InvalidOption(caller, option, 'must be an object or a Map')
  }
  return Object.hasOwn(ring, keyId) ? (ring as Record<string, Secret>)[keyId] : undefined
}

/**
 * Calls a user's resolver. Rejects if it throws or hangs. Logs what cannot be a secret as an error, and the first weak
 * one only as a warning, since there may be one a tenant.
 */
function lookUpBy<Args extends unknown[]> (
  resolver: SecretResolver<Args>, rules: SecretRules, log: FastifyBaseLogger
): KeyLookup<Args> {
  let warned = false
  const keysOf = cacheKeys(rules, (keys) => {
    if (warned || !keys.some(isWeak)) return
    warned = true
    warnOfWeakSecret(rules, log)
  })
  const inTime = createTimeLimit(RESOLVER_TIMEOUT)
  return async (...args) => {
    const found = (resolver as (...args: Args) => ReturnType<typeof resolver>)(...args)
    const secret = isThenable(found) ? await inTime(found) : found
    const none = secret === undefined || secret === null || secret === '' ||
      (Array.isArray(secret) && secret.length === 0)
    if (none) return undefined
    try {
      return keysOf(secret)
    } catch (error) {
      const { plugin, option } = rules
      const problem = error instanceof InvalidOption ? error.message : 'the secret cannot be read'
      safeLog(log, 'error', { plugin, option, problem }, 'the secret for a delivery cannot be used')
      return undefined
    }
  }
}

/** Shares a look-up among those who ask for the same name meanwhile, and remembers for a second that there is none. */
function onceAtATime<Args extends unknown[]> (
  lookUp: KeyLookup<Args>, nameOf: (...args: Args) => string
): KeyLookup<Args> {
  const pending = new Map<string, Promise<readonly NamedKey[] | undefined>>()
  const absentSince = new Map<string, number>()

  async function ask (name: string, args: Args): Promise<readonly NamedKey[] | undefined> {
    try {
      const keys = await lookUp(...args)
      if (keys === undefined) setBounded(absentSince, name, performance.now())
      return keys
    } finally {
      pending.delete(name)
    }
  }

  return (...args) => {
    const name = nameOf(...args)
    const since = absentSince.get(name)
    if (since !== undefined) {
      if (performance.now() - since < ABSENT_FOR) return undefined
      absentSince.delete(name)
    }
    const shared = pending.get(name) ?? ask(name, args)
    pending.set(name, shared)
    return shared
  }
}
