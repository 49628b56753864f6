import { parseArgs, type ParseArgsConfig } from 'node:util'
import { UsageError } from './io.js'

type Options = NonNullable<ParseArgsConfig['options']>
interface Config<T> { options: T, args: string[], allowPositionals: true, strict: true }

/** Parses options and positionals. Throws a `UsageError` for unknown options. */
export function readArguments<const T extends Options> (
  argv: readonly string[], options: T
): ReturnType<typeof parseArgs<Config<T>>> {
  try {
    return parseArgs<Config<T>>({ options, args: [...argv], allowPositionals: true, strict: true })
  } catch (error) {
    // Only the first sentence: the rest is about positionals that begin with a dash.
    throw new UsageError((error as Error).message.split(/\.\s|\n/)[0]!.replace(/\.$/, ''))
  }
}

/** Returns the given name if it is one of `names`. Throws a `UsageError` otherwise. */
export function oneOf<Name extends string> (what: string, names: readonly Name[], given: string): Name {
  const found = names.find((name) => name === given)
  if (found === undefined) {
    throw new UsageError(`unknown ${what} ${JSON.stringify(given)}: expected one of ${names.join(', ')}`)
  }
  return found
}

/** Parses a number from 1 to 9,999,999. Returns undefined if the option is absent. */
export function readCount (option: string, text: string | undefined): number | undefined {
  if (text !== undefined && !/^[1-9][0-9]{0,6}$/.test(text)) {
    throw new UsageError(`${option} must be a number from 1 to 9999999`)
  }
  return text === undefined ? undefined : Number(text)
}
