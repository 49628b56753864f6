import { isDeepStrictEqual } from 'node:util'

/** Compares many cases with one assertion: that `wrong`, which lists each difference, is empty. */
export function createTable () {
  const wrong: { name: string, seen: unknown, expected: unknown }[] = []
  const same = (name: string, seen: unknown, expected: unknown): void => {
    if (!isDeepStrictEqual(seen, expected)) wrong.push({ name, seen, expected })
  }
  return { wrong, same }
}
