import { Type, type Static } from '@sinclair/typebox'
import { optional } from '../plugins/lib/openapi.js'

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
