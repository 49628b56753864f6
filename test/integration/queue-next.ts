import t from 'tap'
import { noNextBullmq, useNextBullmq } from '../support/bullmq.js'

// Runs the suites of the queue on the next major version of BullMQ that the peer range admits.
if (noNextBullmq) {
  t.test('the queue on BullMQ 6', { skip: noNextBullmq }, async () => {})
} else {
  useNextBullmq()
  const { Queue } = await import('bullmq')
  t.test('this is BullMQ 6', async (t) => {
    t.ok('getBackend' in Queue.prototype)
  })
  await import('./queue.js')
  await import('./queue-worker.js')
  await import('./queue-crash.js')
  // BullMQ 6 may reconnect for ever to a Redis that has gone, if it is closed while it connects: such a run ends 10 s
  // after its last test.
  t.teardown(() => { setTimeout(() => process.exit(), 10_000).unref() })
}
