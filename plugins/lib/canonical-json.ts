/**
 * The JSON text of a parsed JSON value, the same for every order of its keys and different for every other value. Keeps
 * a stack of its own: a sender may nest deeper than calls can.
 */
export function canonicalJson (value: unknown): string {
  let text = ''
  // What is still to be written, last first: texts as they are, values in boxes.
  const pending: (string | [value: unknown])[] = [[value]]

  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (typeof next === 'string') {
      text += next
      continue
    }
    const [item] = next
    if (typeof item === 'number') {
      text += item // also what JSON cannot write: 1e999 is parsed as infinite
    } else if (typeof item !== 'object' || item === null) {
      text += JSON.stringify(item)
    } else if (Array.isArray(item)) {
      pending.push(']')
      for (let index = item.length - 1; index >= 0; index--) pending.push([item[index]], index > 0 ? ',' : '')
      text += '['
    } else {
      pending.push('}')
      const entries = item as Record<string, unknown>
      const keys = Object.keys(item).sort()
      for (let index = keys.length - 1; index >= 0; index--) {
        pending.push([entries[keys[index]!]], `${index > 0 ? ',' : ''}${JSON.stringify(keys[index])}:`)
      }
      text += '{'
    }
  }
  return text
}
