import type { KeyObject } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { MacAlgorithm } from '../signature/hmac.js'
import type { Freshness } from '../signature/fields.js'

/** The scheme of a provider, described so that the mistakes of senders can be tried. Header names are in lower case. */
export interface Scheme {
  readonly algorithm: MacAlgorithm
  /** Encoding of the secret: its string is the key (`utf8`), or is decoded from base64. */
  readonly secret: 'utf8' | 'base64'
  /** Encoding of the MAC. */
  readonly encoding: 'hex' | 'base64'
  /** The header that carries the MAC. */
  readonly signature: string
  /** Prefix of the MAC in that header. */
  readonly prefix: string
  readonly prefixInAnyCase?: true
  /** Headers that are signed too, in this order and before the body. */
  readonly timestamp?: string
  readonly endpoint?: string
  /** Separator of the signed parts. */
  readonly separator: '' | '.'
  /** The header that names the secret. */
  readonly keyId?: string
}

/** A delivery whose signature does not match, as it arrived, and the values it was checked against. */
export interface Evidence {
  readonly headers: IncomingHttpHeaders
  readonly body: Uint8Array
  /** The request target: path and query. */
  readonly url?: string | undefined
  /** The endpoint that must be signed, for a scheme that signs one. */
  readonly endpoint?: string | undefined
  /** Keys that may have signed the delivery. */
  readonly keys: readonly KeyObject[]
  /** Keys of other signers, each with the mistake that names its owner. */
  readonly others?: readonly { readonly key: KeyObject, readonly mistake: string }[] | undefined
  /** Ids that have keys, for a scheme with ids. */
  readonly keyIds?: readonly string[] | undefined
  /** Limits for timestamps. Default: no timestamp is too old or ahead of time. */
  readonly freshness?: Freshness | undefined
  /** Limits of the search. Default: no limit for the body, and 64 MiB of messages. */
  readonly limits?: SearchLimits | undefined
}

/** Limits of a search, in bytes. */
export interface SearchLimits {
  /** Maximum length of a body of which other forms are tried. */
  readonly body: number
  /** Maximum length of the messages of all MACs together. */
  readonly messages: number
}

/** A value that a sender may have used, and the mistakes this would be. The list is empty if the value is right. */
export interface Variant<Value> {
  readonly value: Value
  readonly mistakes: readonly string[]
}
