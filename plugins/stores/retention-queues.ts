/** What is kept. These fields are the queues' own. */
export interface Kept {
  /** When it was put in, in milliseconds. */
  since: number
  /** How long it must be kept, in milliseconds. */
  atLeast: number
  previous: Kept | undefined
  next: Kept | undefined
}

export interface RetentionQueues<Item extends Kept> {
  put: (item: Item, atLeast: number, time: number) => void
  take: (item: Item) => void
  /** Shows the oldest of each queue; it may be taken meanwhile. */
  eachOldest: (visit: (item: Item) => void) => void
}

/**
 * A queue for each length of time for which items must be kept, so that in each the first one in is the first that may
 * go. A `Map` does not do: the more of its first entries are deleted, the longer it takes to find the first one left.
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
      item.previous = item.next = undefined // one that is held on to must not hold all that came after it
    },
    eachOldest (visit) {
      for (const { first } of queues.values()) visit(first!)
    }
  }
}
