import { isDeepStrictEqual } from 'node:util'
import type { Test } from 'tap'

/** Matches a string against a stateless pattern; undefined where tap has to decide. */
function matches (seen: unknown, pattern: unknown): boolean | undefined {
  if (typeof seen !== 'string') return undefined
  if (typeof pattern === 'string' && pattern !== '') return seen.includes(pattern)
  return pattern instanceof RegExp && !pattern.global && !pattern.sticky ? pattern.test(seen) : undefined
}

/** Comparisons that can be evaluated without tap. */
const HOLDS: Readonly<Record<string, (seen: unknown, wanted: unknown) => boolean>> = {
  ok: (seen) => Boolean(seen),
  notOk: (seen) => !seen,
  equal: (seen, wanted) => seen === wanted,
  strictSame: isDeepStrictEqual,
  match: (seen, pattern) => matches(seen, pattern) === true,
  notMatch: (seen, pattern) => matches(seen, pattern) === false
}

/**
 * Wraps a test with many comparisons: those that hold are counted and reported as one assertion; the others go to tap,
 * which reports each with its place and its difference. A test without any comparison fails.
 */
export function quiet (run: (t: Test) => Promise<unknown>): (t: Test) => Promise<void> {
  return async (t) => {
    let held = 0
    const counting = new Proxy(t, {
      get (target, name) {
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        const holds = Object.hasOwn(HOLDS, name) ? HOLDS[name as string]! : () => false
        return (...args: unknown[]): unknown => {
          if (!holds(args[0], args[1])) return value.apply(target, args)
          held++
          return true
        }
      }
    })
    await run(counting)
    t.ok(held > 0 || t.count > 0, `${held} comparisons hold`)
  }
}
