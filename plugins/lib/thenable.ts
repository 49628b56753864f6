/** Whether there is a result to wait for. */
export function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

/** A promise of our own, whatever the given one is like. */
export async function toPromise<T> (result: PromiseLike<T>): Promise<T> {
  return await result
}
