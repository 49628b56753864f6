import { createError } from '@fastify/error'
import { createDeadlines } from './deadlines.js'
import { toPromise } from './thenable.js'

/** Error for a result that did not arrive in time. It may still arrive. */
export const TimedOut = createError<[ms: number]>(
  'FST_VERIFICATION_TIMED_OUT', 'No answer within %d ms', 503, Error, false)

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
