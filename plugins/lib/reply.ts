import type { Static, TSchema } from '@sinclair/typebox'
import type { Answer } from './errors.js'
import { compileCheck } from './schema-check.js'

/** A 200 with what a handler returned, or what is wrong with it. */
export type ReplyWriter<Event> = (value: unknown, event: Event) => Answer | { problem: string }

/**
 * Writes replies of a schema. Where the schema names properties, others at the top level are dropped. What is checked
 * is what is sent: no getter or `toJSON` can show one thing to the check and another to the client. `fits` says what
 * is wrong with a reply for this event.
 */
export function compileReply<Event, Schema extends TSchema> (
  schema: Schema, fits?: (reply: Static<Schema>, event: Event) => string | undefined, check = compileCheck(schema)
): ReplyWriter<Event> {
  const keys = Object.keys(schema['properties'] ?? {})
  return (value, event) => {
    let reply: unknown
    let body: string | undefined
    try {
      reply = dataOf(keys.length === 0 ? value : pick(value, keys))
      body = JSON.stringify(reply)
    } catch {
      return { problem: '/: cannot be written as JSON' }
    }
    const problem = check(reply) ?? fits?.(reply as Static<Schema>, event)
    if (problem !== undefined) return { problem }
    if (body === undefined) return { problem: '/: Expected a value' }
    return { statusCode: 200, body, outcome: 'accepted', reason: 'handled' }
  }
}

/** The named properties of an object, as far as it has them; anything else as it is. */
export function pick (value: unknown, keys: readonly string[]): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const source = value as Record<string, unknown>
  const picked: Record<string, unknown> = {}
  for (const key of keys) {
    const member = source[key]
    if (member !== undefined) picked[key] = member
  }
  return picked
}

/** What JSON makes of a value. Most are plain already, and are not written and parsed only to find that out. */
function dataOf (value: unknown): unknown {
  const copy = copyPlain(value)
  if (copy !== undefined) return copy
  const text: string | undefined = JSON.stringify(value)
  return text === undefined ? undefined : JSON.parse(text)
}

/** The same texts, finite numbers, flags and nulls in objects of our own; undefined where there is anything else. */
function copyPlain (value: unknown): unknown {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null || Number.isFinite(value)) return value
  if (typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype) return undefined
  const copy: Record<string, unknown> = { ...value }
  for (const key in copy) {
    const member = copyPlain(copy[key])
    if (member === undefined) return undefined
    copy[key] = member
  }
  return copy
}
