import { isDeepStrictEqual } from 'node:util'

/** Compares many cases, so that a long table is one assertion: of `wrong` with `[]`, which shows each that differs. */
export function createTable () {
  const wrong: { name: string, seen: unknown, expected: unknown }[] = []
  const same = (name: string, seen: unknown, expected: unknown): void => {
    if (!isDeepStrictEqual(seen, expected)) wrong.push({ name, seen, expected })
  }
  return { wrong, same }
}
