import { readFileSync } from 'node:fs'
import { UsageError } from './io.js'

/** A captured request. */
export interface Captured {
  /** Headers by lowercase name. Repeated headers are joined, as in Node. */
  readonly headers: Readonly<Record<string, string>>
  /** Path and query, if the capture contains the request line. */
  readonly target: string | undefined
  /** The body, if the capture contains it. */
  readonly body: Buffer | undefined
}

// RFC 9112 sections 3 and 5.
const REQUEST_LINE = /^[A-Z]+ (\S+) HTTP\/\d(?:\.\d)?$/
const FIELD = /^([!#$%&'*+.^`|~\w-]+):(.*)$/
const AROUND = /^[ \t]+|(?<![ \t])[ \t]+$/g
// Data in single quotes, which a shell passes on unchanged. Data that begins with @ is a file name.
const DATA = /\s(?:-d|--data(?:-raw|-binary|-ascii)?|--json)[ =]?\s{0,9}'(?!@)/
const QUOTE_IN_QUOTES = "'\\''"
const MAX_BYTES = 2 ** 24

/**
 * Parses the output of `curl -v`: the head of the last request, in lines with `> `, and the body if the output includes
 * the command.
 */
export function readCurl (text: string): Captured {
  const lines = text.split(/\r?\n/).filter((line) => line.startsWith('>')).map((line) => line.slice(2))
  const begin = lines.findLastIndex((line) => REQUEST_LINE.test(line))
  if (begin === -1) throw new UsageError('--curl: found no line like "> POST /path HTTP/1.1"')
  const data = dataOf(text)
  return { ...readHead(lines.slice(begin), '--curl'), body: data === undefined ? undefined : Buffer.from(data) }
}

/** Returns the body in a curl command, up to its closing quote. */
function dataOf (text: string): string | undefined {
  const match = DATA.exec(text)
  if (match === null) return undefined
  const begin = match.index + match[0].length
  let end = text.indexOf("'", begin)
  while (end !== -1 && text.startsWith(QUOTE_IN_QUOTES, end)) end = text.indexOf("'", end + QUOTE_IN_QUOTES.length)
  return end === -1 ? undefined : text.slice(begin, end).replaceAll(QUOTE_IN_QUOTES, "'")
}

/** Parses headers given as lines or as a JSON object, or a whole HTTP message with its body. */
export function readMessage (bytes: Buffer): Captured {
  const text = bytes.toString('latin1') // one character per byte
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
    if (name === undefined) throw new UsageError(`${option}: invalid header line: expected "Name: value"`)
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
    throw new UsageError('--headers: invalid JSON')
  }
}

const DESCRIPTORS: ReadonlyMap<string, number> = new Map([['-', 0]])

/** Reads a file, or standard input for `-`. */
export function readBytes (option: string, name: string): Buffer {
  let bytes
  try {
    bytes = readFileSync(DESCRIPTORS.get(name) ?? name)
  } catch (error) {
    throw new UsageError(`--${option}: cannot read ${JSON.stringify(name)} (${(error as NodeJS.ErrnoException).code})`)
  }
  if (bytes.length <= MAX_BYTES) return bytes
  throw new UsageError(`--${option}: ${JSON.stringify(name)} is larger than 16 MiB: extract the request first`)
}
