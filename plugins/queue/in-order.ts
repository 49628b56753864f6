import type { FastifyBaseLogger } from 'fastify'
import {
  Backoffs, Queue, RateLimitError, UnrecoverableError, Worker, type ConnectionOptions, type Job, type WorkerOptions
} from 'bullmq'
import { setTimeout as delay } from 'node:timers/promises'
import { describeError } from '../lib/errors.js'
import { safeLog } from '../lib/telemetry.js'

const RETRY_DELAY = 1000 // ms

/**
 * Starts a worker that keeps the order of a queue: across all workers, one job runs at a time. A failed job goes back
 * to the head of the queue and waits there for its next attempt, while BullMQ's rate limit blocks the queue. A job
 * whose worker died also goes back to the head.
 */
export function inOrder (
  name: string, run: (job: Job) => Promise<void>, options: WorkerOptions, log: FastifyBaseLogger | undefined
): { worker: Worker, queue: Queue } {
  const { connection, prefix, telemetry } = options
  const queue = new Queue(name, {
    connection: patient(connection),
    skipMetasUpdate: true,
    ...(prefix !== undefined && { prefix }),
    ...(telemetry !== undefined && { telemetry })
  })

  async function attempt (job: Job): Promise<void> {
    try {
      await run(job)
    } catch (error) {
      const { attemptsStarted: started, opts: { attempts, backoff } } = job
      if (Object(error).name === 'UnrecoverableError') throw error // recognised by name, like in BullMQ
      if (started >= attempts!) throw Object.assign(new UnrecoverableError(messageOf(error)), { cause: error })
      const about = { queue: name, job: job.id, name: job.name, attempt: started, failure: describeError(error) }
      if (log) safeLog(log, 'warn', about, 'job failed and will be retried')
      await queue.rateLimit(await waitOf(job, backoff, started))
      throw new RateLimitError()
    }
  }

  const worker = new Worker(name, attempt, {
    ...options,
    concurrency: 1,
    autorun: false,
    limiter: { max: 1e9, duration: 1 }, // never reached, but BullMQ ignores rate limits without it
    maximumRateLimitDelay: 1000 // otherwise close() would wait longer
  })

  async function start (): Promise<void> {
    while (!await limitConcurrency()) await delay(RETRY_DELAY, undefined, { ref: false })
    if (!worker.closing) await worker.run()
  }

  /** Limits the queue to one job at a time. Returns true if that succeeded or is no longer needed. */
  async function limitConcurrency (): Promise<boolean> {
    if (worker.closing) return true
    try {
      await queue.waitUntilReady()
      await queue.setGlobalConcurrency(1)
      return true
    } catch (error) {
      worker.emit('error', error as Error)
      return false
    }
  }

  queue.on('error', (error) => worker.emit('error', error))
  start().catch((error: unknown) => worker.emit('error', error as Error))
  return { worker, queue }
}

/** Returns connection options with which commands wait until Redis is available. A client is returned unchanged. */
function patient (connection: ConnectionOptions): ConnectionOptions {
  if (Object.getPrototypeOf(connection) !== Object.prototype) return connection
  return { ...connection, maxRetriesPerRequest: null } as ConnectionOptions
}

/** Returns the delay until the next attempt in milliseconds. At least 1, since Redis accepts no smaller value. */
async function waitOf (job: Job, backoff: Job['opts']['backoff'], started: number): Promise<number> {
  const wait = Backoffs.calculate(Backoffs.normalize(backoff!)!, started, new Error(), job)
  return Math.max(1, await wait ?? 1)
}

function messageOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
