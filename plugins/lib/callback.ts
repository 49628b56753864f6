import type { FastifyRequest, RouteGenericInterface } from 'fastify'

/**
 * The request that handlers are called with. Its type is not an augmentation of `FastifyRequest`, which would clash
 * with what an application or another package declares as `rawBody`.
 */
export type VerifiedRequest<Route extends RouteGenericInterface = RouteGenericInterface> = FastifyRequest<Route> & {
  /** The bytes of the body as they arrived, which are what was signed. */
  readonly rawBody: Buffer
}

type AnyRequest = FastifyRequest<any, any, any, any, any, any, any>

/** The same parameters, with a request that may have any route's types. */
type WithAnyRequest<Args extends unknown[]> = {
  [Index in keyof Args]: Args[Index] extends FastifyRequest ? Args[Index] & AnyRequest : Args[Index]
}

/**
 * Two overloads that TypeScript cannot merge, so that they accept a function without giving types to its parameters:
 * those come from the other member of the union.
 */
interface Annotated<Args extends unknown[], Result> {
  <Same extends Args>(...args: Same): Result
  (...args: Args): Result
}

interface Methods<Args extends unknown[], AnyArgs extends unknown[], Result> {
  plain (...args: Args): Result
  annotated<Same extends AnyArgs> (...args: Same): Result
  annotated (...args: AnyArgs): Result
}

/**
 * A user's function. Its request has the types of `Args`, unless the function names those of its own route, as
 * `FastifyRequest<{ Params: { tenant: string } }>`, which the types of functions would refuse.
 */
export type Callback<Args extends unknown[], Result> =
  ((...args: Args) => Result) | Annotated<WithAnyRequest<Args>, Result>

/** The same for an event whose type may be narrower too, since a schema of the user's own stands for it. */
export type SchemaCallback<Args extends unknown[], Result> =
  Methods<Args, WithAnyRequest<Args>, Result>['plain' | 'annotated']

/**
 * A plugin for any instance of Fastify 5. `FastifyPluginAsync` would refuse the instance of another copy of Fastify,
 * which differs to TypeScript by its version or by what packages declare on one of the two.
 */
export type VerificationPlugin<Options> = (instance: any, options: Options) => Promise<void>
