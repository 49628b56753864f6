/** One running deadline. */
export interface Deadline<Item> {
  /** Let go when it ends: what is still linked from the list of old ones would keep it from being collected soon. */
  item: Item | undefined
  readonly due: number
}

export interface Deadlines<Item> {
  /** `now`: by `performance.now()`, where the caller has just asked it. */
  start: (item: Item, now?: number) => Deadline<Item>
  stop: (deadline: Deadline<Item>) => void
}

/**
 * Deadlines that all last `ms`, so the first one started is the first one due: one timer serves them all, which is
 * cheaper than a timer a request. The timer keeps a process alive while a deadline runs, and no longer.
 */
export function createDeadlines<Item> (ms: number, expire: (item: Item) => void): Deadlines<Item> {
  const running = new Set<Deadline<Item>>()
  let timer: NodeJS.Timeout | undefined

  function arm (delay: number): void {
    timer = setTimeout(tick, delay)
  }

  function end (deadline: Deadline<Item>): void {
    running.delete(deadline)
    deadline.item = undefined
  }

  function tick (): void {
    const now = performance.now()
    try {
      for (const deadline of running) {
        if (deadline.due > now) break
        const item = deadline.item!
        end(deadline)
        expire(item)
      }
    } finally {
      const [first] = running
      if (first === undefined) timer = undefined
      else arm(Math.max(0, Math.ceil(first.due - now)))
    }
  }

  return {
    start (item, now = performance.now()) {
      const deadline: Deadline<Item> = { item, due: now + ms }
      running.add(deadline)
      if (timer === undefined) arm(ms)
      else if (running.size === 1) timer.ref()
      return deadline
    },
    stop (deadline) {
      end(deadline)
      if (running.size === 0) timer?.unref()
    }
  }
}
