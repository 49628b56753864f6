import type { IncomingHttpHeaders } from 'node:http'
import type { ParsedSignature } from './authenticate.js'
import {
  decodeBase64, decodeHex, PUBLIC_ENDPOINT, publicEndpoint, publicUrl, readHeaders, reject, type Rejection
} from './fields.js'
import { MAC_BYTES, type MacAlgorithm } from './hmac.js'
import type { Rule } from '../rules.js'
import type { SecretEncoding } from './secrets.js'

/** The way a sender signs. Reader, verifier, signer, doctor and API pages are derived from this one value. */
export interface SignatureScheme {
  algorithm: `hmac-${MacAlgorithm}`
  /** The way the string of a secret stands for the bytes of the key. Default `utf8`. */
  key?: SecretEncoding | undefined
  /**
   * Header names in lower case, each with the template of its whole value: literal text and `{hex}` or `{base64}` (the
   * signature), `{timestamp}` (Unix seconds in ten digits), `{id}`, `{keyId}`, `{endpoint}`. Each header must arrive
   * exactly once.
   */
  headers: Readonly<Record<string, string | ListTemplate>>
  /** The template of the signed message: literal text, `{body}` once, `{method}`, and parts that are in headers. */
  signed: string
  /** Accept the literal text of the headers in any case. Default false. */
  ignoreCase?: boolean | undefined
}

/** The value of a header that holds several elements in any order. */
export interface ListTemplate { readonly separator: string, readonly elements: readonly string[] }

/**
 * Describes a header that holds several elements in any order. Elements that begin in no known way are skipped. A
 * signature may occur 1 to 8 times, every other element once.
 *
 * @example list(',', 't={timestamp}', 'v1={hex}')
 */
export const list = (separator: string, ...elements: string[]): ListTemplate => ({ separator, elements })

/** The values from which the headers of a delivery are made. */
export interface SignedValues {
  readonly mac: Buffer
  readonly timestamp?: string | undefined
  readonly id?: string | undefined
  readonly keyId?: string | undefined
  readonly endpoint?: string | undefined
}

export interface CompiledScheme {
  readonly source: SignatureScheme
  readonly algorithm: MacAlgorithm
  readonly key: SecretEncoding
  /** The names of its headers. */
  readonly headers: readonly string[]
  /** The headers that hold lists, which a repetition could extend unnoticed. */
  readonly lists: readonly string[]
  /** The parts that are in headers, or signed. */
  readonly parts: ReadonlySet<Part>
  /** The header of each part. */
  readonly headerOf: ReadonlyMap<Part, string>
  /** The pattern of each header that holds no list, for JSON Schema. */
  readonly patterns: Readonly<Record<string, string>>
  /** Reads the headers of a delivery to `endpoint`. */
  readonly read: (headers: IncomingHttpHeaders, endpoint?: string) => ParsedSignature | Rejection
  /** Makes the text that is signed before and after the body. */
  readonly frame: (values: Omit<SignedValues, 'mac'>) => { readonly before: string, readonly after: string }
  /** Writes the headers. */
  readonly write: (values: SignedValues) => Record<string, string>
}

type HeaderPart = 'hex' | 'base64' | 'timestamp' | 'id' | 'keyId' | 'endpoint'
export type Part = HeaderPart | 'method' | 'body'
type Token = { readonly literal: string } | { readonly part: Part }
type Template = readonly Token[]

const HEADER_PARTS: ReadonlySet<string> = new Set(['hex', 'base64', 'timestamp', 'id', 'keyId', 'endpoint'])
const SIGNED_PARTS: ReadonlySet<string> = new Set(['timestamp', 'id', 'keyId', 'endpoint', 'method', 'body'])
const MAX_SIGNATURES = 8
const MAX_ID_LENGTH = 256
const METHOD = 'POST'
const SIGNATURES: readonly Part[] = ['hex', 'base64']

