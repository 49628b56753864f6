import type {
  FastifyContentTypeParser, FastifyInstance, FastifyReply, FastifyRequest, FastifySchema, HookHandlerDoneFunction,
  preParsingHookHandler
} from 'fastify'
import {
  announcesBody, contentTypePattern, createBodyDeadlines, JSON_TYPE, keepBytes, parseJsonObject, refuseFraming
} from './body.js'
import type { VerifiedRequest } from './callback.js'
import { contextOf, kContext, startDelivery, type DeliveryContext, type Route } from './context.js'
import type { Explain } from './doctor/explain.js'
import {
  answerOf, failedWith, forbidden, HANDLER_FAILED, INVALID_JSON, INVALID_REPLY, invalidPayload,
  SECRET_UNAVAILABLE, STORE_UNAVAILABLE, TIMEOUT, VERIFICATION_FAILED, type Answer
} from './errors.js'
import { deliveryId, namespaceOf, type DeliveryId, type Identity } from './idempotency/delivery-id.js'
import { answerToClaim, createClaims, type HeldClaim, type IdempotencyRules } from './idempotency/store.js'
import type { RouteSettings, WatchOptions } from './options.js'
import type { InvalidResult } from './reply.js'
import { prepareResponses, type Rephrase } from './response.js'
import { addHelpers } from './scope.js'
import type { Authenticate, Authentication, NoSecret } from './signature/authenticate.js'
import { createReport, logLate } from './telemetry.js'
import { createTimeLimit, isThenable, toPromise } from './timers.js'

/** The parts of the path that depend on the provider. */
export interface WebhookRoute<Event, Context = unknown> {
  readonly url: string
  readonly schema: FastifySchema & { summary: string }
  /** Verifies that a delivery is authentic. Reads only the headers and the raw bytes, nothing decoded. */
  readonly authenticate: Authenticate
  /** Finds the mistake that would explain a rejection. Optional, so that a rejection costs nothing without it. */
  readonly explain?: Explain | undefined
  /** Parses the body. Returns undefined if it cannot be parsed. Default: parses a JSON object. */
  readonly parse?: ((body: Buffer, request: FastifyRequest) => object | undefined) | undefined
  /** Response to a body that cannot be parsed. Default `INVALID_JSON`. */
  readonly unreadable?: Answer | undefined
  /** Checks that the body is what the provider sends. If it is not, returns the problem or the response. */
  readonly check: (payload: object) => string | Answer | undefined
  /** Returns the kind of an event, in one word. Default `event`. */
  readonly kindOf?: ((event: Event) => string) | undefined
  /** Returns the id of the person that an event is about, if it is known. Default: it is not. */
  readonly subjectOf?: ((event: Event) => string | undefined) | undefined
  /** Asks another service, as the last check, whether to admit the event. If not, resolves to the response. */
  readonly admit?: ((event: Event, request: FastifyRequest) => Promise<Answer | undefined>) | undefined
  /**
   * Returns the identity under which the event is handled once, or undefined if it is handled every time it arrives.
   */
  readonly identify?: ((event: Event, mac: Buffer, id: string | undefined) => Identity | undefined) | undefined
  /**
   * Duration in milliseconds for which a delivery that looks the same is a copy, and not for longer. Default: at least
   * as long as its timestamp can be fresh.
   */
  readonly copiesFor?: number | undefined
  /** Returns what the response depends on. Called before the handler, which may change the event. */
  readonly replyContext?: ((event: Event) => Context) | undefined
  readonly handle: (event: Event, request: VerifiedRequest) => unknown
  /** Turns the handler's result into a response, or lists its problems. */
  readonly answer: (result: unknown, context: Context) => Answer | InvalidResult
  /** Turns a thrown value into a response if it is a denial, not a failure. */
  readonly denial?: ((thrown: unknown) => Answer | undefined) | undefined
}

/** Adds the route of a webhook to the scope of its plugin. */
export type AddRoute = <Event, Context = unknown>(route: WebhookRoute<Event, Context>) => void

export interface PipelineSettings extends RouteSettings, WatchOptions {
  readonly once?: IdempotencyRules
}

interface Format {
  /** Changes responses into the format of the API that the routes implement. Default: unchanged. */
  readonly rephrase?: Rephrase | undefined
  /** Media types of the bodies. Default `['application/json']`. */
  readonly contentTypes?: readonly string[] | undefined
}

/**
 * Prepares the scope of a plugin for the path of a delivery, which has fifteen steps:
 *
 * - preParsing: 1 startDelivery, 2 refuseFraming, 3 startBodyDeadline
 * - parser: 4 keepBytes
 * - preHandler: 5 authenticate, 6 diagnose, 7 parse, 8 validate, 9 admit
 * - handler: 10 identify, 11 claim, 12 handle, 13 checkReply, 14 settle, 15 send
 *
 * Nothing is awaited that is already there: with synchronous keys, store and handler, the response is sent in the
 * handler's own tick.
 */
