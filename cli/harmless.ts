// Control and format characters, such as those that change the direction of a text, separators of lines, and halves of
// surrogate pairs: what could move the cursor of a terminal, or make a line look like another. Not tab and line feed.
const UNPRINTABLE = /[^\P{Cc}\t\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

const hex = (character: string, digits: number): string => character.codePointAt(0)!.toString(16).padStart(digits, '0')

/** A text that others wrote, for a terminal: what does not print is shown as `\x1b` or `\u{202e}`. */
export function harmless (text: string): string {
  return text.replace(UNPRINTABLE, (one) => one < '\u0100' ? `\\x${hex(one, 2)}` : `\\u{${hex(one, 4)}}`)
}

/** A value as JSON on one line, with those characters escaped as JSON does it. */
export function jsonLine (value: unknown): string {
  return JSON.stringify(value).replace(UNPRINTABLE, (one) =>
    one.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''))
}