/** Thrown for a scheme that is ambiguous or incomplete. The message names the member and the rule. */
export class InvalidScheme extends Error {
  readonly option: string
  constructor (option: string, problem: string) {
    super(problem)
    this.option = option
  }
}

function parseTemplate (option: string, text: string, parts: ReadonlySet<string>): Template {
  return [...text.matchAll(/\{([^{}]*)\}|[^{}]+|[{}]/g)].map(([whole, part]): Token => {
    if (part !== undefined && parts.has(part)) return { part: part as Part }
    if (part === undefined && whole !== '{' && whole !== '}') return { literal: whole }
    throw new InvalidScheme(option, `has an unknown part ${whole}`)
  })
}

const partsOf = (template: Template): Part[] => template.flatMap((token) => 'part' in token ? [token.part] : [])
const escape = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
/** The escaped text, in upper and lower case, for patterns that have no flags. */
const inAnyCase = (text: string): string =>
  escape(text).replaceAll(/[a-z]/gi, (letter) => `[${letter.toUpperCase()}${letter.toLowerCase()}]`)

/** The grammar of each part: a group of a regular expression. `stops` are characters that end it. */
function grammarOf (part: Part, macBytes: number, stops: string): string {
  switch (part) {
    case 'hex': return `([0-9a-fA-F]{${macBytes * 2}})`
    case 'base64': return `([A-Za-z0-9+/]{${Math.ceil(macBytes * 4 / 3)}}={${(3 - macBytes % 3) % 3}})`
    case 'timestamp': return '([1-9][0-9]{9})'
    case 'endpoint': return `(${PUBLIC_ENDPOINT.source.slice(1, -1)})`
    // Visible ASCII. Node joins repeated headers by a comma.
    default: return `((?:(?![,${stops.replaceAll(/[\\\]^-]/g, '\\$&')}])[\\x21-\\x7e]){1,${MAX_ID_LENGTH}})`
  }
}

/** The characters that end a part of variable length in the message, so that it can be split in one way only. */
function stopsOf (signed: Template): ReadonlyMap<Part, string> {
  const stops = new Map<Part, string>()
  for (const [index, token] of signed.entries()) {
    if (!('part' in token)) continue
    const { part } = token
    const next = signed[index + 1]
    if (next !== undefined && 'literal' in next) stops.set(part, next.literal[0]!)
    else if (next?.part === 'body') stops.set(part, '{[')
    else if (next !== undefined && (part === 'id' || part === 'keyId')) {
      throw new InvalidScheme('signed', `requires literal text between {${part}} and {${next.part}}`)
    } else if (part === 'body' && next !== undefined && next.part !== 'timestamp') {
      throw new InvalidScheme('signed', `requires literal text between {body} and {${next.part}}`)
    }
  }
  return stops
}

/** A header, or an element of a list, that is read by one pattern. */
interface Pattern {
  readonly template: Template
  readonly parts: readonly Part[]
  /** The literal text it begins with. */
  readonly start: string
  /** A regular expression with a group for each part. */
  readonly source: string
}
interface Field { readonly name: string, readonly patterns: readonly Pattern[], readonly separator: string | undefined }

/** The values read from the headers. */
interface Found {
  macs: Buffer[] | undefined
  timestamp: string | undefined
  id: string | undefined
  keyId: string | undefined
  endpoint: string | undefined
}
/** Adds the value of a part to what is found; false if it is not written as the part is, or there already. */
type ReadPart = (text: string, found: Found) => boolean

