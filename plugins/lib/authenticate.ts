import type { FastifyRequest } from 'fastify'
import { randomBytes } from 'node:crypto'
import { rawHeaderValues } from './headers.js'
import type { KeyLookup } from './keys.js'
import { createMacKey, findKey, type MacAlgorithm, type MacKey } from './mac.js'
import { reject, type Rejection, type Verified } from './rejection.js'
import type { NamedKey } from './secrets.js'

/** A MAC a sender presents, read strictly but not verified. */
export interface PresentedMac {
  readonly ok: true
  /** Several where any of them may match. */
  readonly macs: readonly Buffer[]
  /** What the sender put before the body, one byte a character. */
  readonly prefix: string
  /** Which secret the sender says it used. */
  readonly keyId?: string
  /** The id of the delivery, where it is in `prefix`. */
  readonly id?: string | undefined
}

/** The api-key or `keyId` goes along once it is known to be one of ours. */
export type Authentication = Authenticated | Rejection & { readonly keyId?: string | undefined }

export interface Authenticated {
  readonly ok: true
  /** Where there are secrets, which of them matched. */
  readonly secretIndex?: number
  readonly keyId?: string | undefined
  /** Who has made the MAC, the same in all processes: its api-key or, where there is none, the name of its secret. */
  readonly tenant?: string
  readonly mac?: Buffer
  /** The id of the delivery, where it is in a header that is signed. */
  readonly id?: string | undefined
}

/** The secret cannot be had at the moment, because of what a resolver threw. */
export interface NoSecret {
  readonly ok: null
  readonly cause: unknown
}

/** Throws, or rejects, where the clock throws. */
export type Authenticate =
  (request: FastifyRequest, body: Buffer | undefined) => Authentication | Promise<Authentication | NoSecret>

/** Which of the keys made the MAC that a delivery presents. All are tried. */
export function matchKeys (presented: PresentedMac, keys: readonly MacKey[], body: Uint8Array): Verified | Rejection {
  const secretIndex = findKey(keys, presented.macs, presented.prefix, body)
  return secretIndex === -1 ? reject('mismatch') : { ok: true, secretIndex }
}

interface Steps {
  readonly algorithm: MacAlgorithm
  readonly read: (request: FastifyRequest) => PresentedMac | Rejection
  readonly keysFor: KeyLookup<[request: FastifyRequest, keyId: string | undefined]>
  /** A second proof by the same key, looked at once the first one holds. */
  readonly confirm?: ((request: FastifyRequest, key: MacKey) => Rejection | undefined) | undefined
  /**
   * Whether one delivery may be signed with several of the keys. It is then known by the last of them, whichever
   * matched: copies of it that carry different signatures must not pass for different deliveries.
   */
  readonly severalKeys?: boolean
}

/** Headers first, then the keys, then one MAC a key: the same work whether or not there is a key for the sender. */
export function createAuthenticate (
  { algorithm, read, keysFor, confirm, severalKeys = false }: Steps
): Authenticate {
  const noKeys = [createMacKey(algorithm, randomBytes(32))]

  return (request, body) => {
    if (body === undefined) return reject('no_body')
    const presented = read(request)
    if (!presented.ok) return preciseRejection(presented, request)
    const keys = keysFor(request, presented.keyId)
    if (!(keys instanceof Promise)) return decide(request, body, presented, keys)
    return keys.then((found) => decide(request, body, presented, found), (cause: unknown) => ({ ok: null, cause }))
  }

  function decide (
    request: FastifyRequest, body: Buffer, presented: PresentedMac, keys: readonly NamedKey[] | undefined
  ): Authentication {
    const outcome = matchKeys(presented, keys ?? noKeys, body)
    const { keyId, macs, prefix, id } = presented
    if (keys === undefined) return reject('unknown_key')
    if (!outcome.ok) return { ok: false, reason: outcome.reason, keyId }
    const key = keys[outcome.secretIndex]!
    const rejection = confirm?.(request, key)
    if (rejection !== undefined) return { ...preciseRejection(rejection, request), keyId }
    const owner = severalKeys ? keys.at(-1)! : key
    const mac = owner === key && macs.length === 1 ? macs[0]! : owner.sign(prefix, body)
    return { ok: true, secretIndex: outcome.secretIndex, keyId, tenant: keyId ?? owner.name, mac, id }
  }
}

/** Node joins a repeated header into one text, which no pattern accepts: say so where that is what happened. */
function preciseRejection (rejection: Rejection, { raw }: FastifyRequest): Rejection {
  const { header } = rejection
  if (header === undefined) return rejection
  return rawHeaderValues(raw.rawHeaders, header).length > 1 ? reject('duplicate_header', header) : rejection
}
