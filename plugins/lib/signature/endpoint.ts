import type { Rule } from '../rules.js'

// RFC 3986 path and query. Excludes braces and spaces, which could also be the beginning of a body.
export const PUBLIC_ENDPOINT = /^\/[\w.~!$&'()*+,;=:@%/?-]*$/

/** Rule for the public path and query that a sender signs. */
export const publicEndpoint: Rule = {
  accepts: (value) => typeof value === 'string' && PUBLIC_ENDPOINT.test(value),
  expects: 'must be a path, with its query if it has one'
}

/** Returns the path as clients send it, or undefined if they may send several or have to encode it. */
export function plainPath (prefix: string, url: string): string | undefined {
  const joined = (prefix + url).replace('//', '/') // like Fastify, for a prefix that ends with a slash
  const several = /[:*]/.test(joined) || (prefix !== '' && url === '/')
  return PUBLIC_ENDPOINT.test(joined) && !several ? joined : undefined
}
