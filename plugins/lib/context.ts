import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Readable } from 'node:stream'
import type { Presented, Signer } from './signature/authenticate.js'
import type { Deadline } from './timers.js'
import type { Answer } from './errors.js'

/** A body that is arriving, and the reply for a response if it takes too long. */
export interface Arriving { readonly reply: FastifyReply, readonly payload: Readable }

/** Values that are the same for all deliveries to a route. */
export interface Route {
  readonly provider: string
  /** Path of the route, with its prefix. */
  readonly path: string
  /** Returns the kind of an event, in one word. */
  readonly kindOf: (event: unknown) => string
  /** Returns the id of the person that an event is about, if it is known. */
  readonly subjectOf: (event: unknown) => string | undefined
  /** True if a delivery that looks the same after the replay window is another delivery. */
  readonly exactly: boolean
}

/** The context of a delivery. Each value is set by the step that determines it. */
export interface DeliveryContext {
  /** Time of arrival in milliseconds, by `performance.now()`. */
  readonly since: number
  rawBody: Buffer | undefined
  /** Length of the body in bytes, once it has been read to its end. */
  bytes: number | undefined
  /** Result of checking the headers, before the body arrives. */
  presented: Presented | undefined
  /** True if the body is not kept because the headers already cause a rejection. */
  dropsBody: boolean
  /** Deadline that runs until the body has arrived. */
  deadline: Deadline<Arriving> | undefined
  /** Route of the delivery, once it is authentic. */
  route: Route | undefined
  /** Index of the secret that matched, counted from 0. */
  secretIndex: number | undefined
  /** The api-key or `keyId`, once it is known to have a secret. */
  keyId: string | undefined
  /** Age of the delivery in seconds according to its timestamp, if it is rejected for that. */
  ageSeconds: number | undefined
  /** Signers of the delivery, for the keys of the store. */
  signers: readonly Signer[] | undefined
  /** Id of the delivery, from a signed header. */
  id: string | undefined
  /** The event, once the body is completely checked. */
  event: object | undefined
  /** Key of the delivery in the store. */
  key: string | undefined
  /** Response to a failure, while the onError hooks of the host application run. */
  failure: Answer | undefined
  /** True once the response has been reported. */
  answered: boolean
}

export const kContext = Symbol('fastify-verification.delivery')
type Delivered = FastifyRequest & { [kContext]: DeliveryContext | undefined }

/**
 * Returns the context of a request. Undefined if a hook of the host application responded, or failed, before the
 * delivery reached its plugin.
 */
export function contextOf (request: FastifyRequest): DeliveryContext | undefined {
  return (request as Delivered)[kContext]
}

export function startDelivery (request: FastifyRequest): DeliveryContext {
  const delivery = {
    since: performance.now(),
    rawBody: undefined,
    bytes: undefined,
    presented: undefined,
    dropsBody: false,
    deadline: undefined,
    route: undefined,
    secretIndex: undefined,
    keyId: undefined,
    ageSeconds: undefined,
    signers: undefined,
    id: undefined,
    event: undefined,
    key: undefined,
    failure: undefined,
    answered: false
  };
  (request as Delivered)[kContext] = delivery
  return delivery
}
