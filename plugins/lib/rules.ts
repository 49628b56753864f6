import { InvalidOption } from './errors.js'

/** A result of a user's callback: a value, or a promise of one. */
export type Awaitable<T> = T | Promise<T>

export interface Rule {
  readonly accepts: (value: unknown) => boolean
  readonly expects: string
  readonly required?: true
  /** Rules for the members of an object. */
  readonly members?: Rules
}

/** Rules for a plugin's options, by name. */
export type Rules = Readonly<Record<string, Rule>>

// A path that a client can request: visible ASCII, without query or fragment. Fastify checks its own patterns.
const PATH = /^\/[\x21\x22\x24-\x3e\x40-\x7e]*$/
const WEEK = 7 * 24 * 3600
const YEAR = 365 * 24 * 3600
const MAX_TIMER = 2 ** 31 - 1

const within = (value: unknown, least: number, most: number): boolean =>
  typeof value === 'number' && value >= least && value <= most
export const integer = (most: number): Rule => ({
  accepts: (value) => Number.isInteger(value) && within(value, 1, most),
  expects: `must be an integer from 1 to ${most}`
})
export const milliseconds = integer(MAX_TIMER)

export const boolean: Rule = { accepts: (value) => typeof value === 'boolean', expects: 'must be a boolean' }
export const callback: Rule = { accepts: (value) => typeof value === 'function', expects: 'must be a function' }
export const path: Rule = {
  accepts: (value) => typeof value === 'string' && PATH.test(value),
  expects: 'must be a path that starts with "/", without a query'
}
export const nonEmptyString: Rule = {
  accepts: (value) => typeof value === 'string' && value !== '',
  expects: 'must be a non-empty string'
}
export const string: Rule = { accepts: (value) => typeof value === 'string', expects: 'must be a string' }
/** Rule for a schema, which is compiled by the code that reads it. */
export const schema: Rule = {
  accepts: (value) => typeof value === 'object' && value !== null,
  expects: 'must be a TypeBox schema'
}
/** Rule for any value, which is checked by the code that reads it. */
export const anyValue: Rule = { accepts: () => true, expects: '' }
export const object: Rule = {
  accepts: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  expects: 'must be an object'
}
/** Makes the rule for an object whose members have rules of their own. */
export const group = (members: Rules): Rule => ({ ...object, members })
export const required = (rule: Rule): Rule => ({ ...rule, required: true })
export const oneOf = (...values: string[]): Rule => ({
  accepts: (value) => values.includes(value as string),
  expects: `must be one of ${values.map((value) => `"${value}"`).join(', ')}`
})

const seconds = (least: number, most: number): Rule => ({
  accepts: (value) => within(value, least, most),
  expects: `must be a number of seconds from ${least} to ${most}`
})
export const mostAge = seconds(1, WEEK)
export const mostLead = seconds(0, WEEK)
export const retention = seconds(1, YEAR)

/** Rules for the options that decide whether a timestamp is fresh, for plugins and pure functions alike. */
export const FRESHNESS_RULES: Rules = { tolerance: mostAge, futureTolerance: mostLead, now: callback }

export function checkOption (plugin: string, name: string, value: unknown, { accepts, expects }: Rule): void {
  if (value !== undefined && !accepts(value)) throw new InvalidOption(plugin, name, expects)
}

/**
 * Checks the options of a plugin.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if an option is unknown, missing or invalid
 */
export function checkOptions (plugin: string, options: object, known: Rules): void {
  if (typeof options !== 'object' || options === null) throw new InvalidOption(plugin, 'options', 'must be an object')
  checkMembers(plugin, '', options as Record<string, unknown>, known)
}

function checkMembers (plugin: string, holder: string, given: Record<string, unknown>, known: Rules): void {
  const rules = new Map(Object.entries(known))
  for (const name in given) { // inherited ones count, since they are read
    if (!rules.has(name)) throw new InvalidOption(plugin, holder + name, 'is not known')
  }
  for (const [name, rule] of rules) {
    const value = given[name]
    if (rule.required && value === undefined) throw new InvalidOption(plugin, holder + name, 'is required')
    checkOption(plugin, holder + name, value, rule)
    if (rule.members !== undefined && value !== undefined) {
      checkMembers(plugin, `${holder}${name}.`, value as Record<string, unknown>, rule.members)
    }
  }
}
