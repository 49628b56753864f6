import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import {
  UnrecoverableError, Worker, type ConnectionOptions, type Job, type Queue, type WorkerOptions as BullOptions
} from 'bullmq'
import { describeError } from '../lib/errors.js'
import { safeLog } from '../lib/log.js'
import { callback, checkOptions, milliseconds, required, schema, nonEmptyString, integer, type Rule } from '../lib/rules.js'
import { createTimeLimit } from '../lib/time-limit.js'
import { inOrder } from './in-order.js'
import { listOf, oneOrMore, VERSION, type KnownDelivery } from './queued.js'

export interface WorkerOptions {
  /** BullMQ's own: where Redis is. It has to be said: there is no default. */
  connection: ConnectionOptions
  /** BullMQ's own: what its keys begin with, as in the queue. Default `bull`. */
  prefix?: string | undefined
  /** How many jobs run at a time in this process. Of a list of queues it is one of each. Default 10. */
  concurrency?: number | undefined
  /** After how long the jobs of a worker that has died are taken by others, in milliseconds. Default 30,000. */
  lockDuration?: number | undefined
  /** How long `close()` waits for jobs that run, in milliseconds. Default 25,000. */
  drainTimeout?: number | undefined
  /** BullMQ's own: traces and metrics of the jobs, as by `bullmq-otel`. */
  telemetry?: BullOptions['telemetry']
  /** BullMQ's own: how many minutes of counts `worker.getMetrics()` and dashboards have. */
  metrics?: BullOptions['metrics']
  /** Its log is written to, and its `close()` closes the worker. */
  app?: FastifyInstance | undefined
}

export interface DeliveryWorker {
  /** BullMQ's own, one for each queue: for their events and metrics. */
  readonly workers: readonly Worker[]
  /** Takes no more jobs, waits for those that run, up to `drainTimeout`, and closes the connections. */
  close (): Promise<void>
}

/** Does the work. What it throws is tried again; an `UnrecoverableError` of BullMQ is not. */
export type HandleDelivery<Delivery> = (delivery: Delivery, job: Job<Delivery>) => unknown

// A job that has its worker killed, as by the memory it takes, must end some time; an innocent one must not.
const MAX_CRASHES = 20
// For a connection that is being made, in milliseconds: if it is closed meanwhile, BullMQ rejects what nobody handles.
const CONNECTING = 1000

/** A worker, and the queue that one in order has besides. */
interface Started { readonly worker: Worker, readonly queue?: Queue }

const PLACES = ['url', 'host', 'port', 'path', 'sentinels']
// BullMQ would take the Redis of this machine for a URL that an environment lacks.
const CONNECTION: Rule = {
  accepts (value) {
    if (typeof value !== 'object' || value === null) return false
    if (Object.getPrototypeOf(value) !== Object.prototype) return true // a client
    const places = Object.entries(value).filter(([name]) => PLACES.includes(name))
    return places.length > 0 && places.every(([, place]) => place !== undefined && place !== '')
  },
  expects: 'must say where Redis is'
}
const FASTIFY: Rule = {
  accepts: (value) => typeof Object(value).addHook === 'function',
  expects: 'must be an instance of Fastify'
}

/**
 * Works on what `enqueue` has put into a queue. Given a list of queues, as `enqueue` was, each is worked on in its
 * order, one job at a time, however many workers there are.
 *
 * @throws `FST_VERIFICATION_INVALID_OPTION` for an option it cannot work with.
 * @example createWorker('verification', async (delivery) => { await save(delivery) }, { connection, app })
 */
export function createWorker<Delivery = KnownDelivery> (
  queue: string | readonly string[], handle: HandleDelivery<Delivery>, options: WorkerOptions
): DeliveryWorker {
  checkOptions('createWorker', { ...options, queue, handle }, {
    queue: oneOrMore((name) => typeof name === 'string' && /^[^:]+$/.test(name),
      'must be the name of a queue, without ":", or a list of different ones'),
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
    stalledInterval: Math.max(1, lockDuration >> 1), // found by the second look, since the first one marks
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
    await Promise.allSettled([soon(worker.waitUntilReady())]) // or there is no Redis
    try {
      await inTime(worker.pause())
    } catch {
      over = true // with jobs that run, which others take once the lock has run out; or without Redis
      if (app) safeLog(app.log, 'warn', { queue: worker.name }, 'worker was closed before its jobs had ended')
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

/** A payload that this version cannot read is no better the next time. */
function readDelivery (data: unknown): object {
  if (Object(data).version === VERSION) return data as object
  throw new UnrecoverableError(`no delivery of version ${VERSION}`)
}

function report (worker: Worker, log: FastifyBaseLogger | undefined): void {
  worker.on('error', (error) => { // without a listener BullMQ prints it
    if (log) safeLog(log, 'warn', { queue: worker.name, failure: describeError(error) }, 'worker: something failed')
  })
  if (log === undefined) return
  worker.on('failed', (job, error) => {
    const { id, name, attemptsMade: attempt, finishedOn } = job ?? {}
    const dead = finishedOn !== undefined
    const about = { queue: worker.name, job: id, name, attempt, failure: describeError(error) }
    safeLog(log, dead ? 'error' : 'warn', about, dead ? 'job failed, and is a dead letter' : 'job failed, and is tried again')
  })
  worker.on('stalled', (job) => safeLog(log, 'warn', { queue: worker.name, job }, 'job was cut short, and is taken again'))
}
