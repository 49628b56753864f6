import type { FastifyRequest } from 'fastify'
import { PROVIDERS } from '../../cli/providers.js'

/** The parts of a request that may be shown: known names, and the form of values. */
export interface RedactedRequest {
  readonly method: string
  readonly path: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  body: string
}

/** Headers that are relevant to authentication, each with a pattern of values that are not secret and may be shown. */
const HEADERS = new Map<string, RegExp | undefined>([
  ['content-type', /^application\/json(?:; ?charset=utf-8)?$/i],
  ['content-length', /^\d{1,9}$/],
  ['content-encoding', /^(?:identity|gzip|br|deflate)$/i],
  ['transfer-encoding', /^chunked$/i],
  ['signature', undefined],
  ...Object.values(PROVIDERS).flatMap(({ scheme }) => scheme?.headers.map((name): [string, RegExp | undefined] =>
    [name, scheme.source.headers[name] === '{timestamp}' ? /^\d{1,13}$/ : undefined]) ?? [])
])

const FORMS: readonly [form: string, pattern: RegExp][] = [
  ['digits', /^\d+$/],
  ['hex', /^[0-9a-f]+$/i],
  ['a prefix with hex', /^[\w-]+=[0-9a-f]+$/i],
  ['a path', /^\/[\w/.-]*$/],
  ['base64', /^[\w+/-]{16,}=*$/],
  ['a prefix with base64', /^[\w-]+ [\w+/-]{16,}=*$/]
]

/** Describes the form of a hidden value, which is enough to see, for example, hex where base64 is expected. */
function formOf (value: string): string {
  const [form] = FORMS.find(([, pattern]) => pattern.test(value)) ?? ['other']
  return `hidden: ${value.length} characters, ${form}`
}

/**
 * Redacts headers, and keeps their order and repetitions. Other headers are only counted. A value equal to `path` is
 * shown too.
 */
export function redactHeaders (rawHeaders: readonly string[], path: string): RedactedRequest['headers'] {
  const headers: [string, string][] = []
  let others = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!.toLowerCase()
    const value = rawHeaders[at + 1]!
    if (!HEADERS.has(name)) others++
    else headers.push([name, value === path || HEADERS.get(name)?.test(value) ? value : formOf(value)])
  }
  return [...headers, ['others', String(others)]]
}

/** Collects all property names in a schema. Other names are not shown, since anybody can send them. */
export function propertyNames (schema: unknown, names = new Set<string>()): Set<string> {
  if (typeof schema !== 'object' || schema === null) return names
  for (const [key, value] of Object.entries(schema)) {
    if (key === 'properties') Object.keys(value).forEach((name) => names.add(name))
    propertyNames(value, names)
  }
  return names
}

const DEEPEST = 4

/** Outlines a JSON value: known names, and the types of their values. */
function outline (value: unknown, names: ReadonlySet<string>, depth = 0): string {
  if (value === null) return 'null'
  if (typeof value !== 'object') return typeof value
  if (Array.isArray(value)) return `[ ${value.length} items ]`
  const fields = Object.entries(value)
  if (fields.length === 0) return '{}'
  const known = depth < DEEPEST ? fields.filter(([name]) => names.has(name)) : []
  const parts = known.map(([name, inner]) => `${name}: ${outline(inner, names, depth + 1)}`)
  if (fields.length > known.length) parts.push(`${fields.length - known.length} other fields`)
  return `{ ${parts.join(', ')} }`
}

/** Outlines a body, which may be bytes or already parsed. */
export function redactBody (body: unknown, names: ReadonlySet<string>): string {
  if (body === undefined) return 'none'
  if (!Buffer.isBuffer(body)) return outline(body, names)
  try {
    return outline(JSON.parse(body.toString()), names)
  } catch {
    return 'not JSON'
  }
}

export function redactHead ({ method, routeOptions, raw }: FastifyRequest): RedactedRequest {
  const path = routeOptions.url!
  return {
    method,
    path: raw.url!.includes('?') ? `${path}?…` : path,
    headers: redactHeaders(raw.rawHeaders, path),
    body: 'not read'
  }
}
