import { readFileSync } from 'node:fs'
import { UsageError } from './io.js'

/** A request as somebody has caught it. */
export interface Captured {
  /** Names in lower case; what was there more than once is joined, as Node does it. */
  readonly headers: Readonly<Record<string, string>>
  /** Path and query, if the text had the line with them. */
  readonly target: string | undefined
  /** The body, if the text had it. */
  readonly body: Buffer | undefined
}

// RFC 9112 sections 3 and 5.
const REQUEST_LINE = /^[A-Z]+ (\S+) HTTP\/\d(?:\.\d)?$/
const FIELD = /^([!#$%&'*+.^`|~\w-]+):(.*)$/
const AROUND = /^[ \t]+|(?<![ \t])[ \t]+$/g
// Data in single quotes, which a shell passes on unchanged. With @ it would be the name of a file.
const DATA = /\s(?:-d|--data(?:-raw|-binary|-ascii)?|--json)[ =]?\s{0,9}'(?!@)/
const QUOTE_IN_QUOTES = "'\\''"
const MAX_BYTES = 2 ** 24

/** What `curl -v` prints: the head of the last request in lines with `> `, and the body if the command is there too. */
export function readCurl (text: string): Captured {
  const lines = text.split(/\r?\n/).filter((line) => line.startsWith('>')).map((line) => line.slice(2))
  const begin = lines.findLastIndex((line) => REQUEST_LINE.test(line))
  if (begin === -1) throw new UsageError('--curl: no line like "> POST /path HTTP/1.1" is in it')
  const data = dataOf(text)
  return { ...readHead(lines.slice(begin), '--curl'), body: data === undefined ? undefined : Buffer.from(data) }
}

/** The body in a command, up to the quote that ends it. */
function dataOf (text: string): string | undefined {
  const match = DATA.exec(text)
  if (match === null) return undefined
  const begin = match.index + match[0].length
  let end = text.indexOf("'", begin)
  while (end !== -1 && text.startsWith(QUOTE_IN_QUOTES, end)) end = text.indexOf("'", end + QUOTE_IN_QUOTES.length)
  return end === -1 ? undefined : text.slice(begin, end).replaceAll(QUOTE_IN_QUOTES, "'")
}

/** Headers as lines, as a JSON object, or the whole of an HTTP message with its body. */
export function readMessage (bytes: Buffer): Captured {
  const text = bytes.toString('latin1') // one character a byte
  if (/^\s*\{/.test(text)) return { headers: fromJson(bytes.toString()), target: undefined, body: undefined }
  const [head] = text.split(/\r?\n\r?\n/, 1)
  const end = /^\r?\n\r?\n/.exec(text.slice(head!.length))?.[0].length ?? 0
  const body = bytes.subarray(head!.length + end)
  return { ...readHead(head!.split(/\r?\n/), '--headers'), body: body.length === 0 ? undefined : body }
}

function readHead (lines: readonly string[], option: string): Omit<Captured, 'body'> {
  const target = REQUEST_LINE.exec(lines[0]!)?.[1]
  const headers = new Map<string, string>()
  for (const line of lines.slice(target === undefined ? 0 : 1)) {
    if (line.trim() === '') continue
    const [, name, text = ''] = FIELD.exec(line) ?? []
    if (name === undefined) throw new UsageError(`${option}: a line is no header; "Name: value" is expected`)
    const value = text.replaceAll(AROUND, '')
    const before = headers.get(name.toLowerCase())
    headers.set(name.toLowerCase(), before === undefined ? value : `${before}, ${value}`)
  }
  return { headers: Object.fromEntries(headers), target }
}

function fromJson (text: string): Record<string, string> {
  try {
    return Object.fromEntries(Object.entries(JSON.parse(text) as object)
      .map(([name, value]) => [name.toLowerCase(), [value].flat().join(', ')]))
  } catch {
    throw new UsageError('--headers: it begins like JSON, but is none')
  }
}

const DESCRIPTORS: ReadonlyMap<string, number> = new Map([['-', 0]])

/** A file, or the standard input for `-`. */
export function readBytes (option: string, name: string): Buffer {
  let bytes
  try {
    bytes = readFileSync(DESCRIPTORS.get(name) ?? name)
  } catch (error) {
    throw new UsageError(`--${option}: cannot read ${JSON.stringify(name)} (${(error as NodeJS.ErrnoException).code})`)
  }
  if (bytes.length <= MAX_BYTES) return bytes
  throw new UsageError(`--${option}: ${JSON.stringify(name)} is longer than 16 MiB: cut the request out of it`)
}
