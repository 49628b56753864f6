import type { TSchema } from '@sinclair/typebox'
import { plainPath } from './signature/fields.js'
import { InvalidOption } from './errors.js'
import { compileOptionCheck, typesOf, type Check } from './validation.js'

/** The definition of one route of a plugin with several routes. */
export interface RouteKind<Kind extends string> {
  readonly kind: Kind
  /** Default path of the route. */
  readonly path: string
  /** Default schema of the body. */
  readonly schema: TSchema
}

type PerKind<Kind extends string, Value> = { readonly [K in Kind]?: Value | undefined }

/** The options `paths`, `endpoints` and `schemas`, each with one member per kind. */
export interface KindOptions<Kind extends string> {
  readonly paths?: PerKind<Kind, string> | undefined
  readonly endpoints?: PerKind<Kind, string> | undefined
  readonly schemas?: PerKind<Kind, TSchema> | undefined
}

/** A kind of route with the user's options applied. */
export type SignedRoute<K> = K & {
  readonly url: string
  /** Public path and query that the sender signs. Undefined if it must be configured and is not. */
  readonly endpoint: string | undefined
  readonly schema: TSchema
  readonly check: Check
}

/**
 * Applies the user's options to each kind of route.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if a schema cannot be compiled, or accepts no objects
 */
export function readKinds<K extends RouteKind<string>> (
  plugin: string, prefix: string, kinds: readonly K[], { paths, endpoints, schemas }: KindOptions<K['kind']>
): SignedRoute<K>[] {
  return kinds.map((one) => {
    const kind: K['kind'] = one.kind
    const url = paths?.[kind] ?? one.path
    const body = schemas?.[kind] ?? one.schema
    const check = compileOptionCheck(plugin, `schemas.${kind}`, body)
    if (!typesOf(body).has('object')) throw new InvalidOption(plugin, `schemas.${kind}`, 'must accept objects')
    return { ...one, url, endpoint: endpoints?.[kind] ?? plainPath(prefix, url), schema: body, check }
  })
}

/**
 * Checks the endpoints of the routes.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if an endpoint must be configured and is not, or two routes share one
 */
export function checkEndpoints (plugin: string, routes: readonly SignedRoute<RouteKind<string>>[]): void {
  const served = new Set<string>()
  for (const { kind, endpoint } of routes) {
    if (endpoint === undefined) throw new InvalidOption(plugin, `endpoints.${kind}`, 'is required for such a path')
    if (served.has(endpoint)) throw new InvalidOption(plugin, 'endpoints', 'must not be the same for both routes')
    served.add(endpoint)
  }
}
