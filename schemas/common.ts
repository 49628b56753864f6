import { Type, type Static, type TSchema } from '@sinclair/typebox'

/** A field that a sender may leave out or set to null. */
export function optional<T extends TSchema> (schema: T) {
  return Type.Optional(Type.Union([schema, Type.Null()]))
}

/** A route as API pages show it, for `@fastify/swagger` to read. */
export interface RouteSchema {
  tags: string[]
  summary: string
  description: string
  consumes: string[]
  headers?: TSchema
  body: TSchema
  response: Record<string, TSchema>
}

/** The schema with examples by name, where `@fastify/swagger` looks for them. */
export function withExamples<T extends TSchema> (schema: T, examples: Readonly<Record<string, unknown>>): T {
  const named = Object.entries(examples).map(([name, value]) => [name, { value }])
  return { ...schema, 'x-examples': Object.fromEntries(named) }
}

/** Errors, in the shape Fastify gives its own. */
export const ErrorSchema = Type.Object({
  statusCode: Type.Integer({ description: 'The HTTP status' }),
  code: Type.Optional(Type.String({ description: 'What happened, for programs' })),
  error: Type.String({ description: 'The name of the HTTP status' }),
  message: Type.String({ description: 'What happened, for people' })
}, { description: 'An error' })
export type ErrorReply = Static<typeof ErrorSchema>

/** The answer of a handler that refuses. */
export const DenialSchema = Type.Object({
  status: Type.Literal('error'),
  code: Type.String({ description: 'not_found, banned, ...' }),
  message: Type.String()
}, { description: 'The handler refused' })

const REFUSED = { status: 'error', code: 'refused', message: 'Not here' }

/** What a 4xx may be: a denial of any status, or an error of the route itself. */
export const RefusalSchema = Type.Union([DenialSchema, ErrorSchema])

/** What errors of one status say, by their codes. */
type Messages = Readonly<Record<string, string>>

/** Statuses of errors: their names, and what they mean on a receiving route. */
const STATUSES: Readonly<Record<number, readonly [name: string, meaning: string]>> = {
  400: ['Bad Request', 'No JSON object in UTF-8, or not what is sent here'],
  401: ['Unauthorized', 'The API key is missing or wrong'],
  403: ['Forbidden', 'Not authentic: a header is missing, repeated, malformed or out of date, or no secret of this ' +
    'server made the signature. One and the same answer for all of these'],
  408: ['Request Timeout', 'The body did not arrive in time. The connection is closed'],
  413: ['Payload Too Large', 'The body is too long. The connection is closed'],
  415: ['Unsupported Media Type', 'Not `application/json` in UTF-8, or compressed. The connection is closed'],
  422: ['Unprocessable Entity', 'The id of this delivery came before, with other content'],
  500: ['Internal Server Error', 'This server failed: it may be sent again'],
  503: ['Service Unavailable', 'Not now: to be sent again later']
}

/** What any receiving route may have to say. */
export const RouteErrors = {
  400: { FST_VERIFICATION_INVALID_JSON: 'The body is not a JSON object in UTF-8' },
  408: { FST_VERIFICATION_BODY_TIMEOUT: 'Request Timeout' },
  413: { FST_ERR_CTP_BODY_TOO_LARGE: 'Payload Too Large' },
  415: { FST_ERR_CTP_INVALID_MEDIA_TYPE: 'Unsupported Media Type' },
  500: { FST_VERIFICATION_HANDLER_FAILED: 'The handler failed' },
  503: { FST_VERIFICATION_TIMEOUT: 'The handler did not finish in time' }
}

/** The same for deliveries that are signed, and handled once. */
export const WebhookErrors = {
  ...RouteErrors,
  400: { ...RouteErrors[400], FST_VERIFICATION_NOT_SERIALIZABLE: 'The event is nested too deep to be kept' },
  403: { FST_VERIFICATION_FORBIDDEN: 'The delivery is not authentic' },
  500: { ...RouteErrors[500], FST_VERIFICATION_FAILED: 'The delivery could not be verified' },
  503: {
    ...RouteErrors[503],
    FST_VERIFICATION_IN_PROGRESS: 'This delivery is being handled',
    FST_VERIFICATION_STORE_UNAVAILABLE: 'Deliveries cannot be taken at the moment',
    FST_VERIFICATION_SECRET_UNAVAILABLE: 'The secret cannot be had at the moment',
    FST_VERIFICATION_QUEUE_UNAVAILABLE: 'The queue cannot take this at the moment'
  }
}

export const InvalidReply = { FST_VERIFICATION_INVALID_REPLY: 'The handler returned an invalid reply' }
export const IdReused = { FST_VERIFICATION_ID_REUSED: 'The id of this delivery was used for other content' }

/** `problem` is an example of what the check of a payload says. */
export const invalidPayload = (problem: string) => ({ FST_VERIFICATION_INVALID_PAYLOAD: problem })

const RETRY_AFTER = { headers: { 'Retry-After': { type: 'integer', description: 'Seconds to wait', example: 5 } } }

/** Answers that are one of these errors. `schema` and `body` where theirs is another. */
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

/** Any 4xx by which a handler refuses. */
export function anyDenial (denials: Readonly<Record<string, unknown>> = { refused: REFUSED }): { '4xx': TSchema } {
  return { '4xx': { ...withExamples(DenialSchema, denials), description: 'The handler refused' } }
}

/** Answers of a webhook: those errors, and what a handler refuses with any 4xx. */
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

/** Any status that is not listed: without it, Fastify would print the message of an error of a host's hook. */
export function otherError (schema: TSchema = ErrorSchema): { default: TSchema } {
  return { default: { ...schema, description: 'Any other error of this server' } }
}

/** What may name a key: visible ASCII without commas. */
export const KEY_PATTERN = '^[\\x21-\\x2b\\x2d-\\x7e]+$'

export const NoContentSchema = Type.Null({ description: 'Taken; nothing more is said' })

/** A success. Where a delivery comes again that was handled before, its answer is the same once more, and says so. */
export function once<T extends TSchema> (schema: T): T {
  const description = 'The delivery was handled before: this is its answer once more'
  return { ...schema, headers: { 'Idempotency-Replayed': { type: 'string', enum: ['true'], description } } }
}
