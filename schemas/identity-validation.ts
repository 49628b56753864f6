import { Type, type Static, type TSchema } from '@sinclair/typebox'
import {
  IdReused, invalidPayload, KEY_PATTERN, NoContentSchema, once, optional, WebhookErrors, webhookResponses,
  withExamples, type RouteSchema
} from './common.js'

const notification = {
  event_id: optional(Type.String({ description: 'The name of the event, not its id' })),
  idempotency_key: optional(Type.String({ description: 'Unique to the notification; empty counts as absent' }))
}

/**
 * Schema of a session notification. Its format is known from one public sample only, so the schema rejects as little as
 * possible. Pass your own, stricter schema.
 */
export const SessionNotificationSchema = Type.Object({
  ...notification,
  session: optional(Type.Object({
    id: optional(Type.String({ description: 'The identity validation session' })),
    status: optional(Type.String({ description: 'VERIFIED, IN_PROGRESS, ...' }))
  }))
}, { description: 'An identity validation session is being processed or completed' })
export type SessionNotification = Static<typeof SessionNotificationSchema> & Record<string, unknown>

/** Schema of a required-files notification. The provider publishes no sample of its body. */
export const RequiredFilesNotificationSchema = Type.Object({ ...notification }, {
  description: 'Files are required'
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
    summary: 'A session is being processed or completed',
    signature: 'hmac-sha256 a9tl88BVO0rqHd7cocppevBtuya1b/lqUkQ0ic0Sr4M=',
    endpoint: '/webhooks/identity-validation/sessions'
  },
  requiredFiles: {
    schema: RequiredFilesNotificationSchema,
    summary: 'Files are required',
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
    description: 'Before the body is parsed, `X-Signature` must be the HMAC-SHA256 of timestamp, endpoint and the ' +
      "body's bytes, with nothing between them, in base64, under the secret of `X-Api-Key` decoded from base64; the " +
      'endpoint must be the one this server was configured with, and the timestamp fresh. The example is that of the ' +
      'first body, written without spaces, under `ZGVtby1pZGVudGl0eS1zZWNyZXQtMzItYnl0ZXMtISE=`.\n\n' +
      'A notification is handled once, however often it comes.',
    consumes: ['application/json'],
    headers: Type.Object({
      'X-Api-Key': Type.String({
        pattern: KEY_PATTERN, maxLength: 256, description: 'Which secret signed', examples: ['demo-api-key']
      }),
      'X-Signature': Type.String({
        pattern: '^hmac-sha256 [A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$',
        description: 'HMAC-SHA256, in base64, of timestamp, endpoint and body',
        examples: [signature]
      }),
      'X-Timestamp': Type.String({
        pattern: '^[1-9][0-9]{9}$',
        description: 'When it was signed, in Unix seconds; out of date it is refused',
        examples: ['1725548450']
      }),
      'X-Endpoint': Type.String({
        pattern: '^/', description: 'Path and query of the public address this was sent to', examples: [endpoint]
      })
    }),
    body: schema === own ? withExamples(schema, IdentityValidationExamples[kind]) : schema,
    response: { ...responses }
  }
}
