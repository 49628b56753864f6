import type { FastifyInstance } from 'fastify'
import sensible from '@fastify/sensible'
import { describeError } from './errors.js'
import { safeLog } from './telemetry.js'

/**
 * Adds the helpers of @fastify/sensible for handlers, without `sharedSchemaId`, which would make a host application
 * fail that registers sensible itself. Sensible is called, not registered: it throws if the host application already
 * uses one of its many names, which would end the process, and the helpers are not important enough for that.
 */
export function addHelpers (scope: FastifyInstance): void {
  if (scope.hasDecorator('httpErrors')) return
  try {
    sensible(scope, {}, () => {})
  } catch (error) {
    safeLog(scope.log, 'warn', { failure: describeError(error) }, '@fastify/sensible is not available to handlers')
  }
}

/** Decorates the scope with a user's handler and returns the handler as the route must call it. */
export function decorateHandler<Handler extends Function> (
  scope: FastifyInstance, name: string, handler: Handler
): Handler {
  // A getter works even if the host application has a read-only decorator of that name.
  scope.decorate<unknown>(name, { getter: () => handler })
  return Reflect.get(scope, name)
}
