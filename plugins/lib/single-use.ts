import { createHash } from 'node:crypto'

/** Takes a value for its first and only use: false if it was used before, undefined if there is no room to know. */
export type TakeOnce = (value: string) => boolean | undefined

/**
 * Remembers values for `ttl` ms on a clock that only goes forward. Bounded; none is forgotten early to make room, or
 * it could be used again.
 */
export function createSingleUse (ttl: number, mostEntries = 100_000, clock = () => performance.now()): TakeOnce {
  // By when it may be forgotten. All live equally long, so the first one in is the first one out.
  const used = new Map<string, number>()

  function forgetOld (now: number): void {
    for (const [print, until] of used) {
      if (until > now) return
      used.delete(print)
    }
  }

  return (value) => {
    const now = clock()
    forgetOld(now)
    const print = createHash('sha256').update(value, 'utf16le').digest('base64')
    if (used.has(print)) return false
    if (used.size >= mostEntries) return undefined
    used.set(print, now + ttl)
    return true
  }
}
