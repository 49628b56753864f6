import { Type, type Static, type TSchema } from '@sinclair/typebox'
import {
  IdReused, invalidPayload, KEY_PATTERN, NoContentSchema, once, optional, WebhookErrors, webhookResponses,
  withExamples, type RouteSchema
} from './common.js'

const notification = {
  event_id: optional(Type.String({ description: 'Name of the event, not its id' })),
  idempotency_key: optional(Type.String({ description: 'Unique id of the notification. Empty counts as absent' }))
}

/**
 * Schema of a session notification. Its format is known from one public sample only, so the schema rejects as little as
 * possible. Pass your own, stricter schema.
 */
export const SessionNotificationSchema = Type.Object({
  ...notification,
  session: optional(Type.Object({
    id: optional(Type.String({ description: 'Id of the identity validation session' })),
    status: optional(Type.String({ description: 'VERIFIED, IN_PROGRESS, ...' }))
  }))
}, { description: 'Status of an identity validation session' })
export type SessionNotification = Static<typeof SessionNotificationSchema> & Record<string, unknown>

/** Schema of a required-files notification. The provider publishes no sample of its body. */
export const RequiredFilesNotificationSchema = Type.Object({ ...notification }, {
  description: 'Request for files'
})
export type RequiredFilesNotification = Static<typeof RequiredFilesNotificationSchema> & Record<string, unknown>

/** Example deliveries to the two routes: the only public sample, and known fields of the others. */
export const IdentityValidationExamples = {
  sessions: {
    verified: {
      event_id: 'identity-session-status-changed',
      session: { id: 'iss-1', status: 'VERIFIED' },
      idempotency_key: 'key-1'
    },
    in_progress: {
      event_id: 'identity-session-status-changed',
      session: { id: 'iss-1', status: 'IN_PROGRESS' },
      idempotency_key: 'key-2'
    }
  },
  requiredFiles: { notification: { idempotency_key: 'key-3' } }
}

type Kind = keyof typeof IdentityValidationExamples

const ROUTES = {
  sessions: {
    schema: SessionNotificationSchema,
    summary: 'Receive the status of a session',
    signature: 'hmac-sha256 a9tl88BVO0rqHd7cocppevBtuya1b/lqUkQ0ic0Sr4M=',
    endpoint: '/webhooks/identity-validation/sessions'
  },
  requiredFiles: {
    schema: RequiredFilesNotificationSchema,
    summary: 'Receive a request for files',
    signature: 'hmac-sha256 qwWFWJtPkKyTYMec/TAzn+Dz6K/TwELTCl/B7XTQpcg=',
    endpoint: '/webhooks/identity-validation/required-files'
  }
}

const errors = {
  ...WebhookErrors,
  400: { ...WebhookErrors[400], ...invalidPayload('/event_id: Expected string') },
  422: IdReused
}
const responses = { 204: once(NoContentSchema), ...webhookResponses(errors) }

/** Creates the schema of one of the routes for API documentation. */
export function identityValidationRouteSchema (kind: Kind, schema: TSchema): RouteSchema {
  const { summary, signature, endpoint, schema: own } = ROUTES[kind]
  return {
    tags: ['Identity validation'],
    summary,
    description: '`X-Signature` must be the base64-encoded HMAC-SHA256 of the timestamp, the endpoint and the bytes ' +
      'of the body without separators, keyed with the base64-decoded secret of `X-Api-Key`. The endpoint must equal ' +
      'the configured one, and the timestamp must be within the tolerance. All of this is verified before the body ' +
      'is parsed. The example signature is for the first body as compact JSON, with the secret ' +
      '`ZGVtby1pZGVudGl0eS1zZWNyZXQtMzItYnl0ZXMtISE=`.\n\n' +
      'Retries of the same notification are handled only once.',
    consumes: ['application/json'],
    headers: Type.Object({
      'X-Api-Key': Type.String({
        pattern: KEY_PATTERN, maxLength: 256, description: 'Id of the secret', examples: ['demo-api-key']
      }),
      'X-Signature': Type.String({
        pattern: '^hmac-sha256 [A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$',
        description: 'Base64-encoded HMAC-SHA256 of the timestamp, the endpoint and the body',
        examples: [signature]
      }),
      'X-Timestamp': Type.String({
        pattern: '^[1-9][0-9]{9}$',
        description: 'Time of signing in Unix seconds. Rejected if outside the tolerance',
        examples: ['1725548450']
      }),
      'X-Endpoint': Type.String({
        pattern: '^/', description: 'Path and query of the public URL of this route', examples: [endpoint]
      })
    }),
    body: schema === own ? withExamples(schema, IdentityValidationExamples[kind]) : schema,
    response: { ...responses }
  }
}
