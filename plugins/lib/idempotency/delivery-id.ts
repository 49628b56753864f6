import { hash } from 'node:crypto'

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
  throw new TypeError('identify: returned no id')
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

/** Strings that JSON writes unchanged between quotes. */
const PLAIN = /^[ !#-[\]-~]*$/
const SHORT = 32 // maximum characters that are cheaper to copy one by one
const INITIAL_BYTES = 2 ** 14
const MAX_KEPT_BYTES = 2 ** 20
const [QUOTE, COMMA, ZERO, COLON, OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = Buffer.from('",0:[]{}') as unknown as
  [number, number, number, number, number, number, number, number]

// Output buffer, kept between calls: garbage-collecting it would cost more than writing to it.
let bytes = Buffer.allocUnsafe(INITIAL_BYTES)
let length = 0

/**
 * Writes a parsed JSON value as canonical JSON in UTF-8: the same bytes for every order of its keys, different bytes
 * for every other value. Uses its own stack, since a sender may nest values deeper than the call stack allows. The
 * result is valid until the next call.
 *
 * @throws {TypeError} if JSON cannot express the value, for example a BigInt
 */
function canonicalBytes (value: unknown): Buffer {
  if (bytes.length > MAX_KEPT_BYTES) bytes = Buffer.allocUnsafe(INITIAL_BYTES)
  length = 0
  if (typeof value !== 'object' || value === null) {
    writePrimitive(value)
    return bytes.subarray(0, length)
  }
  // Three entries for each enclosing array or object: itself, its keys (undefined for an array), and the index of its
  // next member.
  const outer: (Holder | readonly string[] | number | undefined)[] = []
  let holder = value as Holder
  let keys = keysOf(holder)
  let next = 0
  writeByte(keys === undefined ? OPEN_ARRAY : OPEN_OBJECT)
  for (;;) {
    if (next === (keys ?? holder as unknown as readonly unknown[]).length) {
      writeByte(keys === undefined ? CLOSE_ARRAY : CLOSE_OBJECT)
      if (outer.length === 0) return bytes.subarray(0, length)
      next = outer.pop() as number
      keys = outer.pop() as readonly string[] | undefined
      holder = outer.pop() as Holder
      continue
    }
    if (next > 0) writeByte(COMMA)
    let item
    if (keys === undefined) {
      item = holder[next++]
    } else {
      const key = keys[next++]!
      writeString(key)
      writeByte(COLON)
      item = holder[key]
    }
    if (typeof item !== 'object' || item === null) {
      writePrimitive(item)
      continue
    }
    outer.push(holder, keys, next)
    holder = item as Holder
    keys = keysOf(holder)
    next = 0
    writeByte(keys === undefined ? OPEN_ARRAY : OPEN_OBJECT)
  }
}

type Holder = Readonly<Record<string | number, unknown>>

function keysOf (holder: Holder): readonly string[] | undefined {
  return Array.isArray(holder) ? undefined : Object.keys(holder).sort()
}

/** Returns the canonical JSON as a string. */
export function canonicalJson (value: unknown): string {
  return canonicalBytes(value).toString()
}

function writePrimitive (item: unknown): void {
  if (typeof item === 'string') return writeString(item)
  if (typeof item !== 'number') return writeText(String(JSON.stringify(item)))
  if (item >= 0 && item < 10 && Number.isInteger(item)) return writeByte(ZERO + item)
  writeText(String(item)) // a JSON number may be infinite: 1e999
}

function writeString (text: string): void {
  if (!PLAIN.test(text)) return writeText(JSON.stringify(text))
  writeByte(QUOTE)
  writeText(text)
  writeByte(QUOTE)
}

function writeByte (byte: number): void {
  if (length === bytes.length) grow(1)
  bytes[length++] = byte
}

function writeText (text: string): void {
  const most = text.length * 3 // maximum bytes in UTF-8
  if (length + most > bytes.length) grow(most)
  if (text.length > SHORT) {
    length += bytes.write(text, length)
    return
  }
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit > 127) {
      length += bytes.write(text.slice(index), length)
      return
    }
    bytes[length++] = unit
  }
}

function grow (more: number): void {
  const larger = Buffer.allocUnsafe(2 * (bytes.length + more))
  bytes.copy(larger, 0, 0, length)
  bytes = larger
}