/** @throws {InvalidScheme} if the scheme is ambiguous or incomplete */
export function compileScheme (scheme: SignatureScheme): CompiledScheme {
  const { signed: signedText, key = 'utf8', ignoreCase = false } = scheme
  const algorithm = scheme.algorithm.slice('hmac-'.length) as MacAlgorithm
  const macBytes = MAC_BYTES[algorithm]
  const signed = parseTemplate('signed', signedText, SIGNED_PARTS)
  const stops = stopsOf(signed)
  const grammar = (part: Part): string => grammarOf(part, macBytes, stops.get(part) ?? '')

  const writeSource = (literal: (text: string) => string) => (template: Template): string =>
    template.map((token) => 'literal' in token ? literal(token.literal) : grammar(token.part)).join('')
  const [sourceOf, caseless] = [writeSource(escape), writeSource(inAnyCase)]

  const patternOf = (option: string, text: string): Pattern => {
    const template = parseTemplate(option, text, HEADER_PARTS)
    const source = sourceOf(template)
    const [first] = template
    const start = first !== undefined && 'literal' in first ? first.literal : ''
    return { template, parts: partsOf(template), start, source }
  }
  const fields = Object.entries(scheme.headers).map(([name, value]): Field => {
    const option = `headers.${name}`
    if (typeof value === 'string') return { name, patterns: [patternOf(option, value)], separator: undefined }
    const patterns = value.elements.map((element) => patternOf(option, element))
    if (patterns.some(({ start }) => start === '')) {
      throw new InvalidScheme(option, 'requires elements that begin with literal text')
    }
    return { name, patterns, separator: value.separator }
  })

  const headerOf = new Map<Part, string>()
  for (const { name, patterns } of fields) {
    for (const part of patterns.flatMap(({ parts }) => parts)) {
      if (headerOf.has(part)) throw new InvalidScheme('headers', `must not contain {${part}} twice`)
      headerOf.set(part, name)
    }
  }
  checkParts(headerOf, signed)

  function partReader (part: Part): ReadPart {
    if (part === 'hex' || part === 'base64') {
      const decode = part === 'hex' ? decodeHex : decodeBase64
      return (text, found) => {
        const mac = decode(text, macBytes)
        if (mac === undefined) return false
        if (found.macs !== undefined) return found.macs.push(mac) <= MAX_SIGNATURES
        found.macs = [mac] // faster than adding to an empty list
        return true
      }
    }
    const pattern = new RegExp(`^${grammar(part)}$`)
    if (part === 'timestamp') { // like the code below, but faster, since nearly all schemes have it
      return (text, found) => {
        if (found.timestamp !== undefined || !pattern.test(text)) return false
        found.timestamp = text
        return true
      }
    }
    const name = part as 'id' | 'keyId' | 'endpoint'
    return (text, found) => {
      if (found[name] !== undefined || !pattern.test(text)) return false
      found[name] = text
      return true
    }
  }

  /** Makes the reader of a header or element: without a regular expression where it holds one part. */
  function readerOf ({ template, parts, source, start }: Pattern): ReadPart {
    const readers = parts.map(partReader)
    const [first] = readers
    if (readers.length === 1 && !ignoreCase && 'part' in template.at(-1)!) {
      return start === '' ? first! : (text, found) => text.startsWith(start) && first!(text.slice(start.length), found)
    }
    const regExp = new RegExp(`^${source}$`, ignoreCase ? 'i' : '')
    return (text, found) => {
      const groups = regExp.exec(text)
      return groups !== null && readers.every((read, index) => read(groups[index + 1]!, found))
    }
  }

  function listReaderOf ({ patterns, separator }: Field): ReadPart {
    const elements = patterns.map((pattern) => ({ ...pattern, read: readerOf(pattern) }))
    return (text, found) => {
      for (const element of text.split(separator!)) {
        const trimmed = element.trim() // Node joins repeated headers by a comma and a space
        if (trimmed === '') return false
        const known = elements.find(({ start }) => trimmed.startsWith(start))
        if (known !== undefined && !known.read(element, found)) return false
      }
      return patterns.every(({ parts }) => parts.every((part) =>
        SIGNATURES.includes(part) ? found.macs !== undefined : found[part as 'timestamp'] !== undefined))
    }
  }

  const names = fields.map(({ name }) => name)
  const lists = fields.filter(({ separator }) => separator !== undefined).map(({ name }) => name)
  const readers = fields.map((field) =>
    field.separator === undefined ? readerOf(field.patterns[0]!) : listReaderOf(field))
  const at = signed.findIndex((token) => 'part' in token && token.part === 'body')
  const [writeBefore, writeAfter] = [writerOf(signed.slice(0, at)), writerOf(signed.slice(at + 1))]
  const hasSuffix = at < signed.length - 1
  const several = lists.length > 0
  const writers = fields.map(({ patterns }) => patterns.map(({ template }) => writerOf(template)))

  return {
    source: scheme,
    algorithm,
    key,
    headers: names,
    lists,
    parts: new Set([...headerOf.keys(), ...partsOf(signed)]),
    headerOf,
    patterns: Object.fromEntries(fields.filter(({ separator }) => separator === undefined)
      .map(({ name, patterns }) => [name, `^${(ignoreCase ? caseless : sourceOf)(patterns[0]!.template)}$`])),
    read (headers, endpoint) {
      const texts = readHeaders(headers, names)
      if (!Array.isArray(texts)) return texts
      const found: Found = {
        macs: undefined, timestamp: undefined, id: undefined, keyId: undefined, endpoint: undefined
      }
      for (let index = 0; index < readers.length; index++) {
        if (!readers[index]!(texts[index]!, found)) return reject('malformed_header', names[index]!)
      }
      if (found.endpoint !== undefined && found.endpoint !== endpoint) {
        return reject('wrong_endpoint', headerOf.get('endpoint')!)
      }
      const { macs, timestamp, id, keyId } = found
      found.endpoint = endpoint
      return {
        ok: true,
        macs: macs!,
        prefix: writeBefore(found),
        suffix: hasSuffix ? writeAfter(found) : undefined,
        timestamp: timestamp === undefined ? undefined : Number(timestamp),
        keyId,
        id,
        several
      }
    },
    frame: (values) => ({ before: writeBefore(values), after: writeAfter(values) }),
    write: ({ mac, ...values }) => {
      const all = { ...values, hex: mac.toString('hex'), base64: mac.toString('base64') }
      return Object.fromEntries(fields.map(({ name, separator = '' }, index) =>
        [name, writers[index]!.map((write) => write(all)).join(separator)]))
    }
  }
}

