import { Type, type Static } from '@sinclair/typebox'

/** Schema of errors, in the format of Fastify's own errors. */
export const ErrorSchema = Type.Object({
  statusCode: Type.Integer({ description: 'HTTP status code' }),
  code: Type.Optional(Type.String({ description: 'Machine-readable error code' })),
  error: Type.String({ description: 'Name of the HTTP status' }),
  message: Type.String({ description: 'Human-readable error message' })
}, { description: 'An error' })
export type ErrorReply = Static<typeof ErrorSchema>

/** Schema of a denial, the response of a handler that refuses a delivery. */
export const DenialSchema = Type.Object({
  status: Type.Literal('error'),
  code: Type.String({ description: 'Reason for the denial: not_found, banned, ...' }),
  message: Type.String()
}, { description: 'The handler denied the delivery' })

/** Schema of any 4xx response: a denial with any status, or an error of the route itself. */
export const RefusalSchema = Type.Union([DenialSchema, ErrorSchema])
