import { errorClass } from './errors.js'

/** One running deadline. */
export interface Deadline<Item> {
  /**
   * Value of the deadline. Cleared when the deadline ends: it would be garbage-collected late if an old deadline that
   * is still linked from the list referred to it.
   */
  item: Item | undefined
  readonly due: number
}

export interface Deadlines<Item> {
  /** Starts a deadline. `now` is the value of `performance.now()`, if the caller has just read it. */
  start: (item: Item, now?: number) => Deadline<Item>
  stop: (deadline: Deadline<Item>) => void
}

/**
 * Makes deadlines that all last `ms` milliseconds. The first one started is the first one due, so one timer serves them
 * all, which is cheaper than one timer per request. The timer keeps the process alive only while a deadline runs.
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

/** Error for a result that did not arrive in time. It may still arrive. */
export const TimedOut = errorClass<[ms: number]>('FST_VERIFICATION_CALL_TIMEOUT', { hasStack: false })

/** Settles like `work`, or rejects once its time is up. `late` gets the value that `work` resolves to after that. */
export type InTime = <T>(work: PromiseLike<T>, late?: (value: T) => void) => Promise<T>

/** Makes a time limit of `ms` milliseconds. One timer serves all work. */
export function createTimeLimit (ms: number): InTime {
  const running = createDeadlines<() => void>(ms, (expire) => expire())

  return (work, late) => new Promise((resolve, reject) => {
    let over = false
    // Results that arrived while the process was busy are read before the time is up.
    const deadline = running.start(() => setImmediate(() => {
      over = true
      reject(new TimedOut(ms))
    }))
    toPromise(work).then((value) => {
      running.stop(deadline)
      if (over) late?.(value)
      else resolve(value)
    }, (error: unknown) => {
      running.stop(deadline)
      reject(error)
    })
  })
}

/** Returns true if a value is a result to wait for. */
export function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

/** Converts any thenable to a native promise. */
export async function toPromise<T> (result: PromiseLike<T>): Promise<T> {
  return await result
}
