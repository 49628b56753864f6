import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { createWorker } from '../plugins/queue.js'
import { tellDelivery } from './messages.js'

/** Name of the example server's queue. */
export const QUEUE_NAME = 'verification'

/** Builds a worker that logs the deliveries that the example server puts into the queue with `QUEUE=1`. */
export async function build (redisUrl: string, options: FastifyServerOptions = {}): Promise<FastifyInstance> {
  const app = Fastify(options)
  createWorker(QUEUE_NAME, async (delivery) => {
    app.log.info({ job: delivery.id }, tellDelivery(delivery))
  }, { connection: { url: redisUrl }, app })
  await app.ready()
  return app
}

/** Runs the worker until a signal ends it. */
export async function main (
  env: Readonly<Record<string, string | undefined>>, signals: Pick<NodeJS.Process, 'once'> = process
): Promise<void> {
  const url = env['REDIS_URL']
  if (!url) {
    console.error('the worker requires REDIS_URL')
    process.exitCode = 1
    return
  }
  const app = await build(url, { logger: true })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) signals.once(signal, () => app.close())
  app.log.info('Waiting for deliveries')
}

const program = process.argv[1]
if (program !== undefined && realpathSync(program) === fileURLToPath(import.meta.url)) await main(process.env)
