import { FormatRegistry, Kind, OptionalKind, type TSchema } from '@sinclair/typebox'
import { TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import { InvalidOption } from './errors.js'

const MAX_PROBLEM_LENGTH = 300
const MAX_PROBLEMS = 10

/** Returns the first problem of a value, as a path and a rule, never the value. Returns undefined for a valid value. */
export interface Check {
  (value: unknown): string | undefined
  /** Lists the problems, one per path, at most 10. */
  readonly problems: (value: unknown) => readonly string[]
  /** Removes optional members that are null and must not be. Returns true if there were any. */
  readonly dropNulls: (value: unknown) => boolean
}

/** Compiles a schema into a check: no coercion, no defaults, no removal of members. */
export function compileCheck (schema: TSchema): Check {
  const compiled = TypeCompiler.Compile(schema)
  const first: (value: unknown) => string | undefined =
    (value) => compiled.Check(value) ? undefined : textOf(compiled.Errors(value).First()!)

  return Object.assign(first, {
    problems (value: unknown): readonly string[] {
      const problems = new Map<string, string>()
      for (const error of compiled.Errors(value)) {
        if (!problems.has(error.path)) problems.set(error.path, textOf(error))
        if (problems.size === MAX_PROBLEMS) break
      }
      return [...problems.values()]
    },
    dropNulls (value: unknown): boolean {
      const paths = [...compiled.Errors(value)].flatMap((error) => superfluousNulls(error) ?? [])
      for (const path of paths) remove(value, path)
      return paths.length > 0
    }
  })
}

function textOf (error: ValueError): string {
  let inner = error
  // The problem of a nullable value is that of its other alternative.
  while (inner.schema.anyOf?.[1]?.type === 'null') inner = inner.errors[0]!.First()!
  return `${inner.path || '/'}: ${inner.message}`.slice(0, MAX_PROBLEM_LENGTH)
}

/**
 * Returns the paths of optional members whose null is the whole problem of this error, or undefined if there is more to
 * it.
 */
function superfluousNulls ({ value, schema, path, errors }: ValueError): string[] | undefined {
  if (value === null) return OptionalKind in schema ? [path] : undefined
  for (const alternative of errors) {
    const nulls = [...alternative].map(superfluousNulls)
    if (nulls.length > 0 && !nulls.includes(undefined)) return nulls.flatMap((paths) => paths!)
  }
  return undefined
}

/** Removes a member by its JSON pointer (RFC 6901). */
function remove (value: unknown, path: string): void {
  const keys = path.slice(1).split('/').map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
  const last = keys.pop()!
  let holder = value as Record<string, unknown>
  for (const key of keys) holder = holder[key] as Record<string, unknown>
  delete holder[last]
}

/** Compiles a schema from a user's options into a check. */
export function compileOptionCheck (plugin: string, option: string, schema: TSchema): Check {
  let check
  try {
    check = compileCheck(schema)
  } catch {
    throw new InvalidOption(plugin, option, expectationFor(schema))
  }
  if (usesUnknownFormat(schema)) {
    throw new InvalidOption(plugin, option, "uses a format that is not in TypeBox's FormatRegistry")
  }
  if (typesOf(schema).size === 0) throw new InvalidOption(plugin, option, 'can never match')
  return check
}

function expectationFor (schema: unknown): string {
  const expected = 'must be a TypeBox schema'
  try {
    const origin = originOf(schema)
    return origin === undefined ? expected : `${expected} of ${VERSION}: ${origin}`
  } catch { // thrown by a getter or a proxy
    return expected
  }
}

const VERSION = '@sinclair/typebox 0.34, which fastify-verification/provider exports as "Type"'

/** Describes the origin of a schema, or of one within it, if TypeBox 0.34 did not make it. */
function originOf (schema: unknown, seen = new Set<unknown>()): string | undefined {
  if (typeof schema !== 'object' || schema === null || seen.has(schema)) return undefined
  seen.add(schema)
  const { '~kind': kind, '~standard': standard, type } = schema as Record<string, unknown>
  if (kind !== undefined) return 'this one was made with typebox 1.x'
  const { vendor } = Object(standard) as { vendor?: unknown } // https://standardschema.dev
  if (typeof vendor === 'string') return `this one was made with ${vendor}`
  if (typeof type === 'string' && !(Kind in schema)) return 'this one is plain JSON Schema'
  return Object.values(schema).map((one) => originOf(one, seen)).find((origin) => origin !== undefined)
}

const TYPES = ['object', 'array', 'string', 'number', 'boolean', 'null'] as const
type JsonType = typeof TYPES[number]
const NOT_JSON: ReadonlySet<unknown> = new Set([
  'AsyncIterator', 'bigint', 'Constructor', 'Date', 'Function', 'Iterator', 'Promise', 'symbol', 'Uint8Array', 'undefined',
  'void'
])
const BOUNDS = [
  ['minimum', 'maximum'], ['minLength', 'maxLength'], ['minItems', 'maxItems'], ['minProperties', 'maxProperties']
] as const

/**
 * Returns the JSON types of the values that a schema may match. Empty for a schema that can never match, as far as its
 * types, bounds and required members tell.
 */
export function typesOf (schema: TSchema): ReadonlySet<JsonType> {
  const { type, anyOf, allOf = [], not, required = [], properties = {}, items, minItems = 0 } = schema
  const impossible = isNever(not) || BOUNDS.some(([least, most]) => schema[least] > schema[most]) ||
    required.some((name: string) => properties[name] !== undefined && typesOf(properties[name]).size === 0) ||
    (minItems > 0 && !Array.isArray(items) && items !== undefined && typesOf(items).size === 0)
  if (impossible) return new Set()
  const others = anyOf === undefined ? allOf : [...allOf, { type: [...new Set(anyOf.flatMap(namesOf))] }]
  return new Set(TYPES.filter((name) => mayBe(type, name) && others.every((one: TSchema) => typesOf(one).has(name))))
}

const namesOf = (schema: TSchema): JsonType[] => [...typesOf(schema)]

/** Returns true for the `not` of Type.Never: a schema without a rule. */
const isNever = (not: unknown): boolean => typeof not === 'object' && not !== null && Object.keys(not).length === 0

/**
 * Returns true if a type of a schema allows values of the JSON type. An unknown type, such as one that a user
 * registered with TypeBox, may be anything.
 */
function mayBe (type: unknown, name: JsonType): boolean {
  if (type === undefined) return true
  return [type].flat().some((one) => one === name || (one === 'integer' && name === 'number') ||
    (one !== 'integer' && !NOT_JSON.has(one) && !TYPES.includes(one as JsonType)))
}

/** Returns true if a schema uses a format that TypeBox does not know, for which it would refuse every value. */
function usesUnknownFormat (schema: unknown): boolean {
  if (typeof schema !== 'object' || schema === null) return false
  const { type, format } = schema as TSchema
  if (type === 'string' && typeof format === 'string' && !FormatRegistry.Has(format)) return true
  return Object.values(schema).some(usesUnknownFormat)
}
