import type { FastifyRequest } from 'fastify'

/** What may be shown of a request: names that are known, and of values their form. */
export interface RedactedRequest {
  readonly method: string
  readonly path: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  body: string
}

/** The headers that tell something about authentication, and what is shown as it is: only what nobody need hide. */
const HEADERS = new Map<string, RegExp | undefined>([
  ['content-type', /^application\/json(?:; ?charset=utf-8)?$/i],
  ['content-length', /^\d{1,9}$/],
  ['content-encoding', /^(?:identity|gzip|br|deflate)$/i],
  ['transfer-encoding', /^chunked$/i],
  ['digest', undefined],
  ['signature', undefined],
  ['x-aghanim-signature', undefined],
  ['x-aghanim-signature-timestamp', /^\d{1,13}$/],
  ['x-api-key', undefined],
  ['x-endpoint', undefined],
  ['x-signature', undefined],
  ['x-timestamp', /^\d{1,13}$/]
])

const FORMS: readonly [form: string, pattern: RegExp][] = [
  ['digits', /^\d+$/],
  ['hex', /^[0-9a-f]+$/i],
  ['MD5= and hex', /^md5=[0-9a-f]+$/i],
  ['a path', /^\/[\w/.-]*$/],
  ['base64', /^[\w+/-]{16,}=*$/],
  ['hmac-sha256 and base64', /^hmac-sha256 [\w+/-]{16,}=*$/]
]

/** Enough of a secret to see that it is hex where base64 is due. */
function formOf (value: string): string {
  const [form] = FORMS.find(([, pattern]) => pattern.test(value)) ?? ['text']
  return `hidden: ${value.length} characters, ${form}`
}

/** In the order, and as often, as they came; of others it is told how many there are. `path` may be shown, too. */
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

/** Every name that a schema has for a property. Others are not shown: anybody can send one. */
export function propertyNames (schema: unknown, names = new Set<string>()): Set<string> {
  if (typeof schema !== 'object' || schema === null) return names
  for (const [key, value] of Object.entries(schema)) {
    if (key === 'properties') Object.keys(value).forEach((name) => names.add(name))
    propertyNames(value, names)
  }
  return names
}

const DEEPEST = 4

/** A JSON value in outline: names that are known, and the types of values. */
function outline (value: unknown, names: ReadonlySet<string>, depth = 0): string {
  if (value === null) return 'null'
  if (typeof value !== 'object') return typeof value === 'string' ? 'text' : typeof value
  if (Array.isArray(value)) return `[ ${value.length} items ]`
  const fields = Object.entries(value)
  if (fields.length === 0) return '{}'
  const known = depth < DEEPEST ? fields.filter(([name]) => names.has(name)) : []
  const parts = known.map(([name, inner]) => `${name}: ${outline(inner, names, depth + 1)}`)
  if (fields.length > known.length) parts.push(`${fields.length - known.length} other fields`)
  return `{ ${parts.join(', ')} }`
}

/** A body in outline, be it bytes or parsed. */
export function redactBody (body: unknown, names: ReadonlySet<string>): string {
  if (body === undefined) return 'none'
  if (!Buffer.isBuffer(body)) return outline(body, names)
  try {
    return outline(JSON.parse(body.toString()), names)
  } catch {
    return 'no JSON'
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
