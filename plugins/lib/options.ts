import type { LogLevel, RegisterOptions } from 'fastify'
import { InvalidOption } from './errors.js'
import { freshnessOf, type Freshness, type FreshnessInput } from './timestamp.js'
import type { RejectedDelivery } from './rejection.js'

/** What a user's callback may return. */
export type Awaitable<T> = T | Promise<T>

type Maybe<T> = { -readonly [K in keyof T]?: T[K] | undefined }

declare module 'fastify' {
  interface FastifyRequest {
    /** The bytes of the body as they arrived, on the routes of this collection. */
    rawBody?: string | Buffer
  }
}

/** What every plugin with a route takes. */
export interface RouteOptions extends Maybe<RouteSettings> {
  /** Fastify's own: put before every path of the plugin. */
  prefix?: string
  /** Fastify's own: the log level of the plugin's routes. */
  logLevel?: LogLevel
  /** Fastify's own: the log serializers of the plugin's routes. */
  logSerializers?: NonNullable<RegisterOptions['logSerializers']>
}

/** What every plugin that is called by another company takes. */
export interface WatchOptions {
  /** Told of every delivery that was not authentic. It sees, and decides nothing. */
  onRejected?: ((delivery: RejectedDelivery) => void) | undefined
}

/** What every webhook plugin takes. */
export interface WebhookOptions extends RouteOptions, WatchOptions, FreshnessInput {
  /** Accept secrets that are too short to withstand guessing, with a warning in the log. Default false. */
  allowWeakSecret?: boolean | undefined
}

/** The options of a route once their defaults are in. */
export interface RouteSettings {
  /** The longest body, in bytes. Default 65,536, unless the plugin names another. */
  bodyLimit: number
  /** How long a body may take to arrive, in milliseconds. Default 5,000. */
  bodyTimeout: number
  /** How long a handler may take before the sender is told to come again, in milliseconds. Default 10,000. */
  handlerTimeout: number
}

/** The options of a webhook once their defaults are in. */
export interface Settings extends RouteSettings, WatchOptions, Freshness {}

export interface Rule {
  readonly accepts: (value: unknown) => boolean
  readonly expects: string
  readonly required?: true
}

/** What a plugin's options are held to, by name. */
export type Rules = Readonly<Record<string, Rule>>

// What a client can ask for: visible ASCII, no query or fragment. Fastify's own patterns are left to it.
const PATH = /^\/[\x21\x22\x24-\x3e\x40-\x7e]*$/
const WEEK = 7 * 24 * 3600
const LONGEST_TIMER = 2 ** 31 - 1

const within = (value: unknown, least: number, most: number): boolean =>
  typeof value === 'number' && value >= least && value <= most
const whole = (most: number): Rule => ({
  accepts: (value) => Number.isInteger(value) && within(value, 1, most),
  expects: `must be a whole number from 1 to ${most}`
})
export const milliseconds = whole(LONGEST_TIMER)

export const flag: Rule = { accepts: (value) => typeof value === 'boolean', expects: 'must be true or false' }
export const callback: Rule = { accepts: (value) => typeof value === 'function', expects: 'must be a function' }
export const path: Rule = {
  accepts: (value) => typeof value === 'string' && PATH.test(value),
  expects: 'must be a path that starts with "/", without a query'
}
export const text: Rule = {
  accepts: (value) => typeof value === 'string' && value !== '',
  expects: 'must be a text'
}
/** Compiled by what reads it. */
export const schema: Rule = {
  accepts: (value) => typeof value === 'object' && value !== null,
  expects: 'must be a TypeBox schema'
}
/** Checked further by what reads it. */
export const anything: Rule = { accepts: () => true, expects: '' }
export const required = (rule: Rule): Rule => ({ ...rule, required: true })
export const oneOf = (...values: string[]): Rule => ({
  accepts: (value) => values.includes(value as string),
  expects: `must be one of ${values.map((value) => `"${value}"`).join(', ')}`
})

const seconds = (least: number): Rule => ({
  accepts: (value) => within(value, least, WEEK),
  expects: `must be a number of seconds from ${least} to ${WEEK}`
})
export const mostAge = seconds(1)
export const mostLead = seconds(0)

/** What decides whether a timestamp is fresh, for plugins and pure functions alike. */
export const FRESHNESS_RULES: Rules = { tolerance: mostAge, futureTolerance: mostLead, now: callback }

export const ROUTE_RULES: Rules = {
  bodyLimit: whole(2 ** 30),
  bodyTimeout: milliseconds,
  handlerTimeout: milliseconds,
  prefix: { accepts: (value) => typeof value === 'string', expects: 'must be a text' },
  logLevel: text,
  logSerializers: {
    accepts: (value) => typeof value === 'object' && value !== null &&
      Object.values(value).every((serializer) => typeof serializer === 'function'),
    expects: 'must be an object of functions'
  }
}

const WEBHOOK_RULES: Rules = { ...ROUTE_RULES, ...FRESHNESS_RULES, onRejected: callback, allowWeakSecret: flag }

export function checkOption (plugin: string, name: string, value: unknown, { accepts, expects }: Rule): void {
  if (value !== undefined && !accepts(value)) throw new InvalidOption(plugin, name, expects)
}

/** Throws `FST_VERIFICATION_INVALID_OPTION` for an option that is unknown, missing or of the wrong kind. */
export function checkOptions (plugin: string, options: object, own: Rules, common: Rules = WEBHOOK_RULES): void {
  const rules = new Map(Object.entries({ ...common, ...own }))
  const given = options as Record<string, unknown>
  for (const name in given) { // inherited ones count, for they are read
    if (!rules.has(name)) throw new InvalidOption(plugin, name, 'is not known')
  }
  for (const [name, rule] of rules) {
    const value = given[name]
    if (rule.required && value === undefined) throw new InvalidOption(plugin, name, 'is required')
    checkOption(plugin, name, value, rule)
  }
}

/** The same for an object among the options whose members, all optional, are held to one rule. */
export function checkGroup (
  plugin: string, option: string, group: unknown, members: readonly string[], rule: Rule
): void {
  if (group === undefined) return
  if (typeof group !== 'object' || group === null || Array.isArray(group)) {
    throw new InvalidOption(plugin, option, 'must be an object')
  }
  const rules = members.map((member) => [`${option}.${member}`, rule])
  const named = Object.entries(group).map(([member, value]) => [`${option}.${member}`, value])
  checkOptions(plugin, Object.fromEntries(named), Object.fromEntries(rules), {})
}

/** A route's options with their defaults, read once: what the caller does to the object later changes nothing. */
export function readRouteSettings (options: RouteOptions, bodyLimit = 65_536): RouteSettings {
  return {
    bodyLimit: options.bodyLimit ?? bodyLimit,
    bodyTimeout: options.bodyTimeout ?? 5_000,
    handlerTimeout: options.handlerTimeout ?? 10_000
  }
}

/** The same for a webhook. */
export function readSettings (options: WebhookOptions, bodyLimit?: number): Settings {
  return { ...readRouteSettings(options, bodyLimit), ...freshnessOf(options), onRejected: options.onRejected }
}
