import { Type, type TSchema } from '@sinclair/typebox'
import { DenialSchema, ErrorSchema, RefusalSchema, type ErrorReply } from '../../schemas/common.js'
import { errors as catalogue, type ErrorText, type WebhookErrorCode } from './errors.js'

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

const REFUSED = { status: 'error', code: 'refused', message: 'Not allowed' }

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
  422: ['Unprocessable Entity', catalogue.FST_VERIFICATION_ID_REUSED.message],
  500: ['Internal Server Error', 'Internal error. The delivery can be retried'],
  503: ['Service Unavailable', 'Temporarily unavailable. Retry later']
}

/** Lists the messages of errors by status and code. */
export function messagesOf<Code extends string> (
  errors: Readonly<Record<Code, ErrorText>>, ...codes: Code[]
): Record<number, Record<string, string>> {
  const messages: Record<number, Record<string, string>> = {}
  for (const code of codes) {
    const { statusCode, message } = errors[code];
    (messages[statusCode] ??= {})[code] = message
  }
  return messages
}

/** Merges lists of messages by status. */
export function mergeMessages (...lists: Record<number, Messages>[]): Record<number, Messages> {
  const merged: Record<number, Messages> = {}
  for (const [status, messages] of lists.flatMap((list) => Object.entries(list))) {
    merged[Number(status)] = { ...merged[Number(status)], ...messages }
  }
  return merged
}

/** Error messages of any receiving route, by status and code. */
export const RouteErrors = mergeMessages(
  messagesOf(catalogue, 'FST_VERIFICATION_INVALID_JSON'),
  { // with the messages of Fastify
    408: { FST_VERIFICATION_BODY_TIMEOUT: 'Request Timeout' },
    413: { FST_ERR_CTP_BODY_TOO_LARGE: 'Payload Too Large' },
    415: { FST_ERR_CTP_INVALID_MEDIA_TYPE: 'Unsupported Media Type' }
  },
  messagesOf(catalogue, 'FST_VERIFICATION_HANDLER_FAILED', 'FST_VERIFICATION_TIMEOUT')
)

/** Error messages of routes for signed deliveries that are handled once, by status and code. */
const WebhookErrors = mergeMessages(RouteErrors, messagesOf(
  catalogue, 'FST_VERIFICATION_NOT_SERIALIZABLE', 'FST_VERIFICATION_FORBIDDEN', 'FST_VERIFICATION_FAILED',
  'FST_VERIFICATION_IN_PROGRESS', 'FST_VERIFICATION_STORE_UNAVAILABLE', 'FST_VERIFICATION_SECRET_UNAVAILABLE',
  'FST_VERIFICATION_QUEUE_UNAVAILABLE'
))

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
function webhookResponses (
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

export const NoContentSchema = Type.Null({ description: 'Accepted. The response has no body' })

/** Adds the header `Idempotency-Replayed`, which marks a repeated response to a delivery that was handled before. */
export function once<T extends TSchema> (schema: T): T {
  const description = 'Present if the delivery was already handled and this is the stored response'
  return { ...schema, headers: { 'Idempotency-Replayed': { type: 'string', enum: ['true'], description } } }
}

/** The documentation of a header. Its pattern follows from the signature. */
interface HeaderDocs { readonly description: string, readonly example?: string }

/** The documentation of a route for signed deliveries, beside what its signature says. */
export interface RouteDocs {
  readonly tag: string
  readonly summary: string
  readonly description: string
  readonly signature: {
    readonly headers: readonly string[]
    /** Patterns of headers, where they are known. */
    readonly patterns?: Readonly<Record<string, string>>
  }
  /** Documentation of headers by name. Default: none. */
  readonly headers?: Readonly<Record<string, HeaderDocs>> | undefined
  /** Media types of the bodies. Default `['application/json']`. */
  readonly contentTypes?: readonly string[] | undefined
  readonly body: TSchema
  /** Responses to deliveries that are accepted, by status. */
  readonly accepted: Readonly<Record<number, TSchema>>
  /** A problem that validation may report, as an example. */
  readonly problem: string
  /** Errors beyond those of every route for signed deliveries. */
  readonly errors?: readonly WebhookErrorCode[] | undefined
  /** Examples of denials by name. */
  readonly denials?: Readonly<Record<string, unknown>> | undefined
  /** Response to a delivery that is not authentic, if it is not the common one. */
  readonly refusal?: { readonly statusCode: 400 | 401 | 403, readonly body?: object | undefined } | undefined
}

/** Makes the schema of a route for signed deliveries. */
export function webhookSchema (
  {
    tag, summary, description, signature, headers = {}, contentTypes = ['application/json'], body, accepted, problem,
    errors = [], denials, refusal
  }: RouteDocs
): RouteSchema {
  const patternOf = new Map(Object.entries(signature.patterns ?? {}))
  const documented = new Set(Object.keys(headers).map((name) => name.toLowerCase()))
  const docs: [string, HeaderDocs | undefined][] = [
    ...signature.headers.filter((name) => !documented.has(name)).map((name): [string, undefined] => [name, undefined]),
    ...Object.entries(headers)
  ]
  const messages = mergeMessages(
    WebhookErrors, { 400: { FST_VERIFICATION_INVALID_PAYLOAD: problem } }, messagesOf(catalogue, ...errors))
  return {
    tags: [tag],
    summary,
    description,
    consumes: [...contentTypes],
    headers: Type.Object(Object.fromEntries(docs.map(([name, about]) => {
      const pattern = patternOf.get(name.toLowerCase())
      return [name, Type.String({
        ...(pattern === undefined ? { minLength: 1 } : { pattern }),
        ...(about !== undefined && { description: about.description }),
        ...(about?.example !== undefined && { examples: [about.example] })
      })]
    }))),
    body,
    response: {
      ...Object.fromEntries(Object.entries(accepted).map(([status, schema]) => [status, once(schema)])),
      ...withRefusal(webhookResponses(messages, denials), refusal)
    }
  }
}

/** Replaces the 403 among the responses with this refusal. */
function withRefusal (responses: Record<string, TSchema>, refusal: RouteDocs['refusal']): Record<string, TSchema> {
  if (refusal === undefined) return responses
  const { 403: forbidden, ...others } = responses
  const { statusCode, body } = refusal
  const answer = body === undefined ? ErrorSchema : Type.Object({}, { examples: [body] })
  const other = others[statusCode]
  const description = [other?.['description'], forbidden!['description']].filter(Boolean).join('. ')
  return { ...others, [statusCode]: { ...(other === undefined ? answer : Type.Union([other, answer])), description } }
}
