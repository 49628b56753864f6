import { parseArgs, type ParseArgsConfig } from 'node:util'
import { UsageError } from './io.js'

type Options = NonNullable<ParseArgsConfig['options']>
interface Config<T> { options: T, args: string[], allowPositionals: true, strict: true }

/** Options and positionals; throws a `UsageError` for what is not known. */
export function readArguments<const T extends Options> (
  argv: readonly string[], options: T
): ReturnType<typeof parseArgs<Config<T>>> {
  try {
    return parseArgs<Config<T>>({ options, args: [...argv], allowPositionals: true, strict: true })
  } catch (error) {
    // Its first sentence: the rest is about positionals that begin with a dash.
    throw new UsageError((error as Error).message.split(/\.\s|\n/)[0]!.replace(/\.$/, ''))
  }
}

/** One of the names there are. */
export function oneOf<Name extends string> (what: string, names: readonly Name[], given: string): Name {
  const found = names.find((name) => name === given)
  if (found === undefined) throw new UsageError(`unknown ${what} ${JSON.stringify(given)}: one of ${names.join(', ')}`)
  return found
}

/** A number from 1, undefined if there is none. */
export function readCount (option: string, text: string | undefined): number | undefined {
  if (text !== undefined && !/^[1-9][0-9]{0,6}$/.test(text)) {
    throw new UsageError(`${option} must be a number from 1 to 9999999`)
  }
  return text === undefined ? undefined : Number(text)
}
