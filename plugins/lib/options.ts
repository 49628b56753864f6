import type { FastifyInstance, LogLevel, RegisterOptions, RouteShorthandOptions } from 'fastify'
import { deliveryStore, guardStore, type DeliveryStore, type IdempotencyRules } from './idempotency/store.js'
import { InvalidOption } from './errors.js'
import {
  anyValue, boolean, callback, checkOptions, FRESHNESS_RULES, group, integer, milliseconds, nonEmptyString, object,
  oneOf, string, type Rule, type Rules
} from './rules.js'
import type { DeliveryReport, RejectedDelivery } from './telemetry.js'
import { freshnessOf, replayWindow, type Freshness, type FreshnessInput } from './signature/fields.js'

type Maybe<T> = { -readonly [K in keyof T]?: T[K] | undefined }

/** Options of every plugin with a route. */
export interface RouteOptions extends Maybe<RouteSettings> {
  /** Fastify's `prefix`, put before every path of the plugin. */
  prefix?: string
  /** Fastify's `logLevel`, for the plugin's routes. */
  logLevel?: LogLevel
  /** Fastify's `logSerializers`, for the plugin's routes. */
  logSerializers?: NonNullable<RegisterOptions['logSerializers']>
}

/** Callbacks that observe deliveries and decide nothing. Errors that they throw are logged. */
export interface WatchOptions {
  /** Callback for each delivery that is not authentic. */
  onRejected?: ((delivery: RejectedDelivery) => void) | undefined
  /**
   * Callback for each delivery that failed on this server, with a 500 or 503 response. The error is what the handler,
   * the store or the resolver threw, or an error that has the code of the response.
   */
  onFailed?: ((error: unknown, delivery: DeliveryReport) => void) | undefined
}

/** Options of every webhook plugin. */
export interface WebhookOptions extends RouteOptions, WatchOptions, FreshnessInput {
  /** Store that records which deliveries are handled. Default: an in-memory store of this registration. */
  deliveries?: DeliveryStore | undefined
  /**
   * Duration in milliseconds after which a delivery may be handled again if its handler has reported nothing, for
   * example after a crash. Must be more than `handlerTimeout`. Default 60,000, or twice `handlerTimeout` if that is
   * more.
   */
  lease?: number | undefined
  /** Accepts secrets that are too short to withstand guessing, with a warning in the log. Default false. */
  allowWeakSecret?: boolean | undefined
  /**
   * Logs which mistake would explain that a delivery is not authentic, as far as trying can tell. For setup only, since
   * it costs about 200 MACs per delivery: refused under `NODE_ENV=production`. Default false.
   */
  diagnose?: boolean | undefined
}

const HOOKS = [
  'onRequest', 'preValidation', 'preHandler', 'onTimeout', 'onError', 'onResponse', 'onRequestAbort'
] as const

/** The options of Fastify's routes that change neither the verification nor the response. */
export type HostRouteOptions = Pick<
  RouteShorthandOptions, typeof HOOKS[number] | 'config' | 'constraints' | 'childLoggerFactory' | 'prefixTrailingSlash'
>

/** Options of a route, with defaults applied. */
export interface RouteSettings {
  /** Maximum length of the body in bytes. Default 65,536, unless the plugin names another. */
  bodyLimit: number
  /** Maximum duration in milliseconds for the body to arrive. Default 5,000. */
  bodyTimeout: number
  /** Maximum duration of the handler in milliseconds. After that, the sender is asked to retry. Default 10,000. */
  handlerTimeout: number
  /**
   * Fastify's route options for the plugin's routes: hooks, `config`, `constraints`. The hooks run before the delivery
   * is verified, so they see bytes that nobody may have signed. Default: none.
   */
  routeOptions: HostRouteOptions
}

/** Options of a webhook, with defaults applied. */
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
  skipOverride: anyValue, // set by fastify-cli's test helper and passed on by autoload
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

/**
 * Checks the options of a webhook and the plugin's `own`.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if an option is unknown, missing or invalid
 */
export function checkWebhookOptions (plugin: string, options: WebhookOptions, own: Rules): void {
  checkOptions(plugin, options, { ...WEBHOOK_RULES, ...own })
  if (options.diagnose && process.env['NODE_ENV'] === 'production') {
    throw new InvalidOption(plugin, 'diagnose', 'must not be enabled in production (NODE_ENV=production)')
  }
  const route = readRouteSettings(options)
  if (leaseOf(options, route) <= route.handlerTimeout) {
    throw new InvalidOption(plugin, 'lease', 'must be longer than "handlerTimeout"')
  }
}

/**
 * Reads the options of a route and applies the defaults. Changes that the caller makes to the object later have no
 * effect.
 */
export function readRouteSettings (options: RouteOptions, bodyLimit = 65_536): RouteSettings {
  return {
    bodyLimit: options.bodyLimit ?? bodyLimit,
    bodyTimeout: options.bodyTimeout ?? 5_000,
    handlerTimeout: options.handlerTimeout ?? 10_000,
    routeOptions: options.routeOptions ?? {}
  }
}

/** Reads the options of a webhook and applies the defaults. */
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
