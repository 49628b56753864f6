import { Type, type Static } from '@sinclair/typebox'
import { optional } from './common.js'

const notification = {
  event_id: optional(Type.String({ description: 'The name of the event, not its id' })),
  idempotency_key: optional(Type.String({ description: 'Unique to the notification; empty counts as absent' }))
}

/** Known from one public sample only, so it refuses as little as it can: pass a stricter one of your own. */
export const SessionNotificationSchema = Type.Object({
  ...notification,
  session: optional(Type.Object({
    id: optional(Type.String({ description: 'The identity validation session' })),
    status: optional(Type.String({ description: 'VERIFIED, IN_PROGRESS, ...' }))
  }))
}, { description: 'An identity validation session is being processed or completed' })
export type SessionNotification = Static<typeof SessionNotificationSchema> & Record<string, unknown>

/** The provider publishes no body for these. */
export const RequiredFilesNotificationSchema = Type.Object({ ...notification }, {
  description: 'Files are required'
})
export type RequiredFilesNotification = Static<typeof RequiredFilesNotificationSchema> & Record<string, unknown>
