/** Plain data for JSON, and the paths of the members that JSON cannot express. */
export interface JsonData {
  readonly data: unknown
  readonly unwritable: readonly string[]
}

type Members = Record<string, unknown>

const MAX_PATH_LENGTH = 300

/**
 * Copies a value into plain data as JSON.stringify would write it, so that a check sees what is sent: each getter is
 * read and each `toJSON` called once. Of a top-level object, only `keys` are read, after its `toJSON`, or all members
 * if `keys` is empty. BigInts and numbers that are not finite are kept, for a schema to refuse.
 */
export function jsonDataOf (value: unknown, keys: readonly string[] = []): JsonData {
  const trail: string[] = []
  const ancestors: object[] = []
  const unwritable: string[] = []
  const reportHere = (): void => { unwritable.push(`/${trail.join('/')}`.slice(0, MAX_PATH_LENGTH)) }

  function copy (given: unknown, key: string): unknown {
    const value = replacementOf(given, key)
    if (typeof value === 'object' && value !== null) return copyObject(value as Members)
    if (typeof value === 'bigint') reportHere()
    return typeof value === 'function' || typeof value === 'symbol' ? undefined : value
  }

  function copyObject (value: Members): unknown {
    if (ancestors.includes(value)) return reportHere()
    ancestors.push(value)
    const copied = Array.isArray(value)
      ? Array.from(value, (_element, index) => copyMember(value, String(index)) ?? null)
      : copyMembers(value, ancestors.length === 1 && keys.length > 0 ? keys : Object.keys(value))
    ancestors.pop()
    return copied
  }

  function copyMembers (value: Members, names: readonly string[]): Members {
    const copied: Members = {}
    for (const name of names) {
      const member = copyMember(value, name)
      if (member !== undefined && name !== '__proto__') copied[name] = member
    }
    return copied
  }

  function copyMember (holder: Members, key: string): unknown {
    trail.push(key)
    const copied = copy(holder[key], key)
    trail.pop()
    return copied
  }

  try {
    return { data: copy(value, ''), unwritable }
  } catch { // thrown by a getter, a `toJSON` or a proxy
    reportHere()
    return { data: undefined, unwritable }
  }
}

/** Returns the value that JSON.stringify writes for this one: the result of its `toJSON`, or its primitive. */
function replacementOf (value: unknown, key: string): unknown {
  if ((typeof value !== 'object' || value === null) && typeof value !== 'bigint') return value
  const { toJSON } = value as { toJSON?: unknown }
  const replacement: unknown = typeof toJSON === 'function' ? toJSON.call(value, key) : value
  const boxed = replacement instanceof Number || replacement instanceof String || replacement instanceof Boolean
  return boxed ? replacement.valueOf() : replacement
}
