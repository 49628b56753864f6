import type { FastifyRequest } from 'fastify'
import type { JobsOptions } from 'bullmq'
import { hash } from 'node:crypto'
import { contextOf } from '../lib/context.js'
import { deliveryId, namespaceOf } from '../lib/idempotency/delivery-id.js'
import { callback, checkOptions, milliseconds } from '../lib/rules.js'
import { NotSerializable, QueueUnavailable } from './errors.js'
import { createTimeLimit, TimedOut, toPromise } from '../lib/timers.js'
import {
  isQueue, listOf, oneOrMore, VERSION, type DeliveryQueue, type KnownDelivery, type QueuedDelivery
} from './queued.js'

export interface EnqueueOptions<Delivery = KnownDelivery> {
  /** Maximum time in milliseconds to add the job to the queue; less than `handlerTimeout`. Default 1,000. */
  timeout?: number | undefined
  /**
   * Returns the ordering key of a delivery, for a list of queues. Deliveries with an equal key keep their order.
   * Default: the id of the member, session or player.
   */
  orderBy?: ((delivery: Delivery) => string | undefined) | undefined
}

/** A handler for the option of a plugin, such as `handleEvent`. */
export type Enqueue = (event: unknown, request: FastifyRequest) => Promise<void>

/** Default options of a job. The queue's own `defaultJobOptions` override them. */
const DEFAULTS: JobsOptions = {
  attempts: 12,
  backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
  removeOnComplete: { age: 24 * 3600 },
  removeOnFail: { age: 14 * 24 * 3600 }
}
// Period in milliseconds during which copies become one job, for events that may look identical when they recur.
const COPIES_TTL = 60_000
// Maximum number of jobs that timed out and that Redis may still accept. The client keeps each of them in memory until
// it is sent or fails.
const MAX_ABANDONED = 1000

/**
 * Creates a handler that queues deliveries for later processing. Each delivery becomes one job, which is in the queue
 * before the 2xx is sent. If the queue does not accept the job within `timeout`, the response is a 503 with
 * `FST_VERIFICATION_QUEUE_UNAVAILABLE`, and the sender retries. With a list of queues, deliveries with an equal
 * `orderBy` key go to the same queue, for workers that keep the order. An event that is nested too deeply to be written
 * as JSON gets a 400 with `FST_VERIFICATION_NOT_SERIALIZABLE`.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If a queue or an option is invalid.
 * @example app.register(altdentifierPlugin, { secret, handleEvent: enqueue(queue) })
 */
export function enqueue<Delivery = KnownDelivery> (
  queue: DeliveryQueue | readonly DeliveryQueue[], options: EnqueueOptions<Delivery> = {}
): Enqueue {
  checkOptions('enqueue', { ...options, queue }, {
    queue: oneOrMore(isQueue, 'must be a BullMQ Queue or an array of unique ones'),
    timeout: milliseconds,
    orderBy: callback
  })
  const queues = [...listOf(queue)]
  const { timeout = 1000, orderBy } = options
  const inTime = createTimeLimit(timeout)
  let abandoned = 0

  async function add ({ name, data, jobOptions, subject }: Job): Promise<void> {
    if (abandoned >= MAX_ABANDONED) throw new TimedOut(timeout)
    const target = queues.length === 1 ? queues[0]! : queues[slotOf(data, subject)]!
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

  function slotOf (data: QueuedDelivery, subject: string | undefined): number {
    const { provider, id } = data
    const key = orderBy === undefined ? subject : orderBy(data as Delivery & KnownDelivery)
    const text = JSON.stringify([provider, key ?? id])
    return hash('sha256', text, 'buffer').readUInt32BE() % queues.length
  }

  return async (event, request) => {
    const job = jobOf(event, request)
    try {
      await add(job)
    } catch (error) {
      assertSerializable(job.data)
      throw new QueueUnavailable(error)
    }
  }
}

/**
 * Throws if the delivery cannot be written as JSON. JSON can be parsed at any depth, but written only as deep as the
 * call stack allows. Checked only after the queue has failed.
 */
function assertSerializable (data: QueuedDelivery): void {
  try {
    JSON.stringify(data)
  } catch (error) {
    throw new NotSerializable(error)
  }
}

interface Job {
  readonly name: string
  readonly data: QueuedDelivery
  readonly jobOptions: JobsOptions
  /** Id of the person that the delivery is about, if it is known. */
  readonly subject: string | undefined
}

function jobOf (event: unknown, request: FastifyRequest): Job {
  const { route, key, signers, keyId, secretIndex, event: verified } = contextOf(request) ?? {}
  const params = { ...request.params as Record<string, string> }
  if (route === undefined || signers === undefined) throw new TypeError('enqueue: the request is not a signed delivery')
  const { provider, path, kindOf, subjectOf, exactly } = route
  const { tenant, mac } = signers[0]!
  const copies = key ?? deliveryId(namespaceOf(provider, path, tenant), { id: ['mac', mac.toString('hex')] }).key
  const now = new Date()
  // A copy looks exactly like a recurrence of the event, except that copies arrive soon.
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
  return { name: `${provider} ${kind}`, data, jobOptions, subject: subjectOf(verified) }
}
