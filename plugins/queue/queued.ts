import type { JobsOptions } from 'bullmq'
import type { AghanimEvent } from '../../schemas/aghanim.js'
import type { ALTDENTIFIER_KINDS, AltDentifierEvent } from '../../schemas/altdentifier.js'
import type { RequiredFilesNotification, SessionNotification } from '../../schemas/identity-validation.js'
import { type Rule } from '../lib/rules.js'

/** Of the payload. A worker refuses any other; what is added to a payload does not change it. */
export const VERSION = 1

/** A delivery on its way through a queue: the payload of its job. */
export interface QueuedDelivery<Provider extends string = string, Kind extends string = string, Event = unknown> {
  readonly version: typeof VERSION
  /** The provider's name, as its plugin has it. */
  readonly provider: Provider
  /** What it is: `passed`, `item.add`, `sessions`, ...; `event` of a provider of your own. */
  readonly kind: Kind
  /** Of the route that took it, with its prefix. */
  readonly path: string
  /** The id of the job. The same each time the job is run: what makes the work safe to repeat. */
  readonly id: string
  /** The api-key it came with. */
  readonly keyId?: string
  /** The parameters of the route's path, where it has some: with a secret for each path, they say whose it was. */
  readonly params?: Readonly<Record<string, string>>
  /** The index of the secret that signed it, counted from 0. */
  readonly secretIndex?: number
  /** When it was taken, in ISO 8601. */
  readonly receivedAt: string
  /** What the handler of its plugin is given: verified, and checked against its schema. */
  readonly event: Event
}

/** AltDentifier's: `passed` has the event of `OP` 1, and so on. */
export type QueuedAltDentifier = {
  [OP in AltDentifierEvent['OP']]:
  QueuedDelivery<'altdentifier', typeof ALTDENTIFIER_KINDS[OP], Extract<AltDentifierEvent, { OP: OP }>>
}[AltDentifierEvent['OP']]

/** Aghanim's; its kind is the type of the event. `player.verify` wants its answer at once: it is none of them. */
export type QueuedAghanim = QueuedDelivery<'aghanim', string, AghanimEvent>

/** Identity validation's, of its two routes. */
export type QueuedIdentityValidation =
  QueuedDelivery<'identity-validation', 'sessions', SessionNotification> |
  QueuedDelivery<'identity-validation', 'requiredFiles', RequiredFilesNotification>

/** Those of the providers that are built in, told apart by `provider` and `kind`. */
export type KnownDelivery = QueuedAltDentifier | QueuedAghanim | QueuedIdentityValidation

/** What is used of a `Queue` of BullMQ to add to it. */
export interface DeliveryQueue {
  readonly qualifiedName: string
  readonly defaultJobOptions?: JobsOptions
  add (name: string, data: any, options: JobsOptions): Promise<unknown>
  waitUntilReady (): Promise<unknown>
}

/** Tells a `Queue` from BullMQ's other classes, from Bull's, and from whatever else has an `add`. */
export function isQueue (value: Partial<DeliveryQueue> | null | undefined): boolean {
  return typeof value?.qualifiedName === 'string' &&
    typeof value.add === 'function' && typeof value.waitUntilReady === 'function'
}

export const listOf = <T>(value: T | readonly T[]): readonly T[] => Array.isArray(value) ? value : [value as T]

/** One of something, or a list of different ones. */
export const oneOrMore = (accepts: (value: any) => boolean, expects: string): Rule => ({
  accepts (value) {
    const all = listOf(value)
    return all.length > 0 && new Set(all).size === all.length && all.every((one) => accepts(one))
  },
  expects,
  required: true
})
