import { Type, type Static, type TSchema } from '@sinclair/typebox'

/** Creates the schema of a field that a sender may omit or set to null. */
export function optional<T extends TSchema> (schema: T) {
  return Type.Optional(Type.Union([schema, Type.Null()]))
}

/** Schema of a route for API documentation, in the form that `@fastify/swagger` reads. */
export interface RouteSchema {
  tags: string[]
  summary: string
  description: string
  consumes: string[]
  headers?: TSchema
  body: TSchema
  response: Record<string, TSchema>
}

/** Adds named examples to a schema, where `@fastify/swagger` looks for them. */
export function withExamples<T extends TSchema> (schema: T, examples: Readonly<Record<string, unknown>>): T {
  const named = Object.entries(examples).map(([name, value]) => [name, { value }])
  return { ...schema, 'x-examples': Object.fromEntries(named) }
}

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

const REFUSED = { status: 'error', code: 'refused', message: 'Not allowed' }

/** Schema of any 4xx response: a denial with any status, or an error of the route itself. */
export const RefusalSchema = Type.Union([DenialSchema, ErrorSchema])

/** Error messages of one status, by error code. */
type Messages = Readonly<Record<string, string>>

/** Error statuses, with their names and their meanings on a receiving route. */
const STATUSES: Readonly<Record<number, readonly [name: string, meaning: string]>> = {
  400: ['Bad Request', 'The body is not a JSON object in UTF-8, or does not match the schema'],
  401: ['Unauthorized', 'The API key is missing or wrong'],
  403: ['Forbidden', 'Not authentic: a header is missing, repeated, malformed or outside the tolerance, or the ' +
    'signature matches no secret of this server. The response is the same for all of these reasons'],
  408: ['Request Timeout', 'The body did not arrive in time. The connection is closed'],
  413: ['Payload Too Large', 'The body is too large. The connection is closed'],
  415: ['Unsupported Media Type', 'Not `application/json` in UTF-8, or compressed. The connection is closed'],
  422: ['Unprocessable Entity', 'The delivery id was already used for different content'],
  500: ['Internal Server Error', 'Internal error. The delivery can be retried'],
  503: ['Service Unavailable', 'Temporarily unavailable. Retry later']
}

/** Error messages of any receiving route, by status and code. */
export const RouteErrors = {
  400: { FST_VERIFICATION_INVALID_JSON: 'The body is not a JSON object in UTF-8' },
  408: { FST_VERIFICATION_BODY_TIMEOUT: 'Request Timeout' },
  413: { FST_ERR_CTP_BODY_TOO_LARGE: 'Payload Too Large' },
  415: { FST_ERR_CTP_INVALID_MEDIA_TYPE: 'Unsupported Media Type' },
  500: { FST_VERIFICATION_HANDLER_FAILED: 'The handler failed' },
  503: { FST_VERIFICATION_TIMEOUT: 'The handler did not finish in time' }
}

/** Error messages of routes for signed deliveries that are handled once, by status and code. */
export const WebhookErrors = {
  ...RouteErrors,
  400: { ...RouteErrors[400], FST_VERIFICATION_NOT_SERIALIZABLE: 'The event is nested too deeply to be stored' },
  403: { FST_VERIFICATION_FORBIDDEN: 'The delivery is not authentic' },
  500: { ...RouteErrors[500], FST_VERIFICATION_FAILED: 'The delivery could not be verified' },
  503: {
    ...RouteErrors[503],
    FST_VERIFICATION_IN_PROGRESS: 'This delivery is already being handled',
    FST_VERIFICATION_STORE_UNAVAILABLE: 'The delivery store is unavailable',
    FST_VERIFICATION_SECRET_UNAVAILABLE: 'The secret is unavailable',
    FST_VERIFICATION_QUEUE_UNAVAILABLE: 'The queue is unavailable'
  }
}

export const InvalidReply = { FST_VERIFICATION_INVALID_REPLY: 'The handler returned an invalid reply' }
export const IdReused = { FST_VERIFICATION_ID_REUSED: 'The delivery id was already used for different content' }

/** Creates the error message of an invalid payload. `problem` is an example of what validation reports. */
export const invalidPayload = (problem: string) => ({ FST_VERIFICATION_INVALID_PAYLOAD: problem })

const RETRY_AFTER = { headers: { 'Retry-After': { type: 'integer', description: 'Seconds to wait', example: 5 } } }

/** Creates the schemas of error responses, by status. `schema` and `body` override the default error format. */
export function errorResponses<Status extends number> (
  messages: Readonly<Record<Status, Messages>>, schema: TSchema = ErrorSchema,
  body = (error: Required<ErrorReply>): object => error
): Record<Status, TSchema> {
  const responses = Object.entries<Messages>(messages).map(([status, texts]) => {
    const statusCode = Number(status)
    const [error, description] = STATUSES[statusCode]!
    const examples = Object.entries(texts).map(([code, message]) => [code, body({ statusCode, code, error, message })])
    const again = statusCode === 503 && RETRY_AFTER
    return [status, { ...withExamples(schema, Object.fromEntries(examples)), description, ...again }]
  })
  return Object.fromEntries(responses) as Record<Status, TSchema>
}

/** Creates the schema of denials, for all 4xx statuses. */
export function anyDenial (denials: Readonly<Record<string, unknown>> = { refused: REFUSED }): { '4xx': TSchema } {
  return { '4xx': { ...withExamples(DenialSchema, denials), description: 'The handler denied the delivery' } }
}

/** Creates the schemas of a webhook's error responses: these errors, denials with any 4xx, and any other error. */
export function webhookResponses (
  messages: Readonly<Record<number, Messages>>, denials?: Readonly<Record<string, unknown>>
): Record<string, TSchema> {
  const { 500: failed, 503: unavailable, ...refusals } = messages
  return {
    ...anyDenial(denials),
    ...errorResponses(refusals, RefusalSchema),
    ...errorResponses({ 500: failed!, 503: unavailable! }),
    ...otherError()
  }
}

/** Creates the schema of unlisted statuses. Without it, Fastify would send the message of an error in a host's hook. */
export function otherError (schema: TSchema = ErrorSchema): { default: TSchema } {
  return { default: { ...schema, description: 'Any other error of this server' } }
}

/** Pattern of the name of a key: visible ASCII without commas. */
export const KEY_PATTERN = '^[\\x21-\\x2b\\x2d-\\x7e]+$'

export const NoContentSchema = Type.Null({ description: 'Accepted. The response has no body' })

/** Adds the header `Idempotency-Replayed`, which marks a repeated response to a delivery that was handled before. */
export function once<T extends TSchema> (schema: T): T {
  const description = 'Present if the delivery was already handled and this is the stored response'
  return { ...schema, headers: { 'Idempotency-Replayed': { type: 'string', enum: ['true'], description } } }
}
