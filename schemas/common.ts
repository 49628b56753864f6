import { Type, type Static, type TSchema } from '@sinclair/typebox'

/** A field that a sender may leave out or set to null. */
export function optional<T extends TSchema> (schema: T) {
  return Type.Optional(Type.Union([schema, Type.Null()]))
}

/** Errors, in the shape Fastify gives its own. */
export const ErrorSchema = Type.Object({
  statusCode: Type.Integer({ description: 'The HTTP status' }),
  code: Type.Optional(Type.String({ description: 'What happened, for programs' })),
  error: Type.String({ description: 'The name of the HTTP status' }),
  message: Type.String({ description: 'What happened, for people' })
}, { description: 'An error' })
export type ErrorReply = Static<typeof ErrorSchema>

/** What every receiving route may answer instead of success. */
export const ErrorResponses = {
  400: ErrorSchema,
  403: ErrorSchema,
  408: ErrorSchema,
  413: ErrorSchema,
  415: ErrorSchema,
  422: ErrorSchema,
  500: ErrorSchema,
  503: ErrorSchema
}

export const NoContentSchema = Type.Null({ description: 'Taken; nothing more is said' })
