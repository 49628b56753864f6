import type { JobsOptions } from 'bullmq'
import type { AghanimEvent } from '../../schemas/aghanim.js'
import type { ALTDENTIFIER_KINDS, AltDentifierEvent } from '../../schemas/altdentifier.js'
import type { RequiredFilesNotification, SessionNotification } from '../../schemas/identity-validation.js'
import { type Rule } from '../lib/rules.js'

/** Version of the payload. Workers refuse any other version. Additions to the payload do not change it. */
export const VERSION = 1

/** A queued delivery: the payload of a job. */
export interface QueuedDelivery<Provider extends string = string, Kind extends string = string, Event = unknown> {
  readonly version: typeof VERSION
  /** Name of the provider, as in its plugin. */
  readonly provider: Provider
  /** Kind of event: `passed`, `item.add`, `sessions`, ...; `event` for your own providers. */
  readonly kind: Kind
  /** Path of the route that received it, including the prefix. */
  readonly path: string
  /** Id of the job. It stays the same on each run of the job, so it can make the work idempotent. */
  readonly id: string
  /** The api-key that it was sent with. */
  readonly keyId?: string
  /** Parameters of the route's path, if any. If each path has its own secret, they identify the owner. */
  readonly params?: Readonly<Record<string, string>>
  /** Index of the secret that signed it, counted from 0. */
  readonly secretIndex?: number
  /** Time of receipt in ISO 8601. */
  readonly receivedAt: string
  /** The event as passed to the plugin's handler: verified, and checked against its schema. */
  readonly event: Event
}

/** A queued delivery from AltDentifier. `kind` corresponds to the event's `OP`: `passed` is `OP` 1, and so on. */
export type QueuedAltDentifier = {
  [OP in AltDentifierEvent['OP']]:
  QueuedDelivery<'altdentifier', typeof ALTDENTIFIER_KINDS[OP], Extract<AltDentifierEvent, { OP: OP }>>
}[AltDentifierEvent['OP']]

/** A queued delivery from Aghanim. `kind` is the event type, never `player.verify`: that needs a response at once. */
export type QueuedAghanim = QueuedDelivery<'aghanim', string, AghanimEvent>

/** A queued delivery from one of the two routes of identity validation. */
export type QueuedIdentityValidation =
  QueuedDelivery<'identity-validation', 'sessions', SessionNotification> |
  QueuedDelivery<'identity-validation', 'requiredFiles', RequiredFilesNotification>

/** A queued delivery from a built-in provider, discriminated by `provider` and `kind`. */
export type KnownDelivery = QueuedAltDentifier | QueuedAghanim | QueuedIdentityValidation

/** The members of a BullMQ `Queue` that are needed to add jobs. */
export interface DeliveryQueue {
  readonly qualifiedName: string
  readonly defaultJobOptions?: JobsOptions
  add (name: string, data: any, options: JobsOptions): Promise<unknown>
  waitUntilReady (): Promise<unknown>
}

/** Distinguishes a `Queue` from BullMQ's other classes, from Bull's queues, and from any other object with `add`. */
export function isQueue (value: Partial<DeliveryQueue> | null | undefined): boolean {
  return typeof value?.qualifiedName === 'string' &&
    typeof value.add === 'function' && typeof value.waitUntilReady === 'function'
}

export const listOf = <T>(value: T | readonly T[]): readonly T[] => Array.isArray(value) ? value : [value as T]

/** Creates a rule for one value, or a non-empty list of different values. */
export const oneOrMore = (accepts: (value: any) => boolean, expects: string): Rule => ({
  accepts (value) {
    const all = listOf(value)
    return all.length > 0 && new Set(all).size === all.length && all.every((one) => accepts(one))
  },
  expects,
  required: true
})
