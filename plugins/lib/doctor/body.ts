import { canonicalJson } from '../idempotency/delivery-id.js'
import { say } from './mistakes.js'
import type { Variant } from './scheme.js'

// A JSON string, or a comma or colon between values.
const STRING_OR_MARK = /("(?:[^"\\]|\\.)*")|([,:])/g
const STRING_OR_WORD = /("(?:[^"\\]|\\.)*")|\b(true|false|null)\b/g
// Maximum number of lines times depth: indented by 4 spaces, a body grows with both.
const MAX_INDENTED = 2 ** 18

const spaced = (text: string): string =>
  text.replace(STRING_OR_MARK, (_all: string, string: string | undefined, mark: string) => string ?? `${mark} `)
const escapeUnits = (text: string, units: RegExp): string =>
  text.replace(units, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
const slashes = (text: string): string => text.replaceAll('/', '\\/')
const nonAscii = (text: string): string => escapeUnits(text, /[^\0-\x7f]/g)

const LAYOUTS = {
  compact: ['compact JSON', (value: unknown) => JSON.stringify(value)],
  spaced: ['JSON with a space after each comma and colon', (value: unknown) => spaced(JSON.stringify(value))],
  two: ['JSON indented by 2 spaces', (value: unknown) => JSON.stringify(value, null, 2)],
  four: ['JSON indented by 4 spaces', (value: unknown) => JSON.stringify(value, null, 4)],
  tabs: ['JSON indented with tabs', (value: unknown) => JSON.stringify(value, null, '\t')]
} as const

const ESCAPES = {
  slashes: [' with "/" escaped', slashes],
  nonAscii: [' with non-ASCII characters escaped', nonAscii],
  both: [' with "/" and non-ASCII characters escaped', (text: string) => nonAscii(slashes(text))],
  html: [' with "<", ">" and "&" escaped', (text: string) => escapeUnits(text, /[<>&\u2028\u2029]/g)],
  moreHtml: [' with "<", ">", "&", "=" and "\'" escaped', (text: string) => escapeUnits(text, /[<>&='\u2028\u2029]/g)],
  most: [' with non-ASCII characters and "<", ">", "&", "+", "\'" escaped', (text: string) =>
    escapeUnits(text.replaceAll('\\"', '\\u0022'), /[<>&+'`]|[^\0-\x7f]/g)
      .replace(/\\u[0-9a-f]{4}/g, (escape) => `\\u${escape.slice(2).toUpperCase()}`)]
} as const

const ENDS = {
  lineBreak: [' and a trailing line break', (text: string) => `${text}\n`],
  crlf: [' and CRLF line endings', (text: string) => text.replaceAll('\n', '\r\n')]
} as const

type Form = readonly [layout: keyof typeof LAYOUTS, escape?: keyof typeof ESCAPES | undefined, end?: keyof typeof ENDS]

/** JSON as JavaScript, Python, PHP, Go, Gson, .NET and jq write it, compact and indented. */
const FORMS: readonly Form[] = [
  ['compact'], ['compact', undefined, 'lineBreak'], ['spaced'], ['spaced', 'nonAscii'], ['spaced', undefined, 'lineBreak'],
  ['compact', 'nonAscii'], ['compact', 'slashes'], ['compact', 'both'], ['compact', 'html'],
  ['compact', 'html', 'lineBreak'], ['compact', 'moreHtml'], ['compact', 'most'],
  ['two'], ['two', undefined, 'lineBreak'], ['two', undefined, 'crlf'], ['two', 'nonAscii'], ['two', 'html'],
  ['two', 'most', 'crlf'], ['four'], ['four', undefined, 'lineBreak'], ['four', 'nonAscii'], ['four', 'both'],
  ['tabs'], ['tabs', 'html']
]

/** Changes of the bytes themselves, whatever their content. */
const CHANGES: readonly (readonly [name: string, change: (body: Buffer, text: string) => Buffer | string])[] = [
  ['the received body with U+FFFD for invalid UTF-8', (_body, text) => text],
  ['the received body without its byte order mark', (_body, text) => text.replace(/^\uFEFF/, '')],
  ['the received body with a trailing line break', (body) => Buffer.concat([body, Buffer.from('\n')])],
  ['the received body with a trailing CRLF', (body) => Buffer.concat([body, Buffer.from('\r\n')])],
  ['the received body without surrounding white space', (_body, text) => text.trim()],
  ['the received body with CRLF line endings', (_body, text) => text.replace(/\r?\n/g, '\r\n')],
  ['the received body with LF line endings', (_body, text) => text.replaceAll('\r\n', '\n')],
  ['the received body without line breaks', (_body, text) => text.replace(/[\r\n]/g, '')],
  ['the received body with a byte order mark', (_body, text) => `\uFEFF${text}`],
  ['the received body in Latin-1', (_body, text) => Buffer.from(text, 'latin1')],
  ['the received body in UTF-16', (_body, text) => Buffer.from(text, 'utf16le')],
  ['the received body decoded as Latin-1 and encoded in UTF-8', (body) => body.toString('latin1')],
  ['the received body in composed Unicode (NFC)', (_body, text) => text.normalize('NFC')],
  ['the received body in decomposed Unicode (NFD)', (_body, text) => text.normalize('NFD')],
  ['the received body in base64', (body) => body.toString('base64')],
  ['the received body as a JSON string', (_body, text) => JSON.stringify(text)],
  ['the string "[object Object]"', () => '[object Object]'],
  ['an empty object', () => '{}']
]

/** Generates bodies that may have been signed instead of the one that arrived, each once. */
export function * otherBodies (body: Buffer): Generator<Variant<Buffer>> {
  const text = body.toString()
  const seen = new Set([body.toString('latin1')])
  for (const [name, form] of forms(body, text)) {
    const value = Buffer.from(form as string)
    const bytes = value.toString('latin1')
    if (seen.has(bytes)) continue
    seen.add(bytes)
    yield { value, mistakes: [say('body', name, firstDifference(value, body))] }
  }
}

function * forms (body: Buffer, text: string): Generator<[name: string, form: Buffer | string]> {
  for (const [name, change] of CHANGES) yield [name, change(body, text)]
  const value = parse(text)
  if (value === undefined) return
  for (const [sorting, content] of [['', value], [' with sorted keys', JSON.parse(canonicalJson(value))]]) {
    for (const [layout, escape, end] of FORMS) {
      const [name, write] = LAYOUTS[layout]
      const [escapes, escaped] = escape === undefined ? ['', (json: string) => json] as const : ESCAPES[escape]
      const [ending, ended] = end === undefined ? ['', (json: string) => json] as const : ENDS[end]
      yield [`${name}${sorting}${escapes}${ending}`, ended(escaped(write(content)))]
    }
  }
  yield ['the str() of a Python dict', pythonText(value)]
}

/** Returns Python's `str()` of a dict. Inexact for strings that contain quotation marks. */
function pythonText (value: unknown): string {
  const words: Readonly<Record<string, string>> = { true: 'True', false: 'False', null: 'None' }
  return spaced(JSON.stringify(value)).replace(STRING_OR_WORD, (all: string, string: string | undefined) =>
    string === undefined ? words[all]! : `'${string.slice(1, -1)}'`)
}

/** Parses JSON. Returns undefined if it is invalid, or would be too long once it is indented. */
function parse (text: string): unknown {
  let depth = 0
  let deepest = 0
  let lines = 0
  for (const [mark] of text.matchAll(/[[\]{},]/g)) {
    lines++
    if (mark === '[' || mark === '{') deepest = Math.max(deepest, ++depth)
    else if (mark !== ',') depth--
  }
  if (lines * deepest > MAX_INDENTED) return undefined
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch {
    return undefined
  }
}

function firstDifference (one: Buffer, other: Buffer): number {
  const shorter = Math.min(one.length, other.length)
  for (let at = 0; at < shorter; at++) {
    if (one[at] !== other[at]) return at
  }
  return shorter
}
