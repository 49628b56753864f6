import type { DeliveryQueue } from '../../plugins/queue.js'

/** Makes the part of a BullMQ queue that `enqueue` uses, without a Redis. */
export function queueThat (add: DeliveryQueue['add']): DeliveryQueue {
  return { add, qualifiedName: 'bull:verification', waitUntilReady: async () => {} }
}
