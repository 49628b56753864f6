import type { FastifyInstance, LogLevel, RegisterOptions, RouteShorthandOptions } from 'fastify'
import { deliveryStore, guardStore } from './idempotency/guarded-store.js'
import type { DeliveryStore } from './idempotency/store.js'
import { InvalidOption } from './errors.js'
import {
  anyValue, boolean, callback, checkOptions, FRESHNESS_RULES, group, integer, milliseconds, nonEmptyString, object,
  oneOf, string, type Rule, type Rules
} from './rules.js'
import type { IdempotencyRules } from './idempotency/idempotency.js'
import type { DeliveryReport, RejectedDelivery } from './telemetry.js'
import { freshnessOf, replayWindow, type Freshness, type FreshnessInput } from './signature/timestamp.js'

type Maybe<T> = { -readonly [K in keyof T]?: T[K] | undefined }

/** What every plugin with a route takes. */
export interface RouteOptions extends Maybe<RouteSettings> {
  /** Fastify's own: put before every path of the plugin. */
  prefix?: string
  /** Fastify's own: the log level of the plugin's routes. */
  logLevel?: LogLevel
  /** Fastify's own: the log serializers of the plugin's routes. */
  logSerializers?: NonNullable<RegisterOptions['logSerializers']>
}

/** Options that observe deliveries and decide nothing. What they throw is logged. */
export interface WatchOptions {
  /** Called with each delivery that is not authentic. */
  onRejected?: ((delivery: RejectedDelivery) => void) | undefined
  /**
   * Called with each delivery that failed on this server, answered 500 or 503, and with the error: what the handler,
   * the store or the resolver threw, or an error that has the code of the answer.
   */
  onFailed?: ((error: unknown, delivery: DeliveryReport) => void) | undefined
}

/** What every webhook plugin takes. */
export interface WebhookOptions extends RouteOptions, WatchOptions, FreshnessInput {
  /** Where it is kept which deliveries are handled. Default: in memory, in a store of this registration. */
  deliveries?: DeliveryStore | undefined
  /**
   * After how long a delivery may be handled anew where nothing is heard of the handler that took it, as after a crash;
   * in milliseconds, more than `handlerTimeout`. Default 60,000, or twice `handlerTimeout` if that is more.
   */
  lease?: number | undefined
  /** Accept secrets that are too short to withstand guessing, with a warning in the log. Default false. */
  allowWeakSecret?: boolean | undefined
  /**
   * Have the log say which mistake would explain that a delivery is not authentic, as far as trying finds out. For
   * setting up, as it costs some 200 MACs each: refused under `NODE_ENV=production`. Default false.
   */
  diagnose?: boolean | undefined
}

const HOOKS = [
  'onRequest', 'preValidation', 'preHandler', 'onTimeout', 'onError', 'onResponse', 'onRequestAbort'
] as const

/** The options of Fastify's routes that change neither what is verified nor what is answered. */
export type HostRouteOptions = Pick<
  RouteShorthandOptions, typeof HOOKS[number] | 'config' | 'constraints' | 'childLoggerFactory' | 'prefixTrailingSlash'
>

/** The options of a route once their defaults are in. */
export interface RouteSettings {
  /** The longest body, in bytes. Default 65,536, unless the plugin names another. */
  bodyLimit: number
  /** How long a body may take to arrive, in milliseconds. Default 5,000. */
  bodyTimeout: number
  /** How long a handler may take before the sender is told to come again, in milliseconds. Default 10,000. */
  handlerTimeout: number
  /**
   * Fastify's own, for the plugin's routes: hooks, `config`, `constraints`. Its hooks run before the delivery is
   * verified, so they see bytes that nobody may have signed. Default: none.
   */
  routeOptions: HostRouteOptions
}

/** The options of a webhook once their defaults are in. */
export interface Settings extends RouteSettings, WatchOptions, Freshness {
  readonly once: IdempotencyRules
  readonly diagnose: boolean
}

const hook: Rule = {
  accepts: (value) => [value].flat().every((one) => typeof one === 'function'),
  expects: 'must be a function or an array of functions'
}

export const ROUTE_RULES: Rules = {
  routeOptions: group({
    ...Object.fromEntries(HOOKS.map((name) => [name, hook])),
    config: object,
    constraints: object,
    childLoggerFactory: callback,
    prefixTrailingSlash: oneOf('both', 'slash', 'no-slash')
  }),
  bodyLimit: integer(2 ** 30),
  bodyTimeout: milliseconds,
  handlerTimeout: milliseconds,
  prefix: string,
  skipOverride: anyValue, // of fastify-cli's test helper, which autoload hands on
  logLevel: nonEmptyString,
  logSerializers: {
    accepts: (value) => typeof value === 'object' && value !== null &&
      Object.values(value).every((serializer) => typeof serializer === 'function'),
    expects: 'must be an object of functions'
  }
}

const WEBHOOK_RULES: Rules = {
  ...ROUTE_RULES,
  ...FRESHNESS_RULES,
  onRejected: callback,
  onFailed: callback,
  allowWeakSecret: boolean,
  diagnose: boolean,
  deliveries: deliveryStore,
  lease: milliseconds
}

/** Throws `FST_VERIFICATION_INVALID_OPTION` unless the options are those of a webhook and the plugin's `own`. */
export function checkWebhookOptions (plugin: string, options: WebhookOptions, own: Rules): void {
  checkOptions(plugin, options, { ...WEBHOOK_RULES, ...own })
  if (options.diagnose && process.env['NODE_ENV'] === 'production') {
    throw new InvalidOption(plugin, 'diagnose', 'must not be on under NODE_ENV=production')
  }
  const route = readRouteSettings(options)
  if (leaseOf(options, route) <= route.handlerTimeout) {
    throw new InvalidOption(plugin, 'lease', 'must be longer than "handlerTimeout"')
  }
}

/** A route's options with their defaults, read once: what the caller does to the object later changes nothing. */
export function readRouteSettings (options: RouteOptions, bodyLimit = 65_536): RouteSettings {
  return {
    bodyLimit: options.bodyLimit ?? bodyLimit,
    bodyTimeout: options.bodyTimeout ?? 5_000,
    handlerTimeout: options.handlerTimeout ?? 10_000,
    routeOptions: options.routeOptions ?? {}
  }
}

/** The same for a webhook. */
export function readSettings (
  scope: FastifyInstance, provider: string, options: WebhookOptions, bodyLimit?: number
): Settings {
  const route = readRouteSettings(options, bodyLimit)
  const freshness = freshnessOf(options)
  return {
    ...route,
    ...freshness,
    onRejected: options.onRejected,
    onFailed: options.onFailed,
    diagnose: options.diagnose === true,
    once: {
      deliveries: guardStore(scope, provider, options.deliveries),
      lease: leaseOf(options, route),
      replayWindow: replayWindow(freshness)
    }
  }
}

function leaseOf ({ lease }: WebhookOptions, { handlerTimeout }: RouteSettings): number {
  return lease ?? Math.max(60_000, 2 * handlerTimeout)
}
