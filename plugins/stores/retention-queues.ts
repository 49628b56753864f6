/** An item of the queues. Only the queues write these fields. */
export interface Kept {
  /** Time of insertion in milliseconds. */
  since: number
  /** Minimum retention in milliseconds. */
  atLeast: number
  previous: Kept | undefined
  next: Kept | undefined
}

export interface RetentionQueues<Item extends Kept> {
  put: (item: Item, atLeast: number, time: number) => void
  take: (item: Item) => void
  /** Calls `visit` with the oldest item of each queue. `visit` may take the item out. */
  eachOldest: (visit: (item: Item) => void) => void
}

/**
 * Creates one queue for each retention period, so that within a queue the oldest item is the first that may be removed.
 * A `Map` would be too slow: the more of its first entries are deleted, the longer it takes to find the first one left.
 */
export function createRetentionQueues<Item extends Kept> (): RetentionQueues<Item> {
  const queues = new Map<number, { first: Item | undefined, last: Item | undefined }>()

  return {
    put (item, atLeast, time) {
      let queue = queues.get(atLeast)
      if (queue === undefined) queues.set(atLeast, queue = { first: undefined, last: undefined })
      item.since = time
      item.atLeast = atLeast
      item.previous = queue.last
      item.next = undefined
      if (queue.last === undefined) queue.first = item
      else queue.last.next = item
      queue.last = item
    },
    take (item) {
      const { atLeast, previous, next } = item
      const queue = queues.get(atLeast)!
      if (previous === undefined) queue.first = next as Item | undefined
      else previous.next = next
      if (next === undefined) queue.last = previous as Item | undefined
      else next.previous = previous
      if (queue.first === undefined) queues.delete(atLeast)
      item.previous = item.next = undefined // a removed item that is still in use must not keep later ones in memory
    },
    eachOldest (visit) {
      for (const { first } of queues.values()) visit(first!)
    }
  }
}
