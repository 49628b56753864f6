import type { Job, Queue } from 'bullmq'
import { checkOptions, integer } from '../lib/rules.js'
import { isQueue, listOf, oneOrMore, type QueuedDelivery } from './queued.js'

/** A job that has failed permanently. */
export interface DeadLetter extends Pick<QueuedDelivery, 'id' | 'provider' | 'kind' | 'receivedAt'> {
  /** Name of the queue. */
  readonly queue: string
  /** Number of times that the job was run. */
  readonly attempts: number
  /** Message of the error that the last run threw. */
  readonly failure: string
  readonly failedAt: Date
}

type Queues = Queue | readonly Queue[]

const queues = oneOrMore(isQueue, 'must be a BullMQ Queue or an array of them')

/**
 * Lists the jobs that have failed permanently, latest first, up to `limit` (default 100). Failed jobs are kept for 14
 * days, unless the queue's `defaultJobOptions` override that.
 */
export async function listDeadLetters (queue: Queues, { limit = 100 }: { limit?: number } = {}): Promise<DeadLetter[]> {
  checkOptions('listDeadLetters', { queue, limit }, { queue: queues, limit: integer(10_000) })
  const failed = await Promise.all(listOf(queue).map(async (one) => {
    const jobs = await one.getFailed(0, limit - 1)
    return jobs.map((job) => describe(one.name, job))
  }))
  return failed.flat().sort((a, b) => b.failedAt.getTime() - a.failedAt.getTime()).slice(0, limit)
}

function describe (queue: string, job: Job<Partial<QueuedDelivery> | null>): DeadLetter {
  const { provider = '', kind = '', receivedAt = '' } = Object(job.data) // may not be a delivery
  const { attemptsStarted: attempts, failedReason: failure, finishedOn } = job
  return { queue, id: job.id!, provider, kind, receivedAt, attempts, failure, failedAt: new Date(finishedOn!) }
}

/** Retries the failed jobs with these ids, or all of them, with new attempts. Returns the number of retried jobs. */
export async function retryDeadLetters (queue: Queues, ids?: readonly string[]): Promise<number> {
  checkOptions('retryDeadLetters', { queue }, { queue: queues })
  const retried = await Promise.all(listOf(queue).map((one) => retry(one, ids)))
  return retried.reduce((sum, count) => sum + count, 0)
}

async function retry (queue: Queue, ids?: readonly string[]): Promise<number> {
  let retried = 0
  for (const id of ids ?? await queue.getRanges(['failed'])) {
    const job: Job | undefined = await queue.getJob(id)
    if (!await job?.isFailed()) continue
    await job!.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true })
    retried++
  }
  return retried
}
