import type { FastifyInstance } from 'fastify'
import sensible from '@fastify/sensible'
import { ownAnswers, type Send } from './answer.js'
import { captureRawBody } from './raw-body.js'

/** Makes a plugin's scope one of this collection's: raw bodies, answers of its own, sensible's helpers for handlers. */
export async function prepareScope (scope: FastifyInstance, { bodyTimeout }: { bodyTimeout: number }): Promise<Send> {
  // Without sharedSchemaId: with it, a host that registers sensible itself fails.
  if (!scope.hasDecorator('httpErrors')) await scope.register(sensible)
  captureRawBody(scope, bodyTimeout)
  return ownAnswers(scope)
}

/** Decorates the scope with a user's handler and returns it as the route is to call it. */
export function decorateHandler<Handler extends Function> (
  scope: FastifyInstance, name: string, handler: Handler
): Handler {
  scope.decorate<unknown>(name, handler)
  return scope.getDecorator<Handler>(name)
}
