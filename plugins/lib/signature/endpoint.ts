import type { Rule } from '../rules.js'

// RFC 3986 path and query: no brace or space that could as well begin a body.
export const PUBLIC_ENDPOINT = /^\/[\w.~!$&'()*+,;=:@%/?-]*$/

/** A public path and query that a sender signs. */
export const publicEndpoint: Rule = {
  accepts: (value) => typeof value === 'string' && PUBLIC_ENDPOINT.test(value),
  expects: 'must be a path, with its query if it has one'
}

/** The path as clients send it; undefined if they may send several, or have to encode it. */
export function plainPath (prefix: string, url: string): string | undefined {
  const joined = (prefix + url).replace('//', '/') // as Fastify joins a prefix that ends in a slash
  const several = /[:*]/.test(joined) || (prefix !== '' && url === '/')
  return PUBLIC_ENDPOINT.test(joined) && !several ? joined : undefined
}
