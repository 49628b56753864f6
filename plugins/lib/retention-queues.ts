/** What is kept. All but `item` is the queue's own. */
export interface Kept<Item> {
  readonly item: Item
  /** When it was put in, in milliseconds. */
  readonly since: number
  /** How long it must be kept, in milliseconds. */
  readonly atLeast: number
  previous: Kept<Item> | undefined
  next: Kept<Item> | undefined
}

interface Queue<Item> { first: Kept<Item> | undefined, last: Kept<Item> | undefined }

export interface RetentionQueues<Item> {
  put: (item: Item, atLeast: number, time: number) => Kept<Item>
  take: (kept: Kept<Item>) => void
  /** The oldest of each queue. */
  oldest: () => Kept<Item>[]
}

/**
 * A queue for each length of time for which items must be kept, so that in each the first one in is the first that may
 * go. A `Map` does not do: the more of its first entries are deleted, the longer it takes to find the first one left.
 */
export function createRetentionQueues<Item> (): RetentionQueues<Item> {
  const queues = new Map<number, Queue<Item>>()

  return {
    put (item, atLeast, since) {
      let queue = queues.get(atLeast)
      if (queue === undefined) queues.set(atLeast, queue = { first: undefined, last: undefined })
      const kept: Kept<Item> = { item, since, atLeast, previous: queue.last, next: undefined }
      if (queue.last === undefined) queue.first = kept
      else queue.last.next = kept
      queue.last = kept
      return kept
    },
    take ({ atLeast, previous, next }) {
      const queue = queues.get(atLeast)!
      if (previous === undefined) queue.first = next
      else previous.next = next
      if (next === undefined) queue.last = previous
      else next.previous = previous
      if (queue.first === undefined) queues.delete(atLeast)
    },
    oldest: () => Array.from(queues.values(), ({ first }) => first!)
  }
}
