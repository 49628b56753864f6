import { FormatRegistry, type TSchema } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { InvalidOption } from './errors.js'

const LONGEST_PROBLEM = 300

/** Tells what is wrong with a value, as a path and a rule, never the value; undefined if nothing is. */
export type Check = (value: unknown) => string | undefined

/** Compiled once: no coercion, no defaults, no removal. */
export function compileCheck (schema: TSchema): Check {
  const compiled = TypeCompiler.Compile(schema)
  return (value) => {
    if (compiled.Check(value)) return undefined
    let error = compiled.Errors(value).First()!
    // What is wrong with something nullable is what is wrong with it as something.
    while (error.schema.anyOf?.[1]?.type === 'null') error = error.errors[0]!.First()!
    return `${error.path || '/'}: ${error.message}`.slice(0, LONGEST_PROBLEM)
  }
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
