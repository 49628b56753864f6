/** Returns true if a value is a result to wait for. */
export function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

/** Converts any thenable to a native promise. */
export async function toPromise<T> (result: PromiseLike<T>): Promise<T> {
  return await result
}