/** Returns the rule of the endpoint that a scheme signs: a URL is possible only if no header carries it. */
export const endpointRule = ({ headerOf }: CompiledScheme): Rule =>
  headerOf.has('endpoint') ? publicEndpoint : publicUrl

type Values = { readonly [Name in Part]?: string | undefined }

/** Makes a function that fills a template in. */
function writerOf (template: Template): (values: Values) => string {
  const [one, two, three] = template
  if (one === undefined) return () => ''
  const write = (token: Token): (values: Values) => string => {
    if ('literal' in token) return () => token.literal
    const { part } = token
    return part === 'method' ? () => METHOD : (values) => values[part]!
  }
  if (two === undefined) return write(one)
  if ('part' in one && one.part === 'timestamp' && 'literal' in two && three === undefined) { // the most frequent form
    return ({ timestamp }) => timestamp! + two.literal
  }
  const [first, rest] = [write(one), writerOf(template.slice(1))]
  return (values) => first(values) + rest(values)
}

function checkParts (headerOf: ReadonlyMap<Part, string>, signed: Template): void {
  const parts = partsOf(signed)
  if (SIGNATURES.filter((part) => headerOf.has(part)).length !== 1) {
    throw new InvalidScheme('headers', 'must contain {hex} or {base64} exactly once')
  }
  if (parts.filter((part) => part === 'body').length !== 1) throw new InvalidScheme('signed', 'must contain {body} exactly once')
  for (const part of parts) {
    if (part === 'timestamp' || part === 'id' || part === 'keyId') {
      if (!headerOf.has(part)) throw new InvalidScheme('signed', `contains {${part}}, which is in no header`)
    }
  }
  for (const part of ['timestamp', 'id', 'endpoint'] as const) {
    if (headerOf.has(part) && !parts.includes(part)) throw new InvalidScheme('headers', `contains {${part}}, which is not signed`)
  }
}
