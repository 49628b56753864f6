/** An array or an object that is being written. */
interface Level {
  readonly values: Readonly<Record<string | number, unknown>>
  /** In order; absent for an array. */
  readonly keys: readonly string[] | undefined
  readonly length: number
  /** How many have been written. */
  next: number
  readonly outer: Level | undefined
}

/** What is the same in JSON as it is, between quotes. */
const PLAIN = /^[ !#-[\]-~]*$/

/**
 * The JSON text of a parsed JSON value, the same for every order of its keys and different for every other value. Keeps
 * a stack of its own: a sender may nest deeper than calls can.
 */
export function canonicalJson (value: unknown): string {
  let text = ''
  for (let level: Level | undefined = levelOf([value]); level !== undefined;) {
    if (level.next === level.length) {
      if (level.outer !== undefined) text += level.keys === undefined ? ']' : '}'
      level = level.outer
      continue
    }
    if (level.next > 0) text += ','
    const key: string | number = level.keys === undefined ? level.next : level.keys[level.next]!
    if (typeof key === 'string') text += `${write(key)}:`
    const item = level.values[key]
    level.next++
    if (typeof item === 'object' && item !== null) {
      level = levelOf(item, level)
      text += level.keys === undefined ? '[' : '{'
    } else {
      text += write(item)
    }
  }
  return text
}

function levelOf (item: object, outer?: Level): Level {
  const keys = Array.isArray(item) ? undefined : Object.keys(item).sort()
  const length = keys?.length ?? (item as unknown[]).length
  return { values: item as Level['values'], keys, length, next: 0, outer }
}

/** Throws for what JSON has nothing like, as a BigInt. */
function write (item: unknown): string {
  if (typeof item === 'string' && PLAIN.test(item)) return `"${item}"`
  return typeof item === 'number' ? String(item) : JSON.stringify(item) // numbers of JSON may be infinite: 1e999
}
