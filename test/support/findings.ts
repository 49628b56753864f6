import { isDeepStrictEqual } from 'node:util'

/** Rows of a table that are not as they should be, each by its name, for one assertion about all of them. */
export function createFindings () {
  const wrong: { readonly name: string, readonly seen: unknown, readonly expected: unknown }[] = []
  const compare = (name: string, seen: unknown, expected: unknown) => {
    if (!isDeepStrictEqual(seen, expected)) wrong.push({ name, seen, expected })
  }
  return { wrong, compare }
}
