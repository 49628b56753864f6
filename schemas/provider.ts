import { Type, type TSchema } from '@sinclair/typebox'
import {
  ErrorSchema, IdReused, invalidPayload, InvalidReply, NoContentSchema, once, WebhookErrors, webhookResponses,
  type RouteSchema
} from './common.js'

/** The documented parts of a user-defined provider. */
interface About {
  readonly name: string
  readonly summary: string
  readonly signature: {
    readonly headers: readonly string[]
    readonly algorithm: string
    /** Patterns of headers, where they are known. */
    readonly patterns?: Readonly<Record<string, string>> | undefined
  }
  readonly body: TSchema
  readonly reply?: TSchema | undefined
  readonly contentTypes: readonly string[]
  readonly refusal?: { readonly statusCode: 400 | 401 | 403, readonly body?: object | undefined } | undefined
}

const errors = {
  ...WebhookErrors,
  400: { ...WebhookErrors[400], ...invalidPayload('/id: Expected required property') },
  422: IdReused,
  500: { ...WebhookErrors[500], ...InvalidReply }
}

/** Creates the schema of the route for API documentation. */
export function providerRouteSchema (
  { name, summary, signature: { headers, algorithm, patterns = {} }, body, reply, contentTypes, refusal }: About
): RouteSchema {
  const success = reply === undefined
    ? { 204: once(NoContentSchema) }
    : { 200: once({ description: 'Accepted', ...reply }) }
  return {
    tags: [name],
    summary,
    description: `The bytes of the body must be signed with HMAC-${algorithm.toUpperCase()}, with the signature in ` +
      `${headers.map((header) => `\`${header}\``).join(', ')}. The signature is verified before the ` +
      'body is parsed. Retries of the same delivery are handled only once.',
    consumes: [...contentTypes],
    headers: Type.Object(Object.fromEntries(headers.map((header) => [
      header, Type.String(header in patterns ? { pattern: patterns[header]! } : { minLength: 1 })
    ]))),
    body,
    response: {
      ...success,
      ...withRefusal(webhookResponses(errors), refusal)
    }
  }
}

/** Replaces the 403 among the responses with this refusal. */
function withRefusal (responses: Record<string, TSchema>, refusal: About['refusal']): Record<string, TSchema> {
  if (refusal === undefined) return responses
  const { 403: forbidden, ...others } = responses
  const { statusCode, body } = refusal
  const answer = body === undefined ? ErrorSchema : Type.Object({}, { examples: [body] })
  const other = others[statusCode]
  const description = [other?.['description'], forbidden!['description']].filter(Boolean).join('. ')
  return { ...others, [statusCode]: { ...(other === undefined ? answer : Type.Union([other, answer])), description } }
}
