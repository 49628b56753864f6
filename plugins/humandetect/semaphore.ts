/** Waits for a slot and resolves to a function that frees it. Rejects with the signal's reason if that is aborted. */
export type TakeSlot = (signal: AbortSignal) => Promise<() => void>

/** Creates a semaphore with `count` slots. Callers wait in order, and leave the queue if their signal is aborted. */
export function createSemaphore (count: number): TakeSlot {
  const waiting = new Set<() => void>()
  let free = count

  function release (): void {
    const [next] = waiting
    if (next === undefined) free++
    else next()
  }

  return (signal) => new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    if (free > 0) {
      free--
      return resolve(release)
    }
    const enter = (): void => {
      waiting.delete(enter)
      resolve(release)
    }
    waiting.add(enter)
    signal.addEventListener('abort', () => {
      waiting.delete(enter)
      reject(signal.reason)
    })
  })
}
