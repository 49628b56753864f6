import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Readable } from 'node:stream'
import type { Presented, Signer } from './signature/authenticate.js'
import type { Deadline } from './deadlines.js'
import type { Answer } from './errors.js'

/** A body on its way, and who is to be told if it takes too long. */
export interface Arriving { readonly reply: FastifyReply, readonly payload: Readable }

/** What is the same of all deliveries to a route. */
export interface Route {
  readonly provider: string
  /** Where it is, with its prefix. */
  readonly path: string
  /** What an event is, in a word. */
  readonly kindOf: (event: unknown) => string
  /** Whether what looks the same after a while is another delivery. */
  readonly exactly: boolean
}

/** What is known of a delivery on its way, each thing from the step on that finds it out. */
export interface DeliveryContext {
  /** When it came in, by `performance.now()`. */
  readonly since: number
  rawBody: Buffer | undefined
  /** The length of the body, once it has been read to its end. */
  bytes: number | undefined
  /** The result of reading its headers, before its body arrives. */
  presented: Presented | undefined
  /** True if its body is not kept, since its headers refuse it. */
  dropsBody: boolean
  /** Until its body has arrived. */
  deadline: Deadline<Arriving> | undefined
  /** Once it is authentic. */
  route: Route | undefined
  /** Which of several secrets matched, counted from 0. */
  secretIndex: number | undefined
  /** The api-key or `keyId`, once it is known to be one of ours. */
  keyId: string | undefined
  /** How old it says it is, in seconds, where that is why it is refused. */
  ageSeconds: number | undefined
  /** Who signed it, for the keys of the store. */
  signers: readonly Signer[] | undefined
  /** What it is called in a header that is signed. */
  id: string | undefined
  /** The event, once all of it is checked. */
  event: object | undefined
  /** By what a store knows it. */
  key: string | undefined
  /** The answer of a failure, while the onError hooks of the host run. */
  failure: Answer | undefined
  /** True once its answer has been reported. */
  answered: boolean
}

export const kContext = Symbol('fastify-verification.delivery')
type Delivered = FastifyRequest & { [kContext]: DeliveryContext | undefined }

/** Undefined where a host's hook has answered, or failed, before the delivery reached its plugin. */
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
