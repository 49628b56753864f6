import type {
  FastifyInstance, FastifyRequest, RawServerBase, RawServerDefault, RouteGenericInterface
} from 'fastify'
import { createError } from '@fastify/error'
import { Type, type TSchema } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import {
  HumanDetectRequestSchema, HumanDetectResultSchema, UnknownTokenSchema,
  type HumanDetectRequest, type HumanDetectResult
} from '../schemas/humandetect.js'
import { checkApiKey } from './humandetect/api-keys.js'
import { humandetectRouteSchema } from './humandetect/openapi.js'
import { guardErrors } from './humandetect/errors.js'
import { readBaseUrl } from './humandetect/base-url.js'
import type { Callback, VerificationPlugin, VerifiedRequest } from './lib/callback.js'
import { deliveryStore, guardStore, type DeliveryStore } from './lib/idempotency/store.js'
import { readDenial } from './lib/deny.js'
import { InvalidOption, NO_CONTENT } from './lib/errors.js'
import { createGuard, type Guard, type HasHeader, type RequireHumanOptions, type VerifyTokenOptions } from './humandetect/guard.js'
import { safeLog } from './lib/telemetry.js'
import {
  anyValue, callback, checkOptions, boolean, milliseconds, mostAge, mostLead, path, required, schema
} from './lib/rules.js'
import { FASTIFY_RANGE } from './lib/plugin.js'
import { compileReply } from './lib/reply.js'
import { compileCheck, compileOptionCheck } from './lib/validation.js'
import { decorateHandler } from './lib/scope.js'
import { readRouteSettings, ROUTE_RULES, type RouteOptions } from './lib/options.js'
import { systemClock } from './lib/signature/fields.js'
import { createExaminer, isToken } from './humandetect/token-verifier.js'
import { createPipeline } from './lib/pipeline.js'

declare module 'fastify' {
  interface FastifyInstance {
    humandetect: HumanDetect
  }
  interface FastifyRequest {
    /** The result of the token in routes with `requireHuman`; `null` in all others. */
    humandetect: HumanDetectResult | null
  }
}

export interface HumanDetectOptions extends RouteOptions {
  /** The private key of the Token Verification API. */
  apiKey: string
  /** The https URL of that API, without `/v1/humandetect/verify`. Default `https://api.unify.id`, probably retired. */
  baseUrl?: string | undefined
  /**
   * Total time in milliseconds for a call to the API, including at most one retry after a broken connection or a 5xx.
   * Default 3,000.
   */
  timeout?: number | undefined
  /** Maximum age of a token in seconds. Default 300. */
  maxAge?: number | undefined
  /**
   * Maximum time in seconds that a token may be ahead of this server's clock. Its timestamp comes from the clock of a
   * phone. Default 300.
   */
  skew?: number | undefined
  /** Allows `http:` for a `baseUrl` on this machine. Default false. */
  allowHttp?: boolean | undefined
  /**
   * Handler for every result of the plugin's own route, which exists only if this option is set. Its return value is
   * the response. The client chose the identifier itself, so check that you expect it.
   */
  handleResult?: Callback<[result: HumanDetectResult, request: VerifiedRequest], unknown> | undefined
  /** TypeBox schema of that response. Default: any value, or a 204 if the handler returns `undefined`. */
  reply?: TSchema | undefined
  /** The path of the plugin's own route. Default `/humandetect`. */
  path?: string | undefined
  /** The store that remembers used tokens. Default: an in-memory store for this registration. */
  deliveries?: DeliveryStore | undefined
  /** The clock, in milliseconds since 1970; for tests. Default `Date.now`. */
  now?: (() => number) | undefined
}

export type { RequireHumanOptions, VerifyTokenOptions }

export interface HumanDetect {
  /**
   * Verifies that a token is genuine, fresh, used for the first time and about `identifier`, and resolves to its
   * result. Rejects with `FST_HUMANDETECT_TOKEN_REQUIRED` (400), `FST_HUMANDETECT_NOT_HUMAN` (403) or
   * `FST_HUMANDETECT_UNAVAILABLE` (503).
   */
  verify: (token: string, options: VerifyTokenOptions) => Promise<HumanDetectResult>
  /**
   * Creates a preHandler that verifies the token of a request and stores the result in `request.humandetect`.
   *
   * @example app.post('/signup', { preHandler: app.humandetect.requireHuman({ identifier }) }, handler)
   */
  requireHuman: <
    Route extends RouteGenericInterface = RouteGenericInterface, Server extends RawServerBase = RawServerDefault
  >(options: RequireHumanOptions<Route, Server>) =>
  (request: FastifyRequest<Route, Server>, reply: HasHeader) => Promise<void>
}

const PLUGIN = 'humandetectPlugin'
const PROVIDER = 'humandetect'
const PUBLIC_SERVICE = 'https://api.unify.id'
const VERIFY_PATH = '/v1/humandetect/verify'
const ROUTE_OPTIONS = ['reply', 'path', 'bodyLimit', 'bodyTimeout', 'handlerTimeout', 'routeOptions'] as const

