import type { FastifyPluginAsync, FastifyPluginOptions } from 'fastify'
import fp from 'fastify-plugin'

/** The range of Fastify versions that the plugins register with, equal to the peer dependency. */
export const FASTIFY_RANGE = '>=5.0.0 <6'

const SKIP_OVERRIDE = Symbol.for('skip-override')

/**
 * Makes a plugin with a scope of its own. The plugin keeps that scope even if the host application wraps it in
 * fastify-plugin again, which assigns to the function it is given. Otherwise the plugin would remove the host's own
 * content type parsers.
 */
export function createPlugin<Options extends FastifyPluginOptions> (
  plugin: FastifyPluginAsync<Options>, name: string
): FastifyPluginAsync<Options> {
  const encapsulated = fp(plugin, { name: `fastify-verification-${name}`, fastify: FASTIFY_RANGE, encapsulate: true })
  return Object.defineProperty(encapsulated, SKIP_OVERRIDE, { get: () => false, set () {} })
}
