import type { Static, TSchema } from '@sinclair/typebox'
import type { Answer } from './errors.js'
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
    const unwritten = unwritable.map((path) => `${path}: cannot be serialized as JSON`)
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

/** Plain data for JSON, and the paths of the members that JSON cannot express. */
export interface JsonData {
  readonly data: unknown
  readonly unwritable: readonly string[]
}

type Members = Record<string, unknown>

const MAX_PATH_LENGTH = 300

/**
 * Copies a value into plain data as JSON.stringify would write it, so that a check sees what is sent: each getter is
 * read and each `toJSON` called once. Of a top-level object, only `keys` are read, after its `toJSON`, or all members
 * if `keys` is empty. BigInts and numbers that are not finite are kept, for a schema to refuse.
 */
export function jsonDataOf (value: unknown, keys: readonly string[] = []): JsonData {
  const trail: string[] = []
  const ancestors: object[] = []
  const unwritable: string[] = []
  const reportHere = (): void => { unwritable.push(`/${trail.join('/')}`.slice(0, MAX_PATH_LENGTH)) }

  function copy (given: unknown, key: string): unknown {
    const value = replacementOf(given, key)
    if (typeof value === 'object' && value !== null) return copyObject(value as Members)
    if (typeof value === 'bigint') reportHere()
    return typeof value === 'function' || typeof value === 'symbol' ? undefined : value
  }

  function copyObject (value: Members): unknown {
    if (ancestors.includes(value)) return reportHere()
    ancestors.push(value)
    const copied = Array.isArray(value)
      ? Array.from(value, (_element, index) => copyMember(value, String(index)) ?? null)
      : copyMembers(value, ancestors.length === 1 && keys.length > 0 ? keys : Object.keys(value))
    ancestors.pop()
    return copied
  }

  function copyMembers (value: Members, names: readonly string[]): Members {
    const copied: Members = {}
    for (const name of names) {
      const member = copyMember(value, name)
      if (member !== undefined && name !== '__proto__') copied[name] = member
    }
    return copied
  }

  function copyMember (holder: Members, key: string): unknown {
    trail.push(key)
    const copied = copy(holder[key], key)
    trail.pop()
    return copied
  }

  try {
    return { data: copy(value, ''), unwritable }
  } catch { // thrown by a getter, a `toJSON` or a proxy
    reportHere()
    return { data: undefined, unwritable }
  }
}

/** Returns the value that JSON.stringify writes for this one: the result of its `toJSON`, or its primitive. */
function replacementOf (value: unknown, key: string): unknown {
  if ((typeof value !== 'object' || value === null) && typeof value !== 'bigint') return value
  const { toJSON } = value as { toJSON?: unknown }
  const replacement: unknown = typeof toJSON === 'function' ? toJSON.call(value, key) : value
  const boxed = replacement instanceof Number || replacement instanceof String || replacement instanceof Boolean
  return boxed ? replacement.valueOf() : replacement
}
