import type { FastifyInstance } from 'fastify'
import sensible from '@fastify/sensible'
import { prepareResponses, type Rephrase, type Send } from './response.js'
import { describeError } from './errors.js'
import { createReport, safeLog } from './telemetry.js'
import { captureRawBody } from './body.js'
import type { RouteSettings, WatchOptions } from './options.js'

/** Prepares the scope of a plugin: raw bodies, its own responses, and the helpers of @fastify/sensible for handlers. */
export function prepareScope (
  scope: FastifyInstance, provider: string, settings: RouteSettings & WatchOptions,
  { rephrase, contentTypes }: { rephrase?: Rephrase | undefined, contentTypes?: readonly string[] } = {}
): Send {
  if (!scope.hasDecorator('httpErrors')) registerSensible(scope)
  const endBodyDeadline = captureRawBody(scope, settings.bodyTimeout, contentTypes)
  return prepareResponses(scope, createReport(provider, settings), endBodyDeadline, rephrase)
}

/**
 * Adds the helpers of @fastify/sensible, without `sharedSchemaId`, which would make a host application fail that
 * registers sensible itself. Sensible is called, not registered: it throws if the host application already uses one of
 * its many names, which would end the process, and the helpers are not important enough for that.
 */
function registerSensible (scope: FastifyInstance): void {
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
