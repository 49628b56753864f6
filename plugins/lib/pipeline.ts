import type {
  FastifyInstance, FastifyReply, FastifyRequest, FastifySchema, HookHandlerDoneFunction, RequestPayload
} from 'fastify'
import type { Send } from './response.js'
import type { Authenticate, Authentication, NoSecret } from './signature/authenticate.js'
import { contextOf, type DeliveryContext, type Route } from './context.js'
import { deliveryId, namespaceOf, type DeliveryId, type Identity } from './idempotency/delivery-id.js'
import type { Explain } from './doctor/explain.js'
import {
  describeError, forbidden, HANDLER_FAILED, INVALID_JSON, invalidPayload, SECRET_UNAVAILABLE, VERIFICATION_FAILED,
  type Answer
} from './errors.js'
import { createHandlerRunner, logLate, type Work } from './handler.js'
import { parseJsonObject } from './body.js'
import { createIdempotentHandler, type IdempotencyRules } from './idempotency/idempotency.js'
import type { Rejection } from './signature/fields.js'
import type { RouteSettings } from './options.js'

/** The steps of a delivery that depend on the provider. */
export interface WebhookRoute<Event, Question = unknown> extends Work<Event, Question> {
  readonly url: string
  readonly schema: FastifySchema & { summary: string }
  /** Verifies that a delivery is authentic. Reads only the headers and the raw bytes, nothing decoded. */
  readonly authenticate: Authenticate
  /** Finds the mistake that would explain a rejection. Optional, so that a rejection costs nothing without it. */
  readonly explain?: Explain | undefined
  /** Parses the body. Returns undefined if it cannot be parsed. Default: parses a JSON object. */
  readonly parse?: (body: Buffer, request: FastifyRequest) => object | undefined
  /** Response to a body that cannot be parsed. Default `INVALID_JSON`. */
  readonly unreadable?: Answer
  /** Checks that the body is what the provider sends. If it is not, returns the problem or the response. */
  readonly check: (payload: object) => string | Answer | undefined
  /** Returns the kind of an event, in one word. Default `event`. */
  readonly kindOf?: (event: Event) => string
  /** Asks another service, as the last check, whether to admit the event. If not, resolves to the response. */
  readonly admit?: (event: Event, request: FastifyRequest) => Promise<Answer | undefined>
  /**
   * Returns the identity under which the event is handled once, or undefined if it is handled every time it arrives.
   */
  readonly identify?: ((event: Event, mac: Buffer, id: string | undefined) => Identity | undefined) | undefined
}

/**
 * Adds the route of a webhook. Only this function knows the order of the steps: verify, decode, validate, claim,
 * handle, check the reply, complete, respond.
 */
