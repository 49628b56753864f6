import { styleText } from 'node:util'

/** An output of a command: a stream of the process, or one of a test. */
export interface Output {
  readonly write: (text: string) => unknown
  readonly isTTY?: boolean | undefined
}

export type Env = Readonly<Record<string, string | undefined>>

/** The parts of the process that a command can access. */
export interface Io {
  readonly stdout: Output
  readonly stderr: Output
  readonly env: Env
  /** Aborted by Ctrl-C, or when the reader of the output has closed it. */
  readonly signal: AbortSignal
}

/**
 * A command. Resolves to the exit status: 0 if everything was as expected, 1 if not. Throws a `UsageError` for an exit
 * status of 2.
 */
export type Command = (argv: readonly string[], io: Io) => Promise<number>

/** Error of an invalid command line. The message is one line and contains no secret. */
export class UsageError extends Error {}

export type Paint = (format: Parameters<typeof styleText>[0], text: string) => string

/** Creates a function that colours strings for a terminal, unless the user disables it (no-color.org). */
export function paintFor (output: Output, env: Env): Paint {
  if (!output.isTTY || env['NO_COLOR'] || env['TERM'] === 'dumb') return (_format, text) => text
  return (format, text) => styleText(format, text, { validateStream: false })
}