/** Makes the class of an error without a stack trace: these errors are responses, and any client can cause them. */
function refusal (code: keyof typeof guardErrors) {
  const { statusCode, message } = guardErrors[code]
  return createError<[]>(code, message, statusCode, Error, false)
}

const REFUSALS = {
  token_required: refusal('FST_HUMANDETECT_TOKEN_REQUIRED'),
  not_human: refusal('FST_HUMANDETECT_NOT_HUMAN'),
  unavailable: refusal('FST_HUMANDETECT_UNAVAILABLE')
}

async function humandetect (app: FastifyInstance, options: HumanDetectOptions): Promise<void> {
  checkOptions(PLUGIN, options, {
    ...ROUTE_RULES,
    apiKey: required(anyValue),
    baseUrl: anyValue,
    timeout: milliseconds,
    maxAge: mostAge,
    skew: mostLead,
    allowHttp: boolean,
    handleResult: callback,
    reply: schema,
    path,
    deliveries: deliveryStore,
    now: callback
  })
  const unused = ROUTE_OPTIONS.find((option) => options[option] !== undefined && options.handleResult === undefined)
  if (unused !== undefined) throw new InvalidOption(PLUGIN, unused, 'needs "handleResult"')

  const { baseUrl = PUBLIC_SERVICE, allowHttp = false, timeout = 3000 } = options
  const { maxAge = 300, skew = 300, now = systemClock } = options
  const headers = { 'x-api-key': checkApiKey(PLUGIN, 'apiKey', options.apiKey) }
  const where = readBaseUrl(PLUGIN, baseUrl, allowHttp)
  // Makes Node set up the dispatcher of its own fetch first. Otherwise undici, loaded by the client, installs its own.
  Reflect.get(globalThis, 'Headers')
  const { createJsonClient } = await import('./humandetect/client.js')
  const service = createJsonClient({ ...where, headers, timeout }, VERIFY_PATH)
  app.addHook('onClose', service.close)
  if (baseUrl === PUBLIC_SERVICE) {
    safeLog(app.log, 'warn', { plugin: PLUGIN }, 'the public service may have been shut down: set "baseUrl"')
  }
  const schemas = { schema: HumanDetectResultSchema, unknownToken: UnknownTokenSchema }
  const examine = createExaminer<HumanDetectResult>({
    provider: PROVIDER,
    tenant: where.origin + where.prefix,
    service,
    ...schemas,
    maxAge,
    skew,
    now,
    deliveries: guardStore(app, PROVIDER, options.deliveries)
  })

  // An outer instance may have decorated requests already; its decorator is inherited.
  if (!app.hasDecorator('humandetect')) app.decorateRequest('humandetect', null)
  const guard = createGuard<HumanDetectResult>({
    provider: PROVIDER, examine, refusals: REFUSALS, grant: (request, verdict) => { request.humandetect = verdict }
  })
  app.decorate('humandetect', { verify: guard.verifier(app.log), requireHuman: guard.requireHuman })
  if (options.handleResult !== undefined) {
    app.register(async (scope) => addOwnRoute(scope, options, guard), options)
  }
}

/** Adds the plugin's own route, which verifies the token like the guard and then calls `handleResult`. */
function addOwnRoute (
  scope: FastifyInstance, options: HumanDetectOptions, { admit, tokenRequired }: Guard<HumanDetectResult>
): void {
  const settings = readRouteSettings(options)
  const { reply = Type.Unknown() } = options
  const needsReply = options.reply !== undefined
  const writeReply = compileReply(reply, undefined, compileOptionCheck(PLUGIN, 'reply', reply))
  const check = compileCheck(HumanDetectRequestSchema)
  const addRoute = createPipeline(scope, PROVIDER, settings)
  const handleResult = decorateHandler(scope, 'handleResult', options.handleResult!)

  addRoute<HumanDetectRequest>({
    url: options.path ?? '/humandetect',
    schema: humandetectRouteSchema(reply),
    authenticate: () => ({ ok: true }), // the token itself authenticates the sender
    check: (payload) => isToken((payload as HumanDetectRequest).token) ? check(payload) : tokenRequired,
    admit,
    denial: readDenial,
    handle: (_event, request) => handleResult(request.humandetect!, request),
    answer: (result) => result === undefined && !needsReply ? NO_CONTENT : writeReply(result, undefined)
  })
}

/**
 * Decorates the instance it is registered on with `humandetect`, which can guard any route of that instance. `await`
 * the registration before using the decorator.
 */
export const humandetectPlugin: VerificationPlugin<HumanDetectOptions> =
  /* @__PURE__ */ fp(humandetect, { name: 'fastify-verification-humandetect', fastify: FASTIFY_RANGE })
export default humandetectPlugin
export type * from '../schemas/humandetect.js'
