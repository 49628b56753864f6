import { Type, type TSchema } from '@sinclair/typebox'
import {
  IdReused, invalidPayload, InvalidReply, NoContentSchema, once, WebhookErrors, webhookResponses, type RouteSchema
} from './common.js'

/** What is shown of a provider of the user's own. */
interface About {
  readonly name: string
  readonly summary: string
  readonly headers: readonly string[]
  readonly algorithm: string
  readonly body: TSchema
  readonly reply?: TSchema | undefined
}

const errors = {
  ...WebhookErrors,
  400: { ...WebhookErrors[400], ...invalidPayload('/id: Expected required property') },
  422: IdReused,
  500: { ...WebhookErrors[500], ...InvalidReply }
}

/** The route on API pages. */
export function providerRouteSchema ({ name, summary, headers, algorithm, body, reply }: About): RouteSchema {
  const success = reply === undefined ? { 204: once(NoContentSchema) } : { 200: once({ description: 'Taken', ...reply }) }
  return {
    tags: [name],
    summary,
    description: `Before the body is parsed, its bytes must be signed with HMAC-${algorithm.toUpperCase()}, as ` +
      `${headers.map((header) => `\`${header}\``).join(', ')} must say. A delivery is handled once, however often it comes.`,
    consumes: ['application/json'],
    headers: Type.Object(Object.fromEntries(headers.map((header) => [header, Type.String({ minLength: 1 })]))),
    body,
    response: {
      ...success,
      ...webhookResponses(errors)
    }
  }
}
