import type { FastifyInstance } from 'fastify'
import sensible from '@fastify/sensible'
import { prepareResponses, type Rephrase, type Send } from './response.js'
import { describeError } from './errors.js'
import { safeLog } from './log.js'
import { captureRawBody } from './body.js'
import { createReport } from './telemetry.js'
import type { RouteSettings, WatchOptions } from './options.js'

/** Makes a plugin's scope one of this collection's: raw bodies, answers of its own, sensible's helpers for handlers. */
export function prepareScope (
  scope: FastifyInstance, provider: string, settings: RouteSettings & WatchOptions,
  { rephrase, contentTypes }: { rephrase?: Rephrase | undefined, contentTypes?: readonly string[] } = {}
): Send {
  if (!scope.hasDecorator('httpErrors')) registerSensible(scope)
  const endBodyDeadline = captureRawBody(scope, settings.bodyTimeout, contentTypes)
  return prepareResponses(scope, createReport(provider, settings), endBodyDeadline, rephrase)
}

/**
 * Without `sharedSchemaId`, with which a host that registers sensible itself fails. And called, not registered: where
 * the host has taken one of its many names it throws, which would end the process, and nobody depends on it that much.
 */
function registerSensible (scope: FastifyInstance): void {
  try {
    sensible(scope, {}, () => {})
  } catch (error) {
    safeLog(scope.log, 'warn', { failure: describeError(error) }, '@fastify/sensible is not available to handlers')
  }
}

/** Decorates the scope with a user's handler and returns it as the route is to call it. */
export function decorateHandler<Handler extends Function> (
  scope: FastifyInstance, name: string, handler: Handler
): Handler {
  // A getter stands even where the host has a read-only decorator of that name.
  scope.decorate<unknown>(name, { getter: () => handler })
  return Reflect.get(scope, name)
}
