import type { Static, TSchema } from '@sinclair/typebox'
import type { Answer } from './errors.js'
import { jsonDataOf } from './json-data.js'
import { compileCheck } from './validation.js'

/** A reply in which each optional member may also be null, which leaves it out. */
export type Reply<T> = T extends readonly (infer Element)[] ? readonly Reply<Element>[]
  : T extends object ? { [Key in keyof T]: Reply<T[Key]> | (object extends Pick<T, Key> ? null : never) }
    : T

/** The problems of a result, each with a path and a rule. */
export interface InvalidResult { readonly problems: readonly string[] }

/** Turns the return value of a handler into a 200 response, or lists its problems. */
export type ReplyWriter<Event> = (value: unknown, event: Event) => Answer | InvalidResult

/**
 * Makes a writer of replies that match a schema. If the schema names properties, others at the top level are dropped.
 * Optional members that are null are dropped too, at every level, unless the schema accepts null. `fits` returns the
 * problem of a reply that does not belong to the event.
 */
export function compileReply<Event, Schema extends TSchema> (
  schema: Schema, fits?: (reply: Static<Schema>, event: Event) => string | undefined, check = compileCheck(schema)
): ReplyWriter<Event> {
  const keys = Object.keys(schema['properties'] ?? {})
  return (value, event) => {
    const { data, unwritable } = jsonDataOf(value, keys)
    const problems = problemsOf(data, unwritable)
    if (problems.length > 0) return { problems }
    const problem = data === undefined ? '/: Expected a value' : fits?.(data as Static<Schema>, event)
    if (problem !== undefined) return { problems: [problem] }
    return { statusCode: 200, body: JSON.stringify(data), outcome: 'accepted', reason: 'handled' }
  }

  function problemsOf (data: unknown, unwritable: readonly string[]): readonly string[] {
    const unwritten = unwritable.map((path) => `${path}: cannot be written as JSON`)
    if (data === undefined && unwritten.length > 0) return unwritten
    if (check(data) === undefined || (check.dropNulls(data) && check(data) === undefined)) return unwritten
    return check.problems(data)
  }
}

/**
 * Returns the JSON of a plain object, or undefined for anything else: an instance of a class, a list, a primitive, null
 * or undefined.
 */
export function plainObjectJson (value: unknown): string | undefined {
  try {
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null) return undefined
    const { data, unwritable } = jsonDataOf(value)
    return unwritable.length === 0 && typeof data === 'object' && !Array.isArray(data) ? JSON.stringify(data) : undefined
  } catch { // null and undefined have no prototype, and a proxy may throw
    return undefined
  }
}
