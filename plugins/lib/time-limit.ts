import { createError } from '@fastify/error'
import { createDeadlines } from './deadlines.js'
import { toPromise } from './thenable.js'

/** What was waited for did not come in time. It may still come. */
export const TimedOut = createError<[ms: number]>(
  'FST_VERIFICATION_TIMED_OUT', 'No answer within %d ms', 503, Error, false)

/** As `work`, or rejects once its time is up. `late` is given what `work` resolves to after that. */
export type InTime = <T>(work: PromiseLike<T>, late?: (value: T) => void) => Promise<T>

/** Gives work `ms` milliseconds. One timer serves all of it. */
export function createTimeLimit (ms: number): InTime {
  const running = createDeadlines<() => void>(ms, (expire) => expire())

  return (work, late) => new Promise((resolve, reject) => {
    let over = false
    // What came in while the process was busy is read before the time is up.
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
