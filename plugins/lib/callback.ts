import type { FastifyRequest, RouteGenericInterface } from 'fastify'

/**
 * The request passed to handlers. Its type does not augment `FastifyRequest`, which would clash with what an
 * application or another package declares as `rawBody`.
 */
export type VerifiedRequest<Route extends RouteGenericInterface = RouteGenericInterface> = FastifyRequest<Route> & {
  /** Raw bytes of the body as they arrived, which are the bytes that were signed. */
  readonly rawBody: Buffer
}

type AnyRequest = FastifyRequest<any, any, any, any, any, any, any>

/** Parameters like `Args`, with a request that may have the types of any route. */
type WithAnyRequest<Args extends unknown[]> = {
  [Index in keyof Args]: Args[Index] extends FastifyRequest ? Args[Index] & AnyRequest : Args[Index]
}

/**
 * Two overloads that TypeScript cannot merge, so that they accept a function without giving types to its parameters.
 * These types come from the other member of the union.
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
 * A user's function. Its request has the types of `Args`, unless the function names those of its own route, such as
 * `FastifyRequest<{ Params: { tenant: string } }>`, which plain function types would not accept.
 */
export type Callback<Args extends unknown[], Result> =
  ((...args: Args) => Result) | Annotated<WithAnyRequest<Args>, Result>

/**
 * A user's function like `Callback`, whose event may also have a narrower type, since a schema of the user defines it.
 */
export type SchemaCallback<Args extends unknown[], Result> =
  Methods<Args, WithAnyRequest<Args>, Result>['plain' | 'annotated']

/**
 * A plugin for any instance of Fastify 5. `FastifyPluginAsync` would not accept the instance of another copy of
 * Fastify, whose type differs by its version, or by what packages declare on one of the two.
 */
export type VerificationPlugin<Options> = (instance: any, options: Options) => Promise<void>
