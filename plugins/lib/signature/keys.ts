import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { InvalidOption } from '../errors.js'
import { safeLog } from '../telemetry.js'
import type { Callback } from '../callback.js'
import type { Awaitable } from '../rules.js'
import { deriveKeys, isWeak, type NamedKey, type Secret, type SecretRules } from './secrets.js'
import { createTimeLimit, isThenable } from '../timers.js'

/**
 * Finds the secret for a request that is **not verified yet**: do not trust anything in it. Must finish within 1
 * second. If it returns `undefined`, `null` or a value that cannot be a secret, the delivery is rejected like a forged
 * one. If it throws, the response is 503.
 */
export type SecretResolver<Args extends unknown[] = [request: FastifyRequest]> =
  Callback<Args, Awaitable<Secret | null | undefined>>

/** Looks up the keys that may have signed a request. Returns undefined if there are no keys for it. */
export interface KeyLookup<Args extends unknown[]> {
  (...args: Args): Awaitable<readonly NamedKey[] | undefined>
  /** All keys by id, or under '' if there are no ids. Absent if only a resolver knows them. */
  readonly known?: ReadonlyMap<string, readonly NamedKey[]>
}

const MAX_CACHED = 1000
const RESOLVER_TIMEOUT = 1000 // ms
const ABSENT_FOR = 1000 // ms

/**
 * Caches the keys of secrets that arrive with every call, from a resolver or as an argument. Holds at most 1,000
 * entries and removes the oldest first. Calls `derived` with keys that were not cached.
 */
export function cacheKeys (
  rules: SecretRules, derived?: (keys: readonly NamedKey[]) => void
): (secret: unknown) => readonly NamedKey[] {
  const cache = new Map<string, readonly NamedKey[]>()
  return (secret) => {
    const name = nameOf(secret)
    if (name === undefined) return deriveKeys(secret, rules) // this throws
    const known = cache.get(name)
    if (known !== undefined) return known
    const keys = deriveKeys(secret, rules)
    derived?.(keys)
    setBounded(cache, name, keys)
    return keys
  }
}

/** Adds an entry to a Map of at most 1,000 entries. Removes the oldest one if the Map is full. */
function setBounded<Value> (map: Map<string, Value>, name: string, value: Value): void {
  if (map.size === MAX_CACHED) map.delete(map.keys().next().value!)
  map.set(name, value)
}

/** Returns a cache name that distinguishes a string from a list of one string, or undefined for any other value. */
function nameOf (secret: unknown): string | undefined {
  if (typeof secret === 'string') return `text ${secret}`
  const texts = Array.isArray(secret) && secret.every((text) => typeof text === 'string')
  return texts ? `list ${JSON.stringify(secret)}` : undefined
}

/**
 * Derives the keys of a secret from the options. Logs a warning for a weak one, which only `allowWeakSecret` accepts.
 */
function deriveOptionKeys (secret: unknown, rules: SecretRules, log: FastifyBaseLogger): readonly NamedKey[] {
  const keys = deriveKeys(secret, rules)
  if (keys.some(isWeak)) warnOfWeakSecret(rules, log)
  return keys
}

function warnOfWeakSecret ({ plugin, option }: SecretRules, log: FastifyBaseLogger): void {
  safeLog(log, 'warn', { plugin, option }, 'a secret is weak')
}

/** Makes the key lookup for a `secret` option, which holds secrets or a resolver. */
export function createKeyLookup (
  secret: Secret | SecretResolver, rules: SecretRules, log: FastifyBaseLogger
): KeyLookup<[request: FastifyRequest]> {
  if (typeof secret === 'function') return lookUpBy(secret, rules, log)
  const keys = deriveOptionKeys(secret, rules, log)
  return Object.assign(() => keys, { known: new Map([['', keys]]) })
}

/**
 * Secrets by the id that a sender gives, or a function that finds them. The function is called once at a time for an id
 * (together with host and URL, unless the id is its only parameter), and not again for 1 second after it found no
 * secret.
 */
export type KeyRing = Readonly<Record<string, Secret>> | ReadonlyMap<string, Secret> |
  SecretResolver<[keyId: string, request: FastifyRequest]>

/**
 * Pattern of a key id: 1 to 256 characters of visible ASCII, except the comma, with which Node joins repeated headers.
 */
export const KEY_ID = /^[\x21-\x2b\x2d-\x7e]{1,256}$/

/** Makes the key lookup for a ring. Uses a Map, so that an id cannot match a property that every object has. */
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
    throw new InvalidOption(plugin, option, 'must have ids of up to 256 visible ASCII characters without commas')
  }
  const names = new Set<string>()
  const keys = new Map([...secrets].map(([keyId, secret]) => [keyId, deriveOptionKeys(secret, rules, log).map((key) => {
    // Otherwise a delivery would count as new under the other id.
    if (names.has(key.name)) throw new InvalidOption(plugin, option, 'must not have the same secret for two ids')
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

/** Returns the secret of one id without checking the others. */
export function findSecret (ring: unknown, keyId: string, caller: string, option: string): Secret | undefined {
  if (ring instanceof Map) return ring.get(keyId)
  if (typeof ring !== 'object' || ring === null || Array.isArray(ring)) {
    throw new InvalidOption(caller, option, 'must be an object or a Map')
  }
  return Object.hasOwn(ring, keyId) ? (ring as Record<string, Secret>)[keyId] : undefined
}

/**
 * Makes a key lookup that calls a user's resolver, and rejects if the resolver throws or hangs. Logs a value that
 * cannot be a secret as an error. Logs a warning for the first weak secret only, since every tenant may have one.
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
      const problem = error instanceof InvalidOption ? error.message : 'cannot get the secret'
      safeLog(log, 'error', { plugin, option, problem }, 'the secret for a delivery is invalid')
      return undefined
    }
  }
}

/**
 * Shares a pending lookup among all callers that need the same name, and remembers for 1 second that a name has no
 * keys.
 */
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
