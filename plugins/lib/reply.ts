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
  schema: Schema, fits?: (reply: Static<Schema>, event: Event) => string | undefined, check = compileCheck(schema)
): ReplyWriter<Event> {
  const keys = Object.keys(schema['properties'] ?? {})
  return (value, event) => {
    let body: string | undefined
    try {
      body = JSON.stringify(keys.length === 0 ? value : pick(value, keys))
    } catch {
      return { problem: '/: cannot be written as JSON' }
    }
    const reply: unknown = body === undefined ? undefined : JSON.parse(body)
    const problem = check(reply) ?? fits?.(reply as Static<Schema>, event)
    if (problem !== undefined) return { problem }
    if (body === undefined) return { problem: '/: Expected a value' }
    return { statusCode: 200, body, outcome: 'accepted', reason: 'handled' }
  }
}

/** The named properties of an object; anything else as it is. */
export function pick (value: unknown, keys: readonly string[]): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const source = value as Record<string, unknown>
  const picked: Record<string, unknown> = {}
  for (const key of keys) picked[key] = source[key]
  return picked
}
