import type { FastifyRequest } from 'fastify'
import { randomBytes } from 'node:crypto'
import { checkFreshness, rawHeaderValues, reject, type Freshness, type Rejection, type Verified } from './fields.js'
import type { KeyLookup } from './keys.js'
import { createMacKey, findKey, type MacAlgorithm, type MacKey } from './hmac.js'
import type { CompiledScheme } from './scheme.js'
import type { NamedKey, SecretEncoding } from './secrets.js'

/** A MAC presented by a sender: parsed strictly, but not verified. */
export interface ParsedSignature {
  readonly ok: true
  /** The presented MACs. If there are several, any one of them may match. */
  readonly macs: readonly Buffer[]
  /** The signed content that precedes the body, one byte per character. */
  readonly prefix: string
  /** The signed content that follows the body, one byte per character. */
  readonly suffix?: string | undefined
  /** Time of signing in Unix seconds, if it is signed. */
  readonly timestamp?: number | undefined
  /** Id of the secret that the sender claims to have used. */
  readonly keyId?: string | undefined
  /** Id of the delivery, if it is signed. */
  readonly id?: string | undefined
  /** True if a delivery may carry the MACs of several secrets. The delivery then belongs to all of these secrets. */
  readonly several?: boolean | undefined
}

/** The owner of a secret under which a delivery is known, and the MAC of the delivery made with that secret. */
export interface Signer {
  /** Identifier of the secret's owner, the same in all processes. Never a string that is unsigned. */
  readonly tenant: string
  readonly mac: Buffer
}

/** The result of authentication. A rejection includes the api-key or `keyId` if there is a secret for it. */
export type Authentication = Authenticated | Rejection & { readonly keyId?: string | undefined }

export interface Authenticated {
  readonly ok: true
  /** Index of the secret that matched, counted from 0. Undefined if there are no secrets. */
  readonly secretIndex?: number
  readonly keyId?: string | undefined
  /**
   * Signers of the delivery, at least one; several only if a delivery may carry several MACs. Undefined if nothing is
   * signed.
   */
  readonly signers?: readonly Signer[]
  /** Id of the delivery, if it is in a signed header. */
  readonly id?: string | undefined
}

/** The result if the secret is unavailable. `cause` is what the resolver threw. */
export interface NoSecret {
  readonly ok: null
  readonly cause: unknown
}

/** The result of checking the headers alone. A rejection applies whatever the body is. */
export type Presented = { readonly ok: true } | Rejection

/** Authenticates a delivery. Throws, or returns a promise that rejects, if the clock throws. */
export interface Authenticate {
  (
    request: FastifyRequest, body: Buffer | undefined, presented?: Presented
  ): Authentication | Promise<Authentication | NoSecret>
  /** Checks the headers before the body arrives. The result is passed on as `presented`. */
  readonly readHeaders?: (request: FastifyRequest) => Presented
}

/**
 * Finds the key that made a presented MAC, then checks the timestamp: only a sender that has a secret can be too late
 * or too early. Tries every key.
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

/** The reader of signatures that no scheme can describe. */
export interface SignatureReader {
  readonly algorithm: MacAlgorithm
  readonly key: SecretEncoding
  /** Names of the headers that it needs. */
  readonly headers: readonly string[]
  readonly read: (request: FastifyRequest) => ParsedSignature | Rejection
}

interface Steps {
  readonly signature: CompiledScheme | SignatureReader
  /** Public path and query that must be signed, for a scheme with `{endpoint}`. */
  readonly endpoint?: string | undefined
  readonly keysFor: KeyLookup<[request: FastifyRequest, keyId: string | undefined]>
  readonly freshness: Freshness
  /** Checks a second proof made with the same key, once the first one is verified. */
  readonly confirm?: ((request: FastifyRequest, key: MacKey) => Rejection | undefined) | undefined
}

/**
 * Makes a function that parses the headers, then looks up the keys, then computes one MAC per key. The work is the same
 * whether or not there is a key for the sender.
 */
export function createAuthenticate (
  { signature, endpoint, keysFor, freshness, confirm }: Steps
): Authenticate {
  const noKeys = [createMacKey(signature.algorithm, randomBytes(32))]
  const read = readerOf(signature)

  function authenticate (
    request: FastifyRequest, body: Buffer | undefined, early?: Presented
  ): Authentication | Promise<Authentication | NoSecret> {
    if (body === undefined) return reject('no_body')
    const presented = (early as ParsedSignature | Rejection | undefined) ?? read(request, endpoint)
    if (!presented.ok) return preciseRejection(presented, request)
    const keys = keysFor(request, presented.keyId)
    if (!(keys instanceof Promise)) return decide(request, body, presented, keys)
    return keys.then((found) => decide(request, body, presented, found), (cause: unknown) => ({ ok: null, cause }))
  }
  const readHeaders = (request: FastifyRequest): Presented => {
    const presented = read(request, endpoint)
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
 * Lists the signers of a delivery: the owner of the secret that matched or, if a delivery may carry several MACs, the
 * owners of all secrets in the order of the list. A copy that lacks some of the MACs then still shares a secret with
 * the other copies.
 */
function signersOf (
  { macs, prefix, suffix, several }: ParsedSignature, keys: readonly NamedKey[], matched: NamedKey, body: Uint8Array
): Signer[] {
  if (!several) return [{ tenant: matched.tenant, mac: macs[0]! }]
  const message = withSuffix(body, suffix)
  return keys.map((key) => ({ tenant: key.tenant, mac: key.sign(prefix, message) }))
}

/**
 * Changes the reason of a rejection to `duplicate_header` if the header was repeated. Node joins repeated headers into
 * one string, which no pattern accepts.
 */
function preciseRejection (rejection: Rejection, { raw }: FastifyRequest): Rejection {
  const { header } = rejection
  if (header === undefined) return rejection
  return rawHeaderValues(raw.rawHeaders, header).length > 1 ? reject('duplicate_header', header) : rejection
}

/** Makes the reader of a request's headers. A list could be extended unnoticed by a header that is sent twice. */
function readerOf (
  signature: CompiledScheme | SignatureReader
): (request: FastifyRequest, endpoint: string | undefined) => ParsedSignature | Rejection {
  if (!('lists' in signature)) return signature.read
  const { lists, read } = signature
  if (lists.length === 0) return ({ headers }, endpoint) => read(headers, endpoint)
  return ({ headers, raw: { rawHeaders } }, endpoint) => {
    const repeated = lists.find((name) => rawHeaderValues(rawHeaders, name).length > 1)
    return repeated === undefined ? read(headers, endpoint) : reject('duplicate_header', repeated)
  }
}