export function addWebhookRoute<Event, Question = unknown> (
  scope: FastifyInstance, send: Send, settings: RouteSettings & { once?: IdempotencyRules },
  route: WebhookRoute<Event, Question>
): void {
  const { provider } = route
  const { bodyLimit, handlerTimeout } = settings
  const { config, preHandler = [], ...others } = settings.routeOptions
  // Lists of hooks are copied, since other plugins add their own to those of a route.
  const routeOptions = Object.fromEntries(Object.entries(others)
    .map(([name, value]) => [name, Array.isArray(value) ? [...value] : value]))
  const runHandler = createHandlerRunner(route, handlerTimeout)
  const handleOnce = settings.once && createIdempotentHandler(runHandler, provider, settings.once)
  const path = scope.prefix + route.url
  const { kindOf = () => 'event', parse = parseJsonObject, unreadable = INVALID_JSON } = route
  const about: Route = {
    provider, path, kindOf: (event) => kindOf(event as Event), exactly: settings.once?.exactly === true
  }
  // Cached, since most deliveries have the same signer as the one before.
  let tenant = ''
  let namespace = namespaceOf(provider, path, tenant)

  scope.route({
    ...routeOptions,
    method: 'POST',
    url: route.url,
    schema: route.schema,
    // A `transform` of the host application for @fastify/swagger may support only its own schemas, as zod's does.
    config: { swaggerTransform: false, ...config },
    // @fastify/response-validation does not support examples in schemas, and would keep the server from starting.
    ...{ responseValidation: false },
    bodyLimit,
    // The schema is only for types and API documentation. The check that counts runs after the signature is verified.
    validatorCompiler: () => () => true,
    ...(route.authenticate.readHeaders !== undefined && { preParsing: [readHeaders] }),
    preHandler: [...[preHandler].flat(), verify],
    handler: deliver
  })

  /**
   * Checks the headers while the body is arriving. If they cause a rejection, the body is not kept, unless `explain`
   * needs it.
   */
  function readHeaders (
    request: FastifyRequest, _reply: FastifyReply, payload: RequestPayload,
    next: (error: null, payload: RequestPayload) => void
  ): void {
    const delivery = contextOf(request)!
    try {
      delivery.presented = route.authenticate.readHeaders!(request)
      delivery.dropsBody = !delivery.presented.ok && route.explain === undefined
    } catch {} // thrown again when the delivery is verified
    next(null, payload)
  }

  function verify (request: FastifyRequest, reply: FastifyReply, next: HookHandlerDoneFunction): void {
    const delivery = contextOf(request)
    const bytes = delivery?.rawBody
    const body = request.body === bytes ? bytes : undefined // a hook of the host may have replaced it
    if (delivery?.dropsBody && delivery.bytes !== undefined) {
      return validate(request, reply, undefined, delivery.presented as Rejection, next)
    }
    let outcome
    try {
      outcome = route.authenticate(request, body)
    } catch (error) {
      return fail(reply, VERIFICATION_FAILED, error)
    }
    if (!(outcome instanceof Promise)) return validate(request, reply, body, outcome, next)
    outcome.then((authentication) => validate(request, reply, body, authentication, next),
      (error: unknown) => fail(reply, VERIFICATION_FAILED, error)).catch(next)
  }

  /** Sends the response to a failure, with the error that caused it. */
  function fail (reply: FastifyReply, answer: Answer, error: unknown): void {
    send(reply, { ...answer, details: { failure: describeError(error) }, thrown: { value: error } })
  }

  function validate (
    request: FastifyRequest, reply: FastifyReply, body: Buffer | undefined, outcome: Authentication | NoSecret,
    next: HookHandlerDoneFunction
  ): void {
    if (outcome.ok === null) return fail(reply, SECRET_UNAVAILABLE, outcome.cause)
    const delivery = contextOf(request)!
    delivery.keyId = outcome.keyId
    if (!outcome.ok) {
      delivery.ageSeconds = outcome.ageSeconds
      return refuse(request, reply, body, outcome, next)
    }
    delivery.route = about
    delivery.secretIndex = outcome.secretIndex
    delivery.signers = outcome.signers
    delivery.id = outcome.id
    const payload = body && parse(body, request)
    if (payload === undefined) return send(reply, unreadable)
    const problem = route.check(payload)
    if (problem !== undefined) return send(reply, typeof problem === 'string' ? invalidPayload(problem) : problem)
    if (route.admit === undefined) return accept(request, delivery, payload, next)
    route.admit(payload as Event, request).then((refusal) => {
      if (refusal === undefined) accept(request, delivery, payload, next)
      else send(reply, refusal)
    }).catch(next)
  }

  function refuse (
    request: FastifyRequest, reply: FastifyReply, body: Buffer | undefined, { reason, header }: Rejection,
    next: HookHandlerDoneFunction
  ): void {
    const answer = forbidden(reason)
    const details = header === undefined ? undefined : { header }
    if (route.explain === undefined) return send(reply, details === undefined ? answer : { ...answer, details })
    route.explain(request, body).then((diagnosis) => {
      send(reply, { ...answer, details: { ...details, diagnosis } })
    }).catch(next)
  }

  function accept (
    request: FastifyRequest, delivery: DeliveryContext, event: object, next: HookHandlerDoneFunction
  ): void {
    request.body = event
    delivery.event = event
    next()
  }

  /**
   * Runs the handler. Returns a promise unless the response is sent at once, so that async context and traces last
   * until it is sent.
   */
  function deliver (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> | void {
    const delivery = contextOf(request)
    // Without an event, the hook above did not run: an onRoute hook of the host application has replaced it.
    if (delivery?.event === undefined) return send(reply, forbidden('mismatch'))
    const event = delivery.event as Event
    let sent = false
    let end: (() => void) | undefined
    const answered = (answer: Answer): void => {
      // Fastify's own time limit may already have sent a response.
      if (!delivery.answered) send(reply, answer)
      else if (answer.reason !== 'handler_timeout') logLate(request, provider, answer)
      sent = true
      end?.()
    }
    let ids: DeliveryId[]
    try {
      ids = route.identify === undefined ? [] : idsOf(event, delivery, route.identify)
    } catch (error) {
      return fail(reply, HANDLER_FAILED, error)
    }
    if (ids.length > 0) {
      delivery.key = ids[0]!.key
      handleOnce!({ ids, tenant: delivery.signers![0]!.tenant }, event, request, answered)
    } else {
      runHandler(event, request, (answer, late) => { if (!late) answered(answer) }, answered)
    }
    if (!sent) return new Promise((resolve) => { end = () => resolve(reply) })
  }

  /**
   * Returns an id for each signer of the delivery, or an empty list if the delivery is handled every time it arrives.
   */
  function idsOf (
    event: Event, { signers, id }: DeliveryContext, identify: NonNullable<typeof route.identify>
  ): DeliveryId[] {
    return signers!.flatMap((signer) => {
      const identity = identify(event, signer.mac, id)
      return identity === undefined ? [] : [deliveryId(namespaceFor(signer.tenant), identity)]
    })
  }

  function namespaceFor (owner: string): string {
    if (owner !== tenant) {
      tenant = owner
      namespace = namespaceOf(provider, path, tenant)
    }
    return namespace
  }
}
