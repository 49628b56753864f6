import type { DeliveryQueue } from '../../plugins/queue.js'

/** What `enqueue` uses of a queue of BullMQ, without a Redis. */
export function queueThat (add: DeliveryQueue['add']): DeliveryQueue {
  return { add, qualifiedName: 'bull:verification', waitUntilReady: async () => {} }
}
