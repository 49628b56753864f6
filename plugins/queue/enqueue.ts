import type { FastifyRequest } from 'fastify'
import type { JobsOptions } from 'bullmq'
import { hash } from 'node:crypto'
import { contextOf } from '../lib/context.js'
import { deliveryId, namespaceOf } from '../lib/idempotency/delivery-id.js'
import { callback, checkOptions, milliseconds } from '../lib/rules.js'
import { NotSerializable, QueueUnavailable } from '../lib/queue-errors.js'
import { toPromise } from '../lib/thenable.js'
import { createTimeLimit, TimedOut } from '../lib/time-limit.js'
import {
  isQueue, listOf, oneOrMore, VERSION, type DeliveryQueue, type KnownDelivery, type QueuedDelivery
} from './queued.js'

export interface EnqueueOptions<Delivery = KnownDelivery> {
  /** How long the queue may take to have the job, in milliseconds; less than `handlerTimeout`. Default 1,000. */
  timeout?: number | undefined
  /**
   * For a list of queues: which deliveries keep their order, since they have the same text. Default: those about the
   * same member, session or player.
   */
  orderBy?: ((delivery: Delivery) => string | undefined) | undefined
}

/** What the plugins take as a handler. */
export type Enqueue = (event: unknown, request: FastifyRequest) => Promise<void>

/** What a queue's own `defaultJobOptions` say otherwise goes. */
const DEFAULTS: JobsOptions = {
  attempts: 12,
  backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
  removeOnComplete: { age: 24 * 3600 },
  removeOnFail: { age: 14 * 24 * 3600 }
}
// How long copies are one job of what may look the same when it happens again.
const COPIES_TTL = 60_000
// Jobs that Redis may yet take although nobody waits for them: the client keeps each while it hopes to send it.
const MAX_ABANDONED = 1000

/**
 * A handler that has deliveries worked on later: each becomes one job, which is in the queue before the 2xx. A queue
 * that cannot take it within `timeout` is a 503 with `FST_VERIFICATION_QUEUE_UNAVAILABLE`, and the sender comes again.
 * Given a list of queues, deliveries with the same `orderBy` go to the same one, for workers that keep the order. An
 * event that is nested too deep for JSON to be written is a 400 with `FST_VERIFICATION_NOT_SERIALIZABLE`.
 *
 * @throws `FST_VERIFICATION_INVALID_OPTION` for what is no queue, or an option it cannot work with.
 * @example app.register(altdentifierPlugin, { secret, handleEvent: enqueue(queue) })
 */
export function enqueue<Delivery = KnownDelivery> (
  queue: DeliveryQueue | readonly DeliveryQueue[], options: EnqueueOptions<Delivery> = {}
): Enqueue {
  checkOptions('enqueue', { ...options, queue }, {
    queue: oneOrMore(isQueue, 'must be a Queue of BullMQ, or a list of different ones'),
    timeout: milliseconds,
    orderBy: callback
  })
  const queues = [...listOf(queue)]
  const { timeout = 1000, orderBy = subjectOf } = options
  const inTime = createTimeLimit(timeout)
  let abandoned = 0

  async function add (name: string, data: QueuedDelivery, jobOptions: JobsOptions): Promise<void> {
    if (abandoned >= MAX_ABANDONED) throw new TimedOut(timeout)
    const target = queues.length === 1 ? queues[0]! : queues[slotOf(data)]!
    const added = toPromise(target.add(name, data, { ...DEFAULTS, ...target.defaultJobOptions, ...jobOptions }))
    try {
      await inTime(added)
    } catch (error) {
      if (error instanceof TimedOut) {
        abandoned++
        const settled = (): void => { abandoned-- }
        added.then(settled, settled)
      }
      throw error
    }
  }

  function slotOf (data: QueuedDelivery): number {
    const { provider, id } = data
    const text = JSON.stringify([provider, orderBy(data as Delivery & KnownDelivery) ?? id])
    return hash('sha256', text, 'buffer').readUInt32BE() % queues.length
  }

  return async (event, request) => {
    const { name, data, jobOptions } = jobOf(event, request)
    try {
      await add(name, data, jobOptions)
    } catch (error) {
      assertSerializable(data)
      throw new QueueUnavailable(error)
    }
  }
}

/** JSON is parsed at any depth, and written only as deep as calls can go. Asked once a queue has failed. */
function assertSerializable (data: QueuedDelivery): void {
  try {
    JSON.stringify(data)
  } catch (error) {
    throw new NotSerializable(error)
  }
}

function jobOf (event: unknown, request: FastifyRequest) {
  const { route, key, signers, keyId, secretIndex } = contextOf(request) ?? {}
  const params = { ...request.params as Record<string, string> }
  if (route === undefined || signers === undefined) throw new TypeError('enqueue: this is no delivery with a signature')
  const { provider, path, kindOf, exactly } = route
  const { tenant, mac } = signers[0]!
  const copies = key ?? deliveryId(namespaceOf(provider, path, tenant), { id: ['mac', mac.toString('hex')] }).key
  const now = new Date()
  // Nothing tells a copy from the same thing happening again, but that copies come soon.
  const mayRecur = key === undefined || exactly
  const id = mayRecur ? `${copies}-${now.getTime().toString(36)}` : copies
  const kind = kindOf(event)
  const data: QueuedDelivery = {
    version: VERSION,
    provider,
    kind,
    path,
    id,
    ...(keyId !== undefined && { keyId }),
    ...(Object.keys(params).length > 0 && { params }),
    ...(secretIndex !== undefined && { secretIndex }),
    receivedAt: now.toISOString(),
    event
  }
  const jobOptions: JobsOptions = { jobId: id, ...(mayRecur && { deduplication: { id: copies, ttl: COPIES_TTL } }) }
  return { name: `${provider} ${kind}`, data, jobOptions }
}

/** Whom it is about, where that is known. */
function subjectOf (delivery: KnownDelivery): string | undefined {
  switch (delivery.provider) {
    case 'altdentifier': return delivery.kind === 'test' ? undefined : delivery.event.member.id
    case 'aghanim': return textIn(delivery.event.event_data['player_id'])
    case 'identity-validation': return textIn((delivery.event as { session?: { id?: unknown } }).session?.id)
  }
}

function textIn (value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
