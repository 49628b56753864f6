import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import {
  UnrecoverableError, Worker, type ConnectionOptions, type Job, type Queue, type WorkerOptions as BullOptions
} from 'bullmq'
import { describeError } from '../lib/errors.js'
import { safeLog } from '../lib/telemetry.js'
import { callback, checkOptions, milliseconds, required, schema, nonEmptyString, integer, type Rule } from '../lib/rules.js'
import { createTimeLimit } from '../lib/timers.js'
import { inOrder } from './in-order.js'
import { listOf, oneOrMore, VERSION, type KnownDelivery } from './queued.js'

export interface WorkerOptions {
  /** BullMQ option: connection to Redis. Required; there is no default. */
  connection: ConnectionOptions
  /** BullMQ option: prefix of its keys. Must equal the prefix of the queue. Default `bull`. */
  prefix?: string | undefined
  /** Maximum number of concurrent jobs in this process. Default 10. For a list of queues it is one job per queue. */
  concurrency?: number | undefined
  /** Time in milliseconds after which other workers take over the jobs of a worker that died. Default 30,000. */
  lockDuration?: number | undefined
  /** Maximum time in milliseconds that `close()` waits for running jobs. Default 25,000. */
  drainTimeout?: number | undefined
  /** BullMQ option: traces and metrics of the jobs, for example with `bullmq-otel`. */
  telemetry?: BullOptions['telemetry']
  /** BullMQ option: number of minutes for which `worker.getMetrics()` and dashboards have counts. */
  metrics?: BullOptions['metrics']
  /** Fastify instance. The worker writes to its log, and its `close()` closes the worker. */
  app?: FastifyInstance | undefined
}

export interface DeliveryWorker {
  /** The BullMQ workers, one for each queue, for their events and metrics. */
  readonly workers: readonly Worker[]
  /** Stops taking jobs, waits up to `drainTimeout` for running jobs, and closes the connections. */
  close (): Promise<void>
}

/** Processes a delivery. If it throws, the job is retried, except for an `UnrecoverableError` of BullMQ. */
export type HandleDelivery<Delivery> = (delivery: Delivery, job: Job<Delivery>) => unknown

// Maximum number of crashes that a job survives. A job that kills its worker, for example by its memory use, must
// eventually fail; a job that merely ran at the same time must not.
const MAX_CRASHES = 20
// Maximum time in milliseconds to wait for a connection to be established. Closing it before that causes an unhandled
// rejection in BullMQ.
const CONNECTING = 1000

/** A started worker, with its queue if it keeps the order. */
interface Started { readonly worker: Worker, readonly queue?: Queue }

const PLACES = ['url', 'host', 'port', 'path', 'sentinels']
// Rejects an undefined or empty URL, for example from a missing environment variable, because BullMQ would then use the
// Redis of this machine.
const CONNECTION: Rule = {
  accepts (value) {
    if (typeof value !== 'object' || value === null) return false
    if (Object.getPrototypeOf(value) !== Object.prototype) return true // a client
    const places = Object.entries(value).filter(([name]) => PLACES.includes(name))
    return places.length > 0 && places.every(([, place]) => place !== undefined && place !== '')
  },
  expects: 'must be connection options for Redis'
}
const FASTIFY: Rule = {
  accepts: (value) => typeof Object(value).addHook === 'function',
  expects: 'must be a Fastify instance'
}

/**
 * Starts a worker for the deliveries that `enqueue` puts into a queue. With the list of queues that `enqueue` uses,
 * each queue is processed in order, one job at a time, regardless of the number of workers.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If an option is invalid.
 * @example createWorker('verification', async (delivery) => { await save(delivery) }, { connection, app })
 */
export function createWorker<Delivery = KnownDelivery> (
  queue: string | readonly string[], handle: HandleDelivery<Delivery>, options: WorkerOptions
): DeliveryWorker {
  checkOptions('createWorker', { ...options, queue, handle }, {
    queue: oneOrMore((name) => typeof name === 'string' && /^[^:]+$/.test(name),
      'must be a queue name without ":", or an array of unique ones'),
    handle: required(callback),
    connection: required(CONNECTION),
    prefix: nonEmptyString,
    concurrency: integer(10_000),
    lockDuration: milliseconds,
    drainTimeout: milliseconds,
    telemetry: schema,
    metrics: schema,
    app: FASTIFY
  })
  const { connection, prefix = 'bull', concurrency = 10, lockDuration = 30_000, drainTimeout = 25_000, app } = options
  const { telemetry, metrics } = options
  const ordered = Array.isArray(queue)
  const common = {
    connection,
    prefix,
    lockDuration,
    stalledInterval: Math.max(1, lockDuration >> 1), // the first check marks a job, the second finds it stalled
    maxStalledCount: MAX_CRASHES,
    ...(telemetry !== undefined && { telemetry }),
    ...(metrics !== undefined && { metrics })
  }
  const run = async (job: Job): Promise<void> => { await handle(readDelivery(job.data) as Delivery, job) }
  const started = listOf(queue).map((name): Started => {
    const one = ordered
      ? inOrder(name, run, common, app?.log)
      : { worker: new Worker(name, run, { ...common, concurrency }) }
    report(one.worker, app?.log)
    return one
  })
  const workers = started.map(({ worker }) => worker)
  const inTime = createTimeLimit(drainTimeout)
  const soon = createTimeLimit(CONNECTING)
  let closing: Promise<unknown> | undefined

  async function drain ({ worker, queue }: Started): Promise<void> {
    let over = false
    await Promise.allSettled([soon(worker.waitUntilReady())]) // Redis may be unreachable
    try {
      await inTime(worker.pause())
    } catch {
      over = true // running jobs are taken over by other workers when their locks expire; or Redis is unreachable
      if (app) safeLog(app.log, 'warn', { queue: worker.name }, 'worker was closed before its jobs ended')
    }
    await worker.close(over)
    if (queue !== undefined) await Promise.allSettled([soon(queue.close())])
  }

  async function close (): Promise<void> {
    closing ??= Promise.all(started.map(drain))
    await closing
  }

  app?.addHook('onClose', close)
  return { workers, close }
}

/** Returns the delivery of a payload. A payload of another version cannot be read, so its job is not retried. */
function readDelivery (data: unknown): object {
  if (Object(data).version === VERSION) return data as object
  throw new UnrecoverableError(`not a delivery of version ${VERSION}`)
}

function report (worker: Worker, log: FastifyBaseLogger | undefined): void {
  worker.on('error', (error) => { // without a listener, BullMQ prints it
    if (log) safeLog(log, 'warn', { queue: worker.name, failure: describeError(error) }, 'worker error')
  })
  if (log === undefined) return
  worker.on('failed', (job, error) => {
    const { id, name, attemptsMade: attempt, finishedOn } = job ?? {}
    const dead = finishedOn !== undefined
    const about = { queue: worker.name, job: id, name, attempt, failure: describeError(error) }
    safeLog(log, dead ? 'error' : 'warn', about, dead ? 'job failed and became a dead letter' : 'job failed and will be retried')
  })
  worker.on('stalled', (job) => safeLog(log, 'warn', { queue: worker.name, job }, 'job stalled and will be retried'))
}