export function createPipeline (
  scope: FastifyInstance, provider: string, settings: PipelineSettings,
  { rephrase, contentTypes = [JSON_TYPE] }: Format = {}
): AddRoute {
  addHelpers(scope)
  const contentType = contentTypePattern(contentTypes)
  const deadlines = createBodyDeadlines(settings.bodyTimeout)
  const inTime = createTimeLimit(settings.handlerTimeout)
  const send = prepareResponses(scope, createReport(provider, settings), deadlines.stop, rephrase)

  const hostHasRawBody = scope.hasRequestDecorator('rawBody')
  if (!hostHasRawBody) {
    scope.decorateRequest('rawBody', {
      getter () { return contextOf(this)?.rawBody },
      setter () {} // ignored: hooks of the host cannot replace the bytes
    })
  }
  scope.decorateRequest(kContext, undefined)

  const arrive: preParsingHookHandler = (request, reply, payload, done) => {
    // 1 startDelivery
    const delivery = startDelivery(request)
    // 2 refuseFraming: 400 or 415
    const refusal = refuseFraming(request, contentTypes, contentType)
    if (refusal !== undefined) return done(refusal)
    // 3 startBodyDeadline: 408
    if (announcesBody(request)) deadlines.start(delivery, reply, payload)
    done(null, payload)
  }

  const receive: FastifyContentTypeParser = (request, payload, done) => {
    // 4 keepBytes: 413
    const delivery = contextOf(request)!
    keepBytes(request, delivery, payload, (error, body) => {
      if (error !== null) return done(error)
      deadlines.stop(delivery)
      if (hostHasRawBody) Reflect.set(request, 'rawBody', body) // has no effect if the host's own is read-only
      done(null, body)
    })
  }

  scope.addHook('preParsing', arrive)
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser([...contentTypes], receive)
  // Matches types in upper case, which some versions of Fastify 5 compare case-sensitively.
  scope.addContentTypeParser(contentType, receive)

  return <Event, Context>(route: WebhookRoute<Event, Context>): void => {
    const { parse = parseJsonObject, unreadable = INVALID_JSON, copiesFor } = route
    const { kindOf = () => 'event', subjectOf = () => undefined } = route
    const path = scope.prefix + route.url
    const about: Route = {
      provider,
      path,
      kindOf: (event) => kindOf(event as Event),
      subjectOf: (event) => subjectOf(event as Event),
      exactly: copiesFor !== undefined
    }
    const claims = settings.once && createClaims(provider, {
      ...settings.once, ...(copiesFor !== undefined && { replayWindow: copiesFor, exactly: true })
    })
    const idsOf = createIdentifier(provider, path, route.identify)

    /** Checks the headers while the body arrives, so that a body is not kept that they already reject. */
    const readHeaders: preParsingHookHandler = (request, _reply, payload, done) => {
      const delivery = contextOf(request)!
      try {
        delivery.presented = route.authenticate.readHeaders!(request)
        delivery.dropsBody = !delivery.presented.ok && route.explain === undefined
      } catch {} // thrown again by `verify`
      done(null, payload)
    }

    /** Resolves to true if the event may be handled. Otherwise, a response is sent. */
    async function verify (request: FastifyRequest, reply: FastifyReply): Promise<true | void> {
      const delivery = contextOf(request)!
      const bytes = delivery.rawBody
      const body = request.body === bytes ? bytes : undefined // a hook of the host may have replaced it

      // 5 authenticate: 403, 500 or 503
      let outcome: Authentication | NoSecret
      try {
        const authentication = rejectionByHeaders(delivery) ?? route.authenticate(request, body, delivery.presented)
        outcome = authentication instanceof Promise ? await authentication : authentication
      } catch (error) {
        return send(reply, failedWith(VERIFICATION_FAILED, error))
      }
      if (outcome.ok === null) return send(reply, failedWith(SECRET_UNAVAILABLE, outcome.cause))
      delivery.keyId = outcome.keyId
      if (!outcome.ok) {
        delivery.ageSeconds = outcome.ageSeconds
        // 6 diagnose
        const diagnosis = route.explain && await route.explain(request, body)
        return send(reply, forbidden(outcome.reason, outcome.header, diagnosis))
      }
      delivery.route = about
      delivery.secretIndex = outcome.secretIndex
      delivery.signers = outcome.signers
      delivery.id = outcome.id

      // 7 parse: 400
      const payload = body && parse(body, request)
      if (payload === undefined) return send(reply, unreadable)

      // 8 validate: 400
      const problem = route.check(payload)
      if (problem !== undefined) return send(reply, typeof problem === 'string' ? invalidPayload(problem) : problem)

      // 9 admit: 400, 403 or 503
      const refusal = route.admit && await route.admit(payload as Event, request)
      if (refusal !== undefined) return send(reply, refusal)
      request.body = payload
      delivery.event = payload
      return true
    }

    // A hook with a callback: after an async one, the handler would run while onSend hooks hold up a rejection.
    function verifyHook (request: FastifyRequest, reply: FastifyReply, next: HookHandlerDoneFunction): void {
      verify(request, reply).then((passed) => { if (passed) next() }).catch(next)
    }

    async function handle (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | void> {
      const delivery = contextOf(request)
      // Without an event, `verify` did not run: an onRoute hook of the host application has replaced it.
      if (delivery?.event === undefined) return send(reply, forbidden('mismatch'))
      const event = delivery.event as Event

      // 10 identify: 500
      let ids: readonly DeliveryId[]
      try {
        ids = idsOf(event, delivery)
      } catch (error) {
        return respond(reply, delivery, failedWith(HANDLER_FAILED, error))
      }

      // 11 claim: 422, 503, or the response to the delivery that this one is a copy of
      let held: HeldClaim | undefined
      if (ids.length > 0) {
        delivery.key = ids[0]!.key
        try {
          const claiming = claims!.claim(ids, delivery.signers![0]!.tenant)
          const claim = claiming instanceof Promise ? await claiming : claiming
          if (claim.state !== 'claimed') return respond(reply, delivery, answerToClaim(claim))
          held = claim
        } catch (error) {
          return respond(reply, delivery, failedWith(STORE_UNAVAILABLE, error))
        }
      }

      // 12 handle, with a time limit: 503, and 13 checkReply: 500
      let answer = work(event, request)
      if (answer instanceof Promise) {
        try {
          answer = await inTime(answer, (late) => {
            logLate(request, provider, late)
            if (held !== undefined) claims!.settle(held, late, request.log)
          })
        } catch { // the time is up, and the handler is still running
          return respond(reply, delivery, TIMEOUT)
        }
      }

      // 14 settle: a 2xx completes the claim before the response is sent, anything else releases it for a retry
      const settling = held && claims!.settle(held, answer, request.log)
      if (settling instanceof Promise) await settling

      // 15 send
      return respond(reply, delivery, answer)
    }

    /** Runs the handler and checks its reply. Neither throws nor rejects. */
    function work (event: Event, request: FastifyRequest): Answer | Promise<Answer> {
      try {
        const context = route.replyContext?.(event) as Context
        const result = route.handle(event, request as VerifiedRequest)
        if (!isThenable(result)) return checkReply(result, context)
        return toPromise(result).then((value) => checkReply(value, context), answerToThrown)
      } catch (error) {
        return answerToThrown(error)
      }
    }

    function checkReply (result: unknown, context: Context): Answer {
      try {
        const answer = route.answer(result, context)
        return 'problems' in answer ? { ...INVALID_REPLY, details: { problems: answer.problems } } : answer
      } catch (error) { // thrown by a user's own type in the reply schema
        return answerToThrown(error)
      }
    }

    function answerToThrown (thrown: unknown): Answer {
      return route.denial?.(thrown) ?? answerOf(thrown) ?? failedWith(HANDLER_FAILED, thrown)
    }

    /** Sends the response. Resolves when it is sent, so that async context and traces last until then. */
    function respond (reply: FastifyReply, delivery: DeliveryContext, answer: Answer): FastifyReply | void {
      // Fastify's own time limit may already have sent a response.
      if (!delivery.answered) send(reply, answer)
      else if (answer !== TIMEOUT) logLate(reply.request, provider, answer)
      return reply.raw.headersSent ? undefined : reply
    }

    const { config, preHandler = [], ...others } = settings.routeOptions
    // Lists of hooks are copied, since other plugins add their own to those of a route.
    const routeOptions = Object.fromEntries(Object.entries(others)
      .map(([name, value]) => [name, Array.isArray(value) ? [...value] : value]))
    scope.route({
      ...routeOptions,
      method: 'POST',
      url: route.url,
      schema: route.schema,
      // A `transform` of the host application for @fastify/swagger may support only its own schemas, as zod's does.
      config: { swaggerTransform: false, ...config },
      // @fastify/response-validation does not support examples in schemas, and would keep the server from starting.
      ...{ responseValidation: false },
      bodyLimit: settings.bodyLimit,
      // The schema is only for types and API documentation. The check that counts runs after the signature is verified.
      validatorCompiler: () => () => true,
      ...(route.authenticate.readHeaders !== undefined && { preParsing: [readHeaders] }),
      preHandler: [...[preHandler].flat(), verifyHook],
      handler: handle
    })
  }
}

/** Returns the rejection that the headers have caused, if the body was read and not kept for it. */
function rejectionByHeaders ({ dropsBody, bytes, presented }: DeliveryContext): Authentication | undefined {
  return dropsBody && bytes !== undefined ? presented as Authentication : undefined
}

/**
 * Makes a function that returns an id for each signer of a delivery, or an empty list if the delivery is handled every
 * time it arrives.
 */
function createIdentifier<Event> (
  provider: string, path: string, identify: WebhookRoute<Event>['identify']
): (event: Event, delivery: DeliveryContext) => readonly DeliveryId[] {
  if (identify === undefined) return () => []
  // Cached, since most deliveries have the same signer as the one before.
  let tenant = ''
  let namespace = namespaceOf(provider, path, tenant)

  return (event, { signers, id }) => signers!.flatMap((signer) => {
    const identity = identify(event, signer.mac, id)
    if (identity === undefined) return []
    if (signer.tenant !== tenant) {
      tenant = signer.tenant
      namespace = namespaceOf(provider, path, tenant)
    }
    return [deliveryId(namespace, identity)]
  })
}
