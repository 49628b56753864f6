import type { Static, TSchema } from '@sinclair/typebox'
import type { Answer } from './errors.js'
import { compileCheck } from './schema-check.js'

/** A 200 with what a handler returned, or what is wrong with it. */
export type ReplyWriter<Event> = (value: unknown, event: Event) => Answer | { problem: string }

/**
 * Writes replies of a schema. Where the schema names properties, others at the top level are dropped. What is
 * checked is the JSON text itself, parsed again: no getter or `toJSON` can show one thing to the check and another
 * to the client. `fits` says what is wrong with a reply for this event.
 */
export function compileReply<Event, Schema extends TSchema> (
  schema: Schema, fits?: (reply: Static<Schema>, event: Event) => string | undefined
): ReplyWriter<Event> {
  const check = compileCheck(schema)
  const keys = Object.keys(schema['properties'] ?? {})
  return (value, event) => {
    let body: string | undefined
    try {
      body = JSON.stringify(keys.length === 0 ? value : pick(value, keys))
    } catch {
      return { problem: '/: cannot be written as JSON' }
    }
    if (body === undefined) return { problem: '/: Expected a value' }
    const reply: unknown = JSON.parse(body)
    const problem = check(reply) ?? fits?.(reply as Static<Schema>, event)
    return problem === undefined ? { statusCode: 200, body } : { problem }
  }
}

/** The named properties of an object; anything else as it is. */
export function pick (value: unknown, keys: readonly string[]): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const source = value as Record<string, unknown>
  return Object.fromEntries(keys.map((key) => [key, source[key]]))
}
