import type { FastifyPluginAsync, FastifyPluginOptions } from 'fastify'
import fp from 'fastify-plugin'

/** The versions of Fastify that the plugins register with, as in the peer dependency. */
export const FASTIFY_RANGE = '>=5.0.0 <6'

const SKIP_OVERRIDE = Symbol.for('skip-override')

/**
 * Makes a plugin that has a scope of its own. It keeps that scope where a host wraps it in fastify-plugin once more,
 * which assigns to the function it is given: the plugin would otherwise remove the host's own content type parsers.
 */
export function createPlugin<Options extends FastifyPluginOptions> (
  plugin: FastifyPluginAsync<Options>, name: string
): FastifyPluginAsync<Options> {
  const encapsulated = fp(plugin, { name: `fastify-verification-${name}`, fastify: FASTIFY_RANGE, encapsulate: true })
  return Object.defineProperty(encapsulated, SKIP_OVERRIDE, { get: () => false, set () {} })
}
