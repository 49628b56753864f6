import { hash } from 'node:crypto'
import { canonicalBytes } from './canonical-json.js'

/** The values that distinguish a delivery from others. All of them are signed. */
export interface Identity {
  /** Id of the delivery, and the kind of that id. */
  readonly id: readonly string[]
  /** Content that must be the same wherever the id is the same. Absent if the id already covers the content. */
  readonly content?: unknown
}

/**
 * Checks an identity. An invalid one would make different deliveries look the same, and some would be lost.
 *
 * @throws {TypeError} if the id is not a non-empty list of non-empty strings
 */
export function checkIdentity (identity: Identity | undefined): Identity | undefined {
  if (identity === undefined) return undefined
  const { id } = identity
  if (Array.isArray(id) && id.length > 0 && Array.from(id).every((part) => typeof part === 'string' && part !== '')) {
    return identity
  }
  throw new TypeError('identify: no id')
}

/** The values by which a store knows a delivery. */
export interface DeliveryId {
  /** Key of the delivery, equal for all copies of it. */
  readonly key: string
  /** Fingerprint of the content, equal for equal content. */
  readonly fingerprint: string
}

/**
 * Computes the key and fingerprint of a delivery. Equal ids in two namespaces are different deliveries: see
 * `namespaceOf`.
 */
export function deliveryId (namespace: string, { id, content }: Identity): DeliveryId {
  return {
    key: digest(namespace + JSON.stringify(id)), // lists: strings that are split differently give different keys
    fingerprint: content === undefined ? '' : digest(canonicalBytes(content))
  }
}

/** Returns the string of a namespace, to be made once for many deliveries. */
export function namespaceOf (...names: string[]): string {
  return JSON.stringify(names)
}

function digest (text: string | Buffer): string {
  return hash('sha256', text, 'base64url')
}
