/** Waits for a slot and resolves to what frees it; rejects with the signal's reason once that is aborted. */
export type TakeSlot = (signal: AbortSignal) => Promise<() => void>

/** So many pieces of work at a time; the others wait in turn, and leave the queue when their time is up. */
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
