import { styleText } from 'node:util'

/** Where a command writes: the streams of a process, or those of a test. */
export interface Output {
  readonly write: (text: string) => unknown
  readonly isTTY?: boolean | undefined
}

export type Env = Readonly<Record<string, string | undefined>>

/** What a command has of the process it runs in. */
export interface Io {
  readonly stdout: Output
  readonly stderr: Output
  readonly env: Env
  /** Aborted once nobody waits for more: by Ctrl-C, or when whoever read the output has gone. */
  readonly signal: AbortSignal
}

/** Resolves to the exit status: 0 if all was as expected, 1 if not. Throws a `UsageError` for what makes it 2. */
export type Command = (argv: readonly string[], io: Io) => Promise<number>

/** The command line makes no sense. The message is one line and shows no secret. */
export class UsageError extends Error {}

export type Paint = (format: Parameters<typeof styleText>[0], text: string) => string

/** Colours for a terminal, unless its user wants none (no-color.org); elsewhere the text as it is. */
export function paintFor (output: Output, env: Env): Paint {
  if (!output.isTTY || env['NO_COLOR'] || env['TERM'] === 'dumb') return (_format, text) => text
  return (format, text) => styleText(format, text, { validateStream: false })
}
