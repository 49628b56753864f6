import { hash } from 'node:crypto'
import { canonicalBytes } from './canonical-json.js'

/** What of a delivery tells it from others. All of it is signed. */
export interface Identity {
  /** Its id, and what kind of id that is. */
  readonly id: readonly string[]
  /** What must be the same wherever the id is; absent where the id covers it. */
  readonly content?: unknown
}

/** Throws for what would make deliveries that are not the same look so, and get lost. */
export function checkIdentity (identity: Identity | undefined): Identity | undefined {
  if (identity === undefined) return undefined
  const { id } = identity
  if (Array.isArray(id) && id.length > 0 && Array.from(id).every((part) => typeof part === 'string' && part !== '')) {
    return identity
  }
  throw new TypeError('identify: no id')
}

/** How a store knows a delivery. */
export interface DeliveryId {
  /** The same for copies of one delivery. */
  readonly key: string
  /** The same for the same content. */
  readonly fingerprint: string
}

/** Ids that are equal in two namespaces are not the same delivery: see `namespaceOf`. */
export function deliveryId (namespace: string, { id, content }: Identity): DeliveryId {
  return {
    key: digest(namespace + JSON.stringify(id)), // lists: however texts are split, no two are the same
    fingerprint: content === undefined ? '' : digest(canonicalBytes(content))
  }
}

/** The text of a namespace, to be made once for many deliveries. */
export function namespaceOf (...names: string[]): string {
  return JSON.stringify(names)
}

function digest (text: string | Buffer): string {
  return hash('sha256', text, 'base64url')
}
