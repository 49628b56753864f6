import type { KeyObject } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { MacAlgorithm } from '../signature/hmac.js'
import type { Freshness } from '../signature/timestamp.js'

/** How a provider signs, described so that what senders do instead can be tried. Names of headers in lower case. */
export interface Scheme {
  readonly algorithm: MacAlgorithm
  /** How the text of a secret stands for the bytes of the key. */
  readonly secret: 'utf8' | 'base64'
  /** How the MAC is written. */
  readonly encoding: 'hex' | 'base64'
  /** The header that carries the MAC. */
  readonly signature: string
  /** What precedes the MAC in that header. */
  readonly prefix: string
  readonly prefixInAnyCase?: true
  /** The headers that are signed too, before the body and in this order. */
  readonly timestamp?: string
  readonly endpoint?: string
  /** What stands between the signed parts. */
  readonly separator: '' | '.'
  /** The header that names the secret. */
  readonly keyId?: string
}

/** A delivery whose signature does not match, as it arrived, and what it was held against. */
export interface Evidence {
  readonly headers: IncomingHttpHeaders
  readonly body: Uint8Array
  /** The request's target: path and query. */
  readonly url?: string | undefined
  /** The endpoint that must have been signed, for a scheme with one. */
  readonly endpoint?: string | undefined
  /** The keys that may have signed it. */
  readonly keys: readonly KeyObject[]
  /** Keys that others sign with, and who they are, as a mistake says it. */
  readonly others?: readonly { readonly key: KeyObject, readonly mistake: string }[] | undefined
  /** Of a scheme with such: the ids that have keys. */
  readonly keyIds?: readonly string[] | undefined
  /** Without it, no timestamp is too old or ahead of time. */
  readonly freshness?: Freshness | undefined
  /** Limits of the search. Default: none for the body, and 64 MiB of messages. */
  readonly limits?: SearchLimits | undefined
}

/** Limits of a search, in bytes. */
export interface SearchLimits {
  /** The longest body of which other forms are tried. */
  readonly body: number
  /** The messages of all MACs together. */
  readonly messages: number
}

/** What a sender may have done, and which mistakes that would be: none if it is right. */
export interface Variant<Value> {
  readonly value: Value
  readonly mistakes: readonly string[]
}
