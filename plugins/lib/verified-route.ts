import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema, HookHandlerDoneFunction } from 'fastify'
import type { Send } from './answer.js'
import type { Authenticate, Authentication, NoSecret, Sender } from './authenticate.js'
import { deliveryId, type Identity } from './delivery-id.js'
import {
  describeError, FORBIDDEN, INVALID_JSON, invalidPayload, SECRET_UNAVAILABLE, VERIFICATION_FAILED, type Answer
} from './errors.js'
import { createHandlerRunner, type Work } from './handler.js'
import { parseJsonObject } from './json.js'
import { tell } from './log.js'
import { createOnce, type OnceRules } from './once.js'
import { reject, type Rejection } from './rejection.js'
import type { RouteSettings, WatchOptions } from './settings.js'

const kChecked = Symbol('fastify-verification.checked')
type Checked = FastifyRequest & { [kChecked]?: { event: object, sender: Sender | undefined } }

/** One provider's part in the way of a delivery. */
export interface VerifiedRoute<Event, Question = unknown> extends Work<Event, Question> {
  readonly url: string
  readonly schema: FastifySchema & { summary: string }
  /** Is it authentic? Sees headers and bytes, nothing decoded. */
  readonly authenticate: Authenticate
  /** Is it what the provider sends? If not, what is wrong with it, or how that is answered. */
  readonly check: (payload: object) => string | Answer | undefined
  /** May it come in? Asked last, of who else has to be asked; if not, how that is answered. */
  readonly admit?: (event: Event, request: FastifyRequest) => Promise<Answer | undefined>
  /** As what it is to be handled once; undefined for one that is handled as often as it comes. */
  readonly identify?: ((event: Event, mac: Buffer) => Identity | undefined) | undefined
}

/** The one place that knows the order: verify, decode, validate, claim, handle, check the reply, complete, answer. */
export function addVerifiedRoute<Event, Question = unknown> (
  scope: FastifyInstance, send: Send, settings: RouteSettings & WatchOptions & { once?: OnceRules },
  route: VerifiedRoute<Event, Question>
): void {
  const { provider } = route
  const { bodyLimit, handlerTimeout, onRejected } = settings
  const runHandler = createHandlerRunner(route, handlerTimeout)
  const handleOnce = settings.once && createOnce(runHandler, provider, settings.once)
  const path = scope.prefix + route.url

  scope.route({
    method: 'POST',
    url: route.url,
    schema: route.schema,
    bodyLimit,
    // The schema serves types and API pages. The check that counts runs after the signature.
    validatorCompiler: () => () => true,
    preHandler: [verify],
    handler: deliver
  })

  function verify (request: FastifyRequest, reply: FastifyReply, next: HookHandlerDoneFunction): void {
    const body = Buffer.isBuffer(request.body) ? request.body : undefined
    let outcome
    try {
      outcome = route.authenticate(request, body)
    } catch (error) {
      return fail(request, reply, error, VERIFICATION_FAILED, 'verification failed')
    }
    if (!(outcome instanceof Promise)) return validate(request, reply, body, outcome, next)
    outcome.then((authentication) => validate(request, reply, body, authentication, next),
      (error: unknown) => fail(request, reply, error, VERIFICATION_FAILED, 'verification failed')).catch(next)
  }

  /** Nobody can say whether it is authentic. */
  function fail (request: FastifyRequest, reply: FastifyReply, error: unknown, answer: Answer, message: string): void {
    tell(request.log, 'error', { provider, failure: describeError(error) }, message)
    send(reply, answer)
  }

  function validate (
    request: FastifyRequest, reply: FastifyReply, body: Buffer | undefined, outcome: Authentication | NoSecret,
    next: HookHandlerDoneFunction
  ): void {
    if (outcome.ok === null) return fail(request, reply, outcome.cause, SECRET_UNAVAILABLE, 'secret unavailable')
    if (!outcome.ok) return refuse(request, reply, outcome)
    const payload = body && parseJsonObject(body)
    if (payload === undefined) return send(reply, INVALID_JSON)
    const problem = route.check(payload)
    if (problem !== undefined) return send(reply, typeof problem === 'string' ? invalidPayload(problem) : problem)
    if (route.admit === undefined) return accept(request, payload, outcome.sender, next)
    route.admit(payload as Event, request).then((refusal) => {
      if (refusal === undefined) accept(request, payload, outcome.sender, next)
      else send(reply, refusal)
    }).catch(next)
  }

  function accept (
    request: FastifyRequest, event: object, sender: Sender | undefined, next: HookHandlerDoneFunction
  ): void {
    request.body = event;
    (request as Checked)[kChecked] = { event, sender }
    next()
  }

  function deliver (request: FastifyRequest, reply: FastifyReply): void {
    // Without it the hook above did not run: a host's onRoute hook has put another in its place.
    const checked = (request as Checked)[kChecked]
    if (checked === undefined) return refuse(request, reply, reject('mismatch'))
    const event = checked.event as Event
    const sender = checked.sender!
    const answered = (answer: Answer): void => send(reply, answer)
    const identity = route.identify?.(event, sender.mac)
    if (identity !== undefined) {
      const id = deliveryId([provider, path, sender.tenant], identity)
      return handleOnce!(id, event, request, answered)
    }
    runHandler(event, request, (answer, late) => { if (!late) answered(answer) }, answered)
  }

  function refuse (
    request: FastifyRequest, reply: FastifyReply, rejection: Rejection & { keyId?: string | undefined }
  ): void {
    const { reason, ageSeconds, keyId } = rejection
    const delivery = {
      provider,
      path: request.routeOptions.url!,
      reason,
      ...(keyId !== undefined && { keyId }),
      ...(ageSeconds !== undefined && { ageSeconds })
    }
    tell(request.log, reason === 'stale' ? 'warn' : 'info', delivery, 'delivery rejected')
    send(reply, FORBIDDEN)
    if (onRejected === undefined) return
    Promise.resolve({ ...delivery, requestId: request.id }).then(onRejected).catch((error: unknown) => {
      tell(request.log, 'error', { provider, failure: describeError(error) }, 'onRejected failed')
    })
  }
}
