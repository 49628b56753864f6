import { FormatRegistry, OptionalKind, type TSchema } from '@sinclair/typebox'
import { TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import { InvalidOption } from './errors.js'

const MAX_PROBLEM_LENGTH = 300
const MAX_PROBLEMS = 10

/** Returns the first problem of a value, as a path and a rule, never the value; undefined for a valid one. */
export interface Check {
  (value: unknown): string | undefined
  /** Lists the problems, one a path, ten at most. */
  readonly problems: (value: unknown) => readonly string[]
  /** Removes optional members that are null and must not be. Returns whether there were any. */
  readonly dropNulls: (value: unknown) => boolean
}

/** Compiled once: no coercion, no defaults, no removal. */
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
  // The problem of something nullable is that of its other alternative.
  while (inner.schema.anyOf?.[1]?.type === 'null') inner = inner.errors[0]!.First()!
  return `${inner.path || '/'}: ${inner.message}`.slice(0, MAX_PROBLEM_LENGTH)
}

/** The paths of optional members whose null is all that this error is about; undefined if it is about more. */
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

/** The same for a schema from a user's options. */
export function compileOptionCheck (plugin: string, option: string, schema: TSchema): Check {
  if (usesUnknownFormat(schema)) {
    throw new InvalidOption(plugin, option, "uses a format that is not in TypeBox's FormatRegistry")
  }
  try {
    return compileCheck(schema)
  } catch {
    throw new InvalidOption(plugin, option, 'must be a TypeBox schema')
  }
}

/** TypeBox refuses every value where it does not know the format. */
function usesUnknownFormat (schema: unknown): boolean {
  if (typeof schema !== 'object' || schema === null) return false
  const { type, format } = schema as TSchema
  if (type === 'string' && typeof format === 'string' && !FormatRegistry.Has(format)) return true
  return Object.values(schema).some(usesUnknownFormat)
}
