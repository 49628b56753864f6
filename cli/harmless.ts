// Characters that could move the cursor of a terminal or disguise a line: control characters, format characters such as
// those that change the text direction, line separators, and halves of surrogate pairs. Excludes tab and line feed.
const UNPRINTABLE = /[^\P{Cc}\t\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

const hex = (character: string, digits: number): string => character.codePointAt(0)!.toString(16).padStart(digits, '0')

/** Makes an untrusted string safe for a terminal. Unprintable characters become `\x1b` or `\u{202e}`. */
export function harmless (text: string): string {
  return text.replace(UNPRINTABLE, (one) => one < '\u0100' ? `\\x${hex(one, 2)}` : `\\u{${hex(one, 4)}}`)
}

/** Writes a value as JSON on one line, with unprintable characters escaped as in JSON. */
export function jsonLine (value: unknown): string {
  return JSON.stringify(value).replace(UNPRINTABLE, (one) =>
    one.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''))
}
