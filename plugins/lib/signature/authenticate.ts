import type { FastifyRequest } from 'fastify'
import { randomBytes } from 'node:crypto'
import { contextOf } from '../context.js'
import { rawHeaderValues } from './fields.js'
import type { KeyLookup } from './keys.js'
import { createMacKey, findKey, type MacAlgorithm, type MacKey } from './hmac.js'
import { reject, type Rejection, type Verified } from './rejection.js'
import type { NamedKey } from './secrets.js'
import { checkFreshness, type Freshness } from './timestamp.js'

/** A MAC a sender presents, read strictly but not verified. */
export interface ParsedSignature {
  readonly ok: true
  /** Several where any of them may match. */
  readonly macs: readonly Buffer[]
  /** What the sender put before the body, one byte a character. */
  readonly prefix: string
  /** Signed text after the body, one byte a character. */
  readonly suffix?: string | undefined
  /** Time of signing in Unix seconds, where that is in `prefix`. */
  readonly timestamp?: number | undefined
  /** Which secret the sender says it used. */
  readonly keyId?: string | undefined
  /** The id of the delivery, where it is in `prefix`. */
  readonly id?: string | undefined
  /** True where a delivery may carry the MACs of several secrets, all of which it then belongs to. */
  readonly several?: boolean | undefined
}

/** A secret under which a delivery is known, and the MAC it makes of it. */
export interface Signer {
  /** Identifies the owner of the secret in all processes; never text that is not signed. */
  readonly tenant: string
  readonly mac: Buffer
}

/** The api-key or `keyId` goes along once it is known to be one of ours. */
export type Authentication = Authenticated | Rejection & { readonly keyId?: string | undefined }

export interface Authenticated {
  readonly ok: true
  /** Where there are secrets, which of them matched. */
  readonly secretIndex?: number
  readonly keyId?: string | undefined
  /** Undefined where nothing is signed, else at least one; several only where a delivery may carry several MACs. */
  readonly signers?: readonly Signer[]
  /** The id of the delivery, where it is in a header that is signed. */
  readonly id?: string | undefined
}

/** The secret cannot be had at the moment, because of what a resolver threw. */
export interface NoSecret {
  readonly ok: null
  readonly cause: unknown
}

/** The result of reading the headers alone: a rejection refuses the delivery whatever its body is. */
export type Presented = { readonly ok: true } | Rejection

/** Throws, or rejects, where the clock throws. */
export interface Authenticate {
  (request: FastifyRequest, body: Buffer | undefined): Authentication | Promise<Authentication | NoSecret>
  /** Reads the headers before the body arrives; the delivery keeps what they say. */
  readonly readHeaders?: (request: FastifyRequest) => Presented
}

/**
 * Finds which of the keys made the MAC that a delivery presents, and checks its time after that: only who has a secret
 * can be late or early. All keys are tried.
 */
export function matchKeys (
  { macs, prefix, suffix, timestamp }: ParsedSignature, keys: readonly MacKey[], body: Uint8Array, freshness: Freshness
): Verified | Rejection {
  const secretIndex = findKey(keys, macs, prefix, withSuffix(body, suffix))
  if (secretIndex === -1) return reject('mismatch')
  return (timestamp === undefined ? undefined : checkFreshness(timestamp, freshness)) ?? { ok: true, secretIndex }
}

/** Returns the body followed by the text that is signed after it. */
export function withSuffix (body: Uint8Array, suffix: string | undefined): Uint8Array {
  return suffix === undefined || suffix === '' ? body : Buffer.concat([body, Buffer.from(suffix, 'latin1')])
}

interface Steps {
  readonly algorithm: MacAlgorithm
  readonly read: (request: FastifyRequest) => ParsedSignature | Rejection
  readonly keysFor: KeyLookup<[request: FastifyRequest, keyId: string | undefined]>
  readonly freshness: Freshness
  /** A second proof by the same key, looked at once the first one holds. */
  readonly confirm?: ((request: FastifyRequest, key: MacKey) => Rejection | undefined) | undefined
}

/** Headers first, then the keys, then one MAC a key: the same work whether or not there is a key for the sender. */
export function createAuthenticate (
  { algorithm, read, keysFor, freshness, confirm }: Steps
): Authenticate {
  const noKeys = [createMacKey(algorithm, randomBytes(32))]

  function authenticate (
    request: FastifyRequest, body: Buffer | undefined
  ): Authentication | Promise<Authentication | NoSecret> {
    if (body === undefined) return reject('no_body')
    const presented = (contextOf(request)?.presented as ParsedSignature | Rejection | undefined) ?? read(request)
    if (!presented.ok) return preciseRejection(presented, request)
    const keys = keysFor(request, presented.keyId)
    if (!(keys instanceof Promise)) return decide(request, body, presented, keys)
    return keys.then((found) => decide(request, body, presented, found), (cause: unknown) => ({ ok: null, cause }))
  }
  const readHeaders = (request: FastifyRequest): Presented => {
    const presented = read(request)
    return presented.ok ? presented : preciseRejection(presented, request)
  }
  return Object.assign(authenticate, { readHeaders })

  function decide (
    request: FastifyRequest, body: Buffer, presented: ParsedSignature, keys: readonly NamedKey[] | undefined
  ): Authentication {
    const outcome = matchKeys(presented, keys ?? noKeys, body, freshness)
    const { keyId, id } = presented
    if (keys === undefined) return reject('unknown_key')
    if (!outcome.ok) return { ...outcome, keyId }
    const { secretIndex } = outcome
    const key = keys[secretIndex]!
    const rejection = confirm?.(request, key)
    if (rejection !== undefined) return { ...preciseRejection(rejection, request), keyId }
    return { ok: true, secretIndex, keyId, signers: signersOf(presented, keys, key, body), id }
  }
}

/**
 * Lists the secrets that a delivery is known by: the one that matched or, where it may carry several MACs, all of them
 * in the order of the list. A copy that lacks some of the MACs is then known by a secret that the others share.
 */
function signersOf (
  { macs, prefix, suffix, several }: ParsedSignature, keys: readonly NamedKey[], matched: NamedKey, body: Uint8Array
): Signer[] {
  if (!several) return [{ tenant: matched.tenant, mac: macs[0]! }]
  const message = withSuffix(body, suffix)
  return keys.map((key) => ({ tenant: key.tenant, mac: key.sign(prefix, message) }))
}

/** Node joins a repeated header into one text, which no pattern accepts: say so where that is what happened. */
function preciseRejection (rejection: Rejection, { raw }: FastifyRequest): Rejection {
  const { header } = rejection
  if (header === undefined) return rejection
  return rawHeaderValues(raw.rawHeaders, header).length > 1 ? reject('duplicate_header', header) : rejection
}
