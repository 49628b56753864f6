#!/usr/bin/env node
import { realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { doctor } from './doctor.js'
import { harmless } from './harmless.js'
import { UsageError, type Command, type Io } from './io.js'
import { list } from './list.js'
import { send } from './send.js'

interface Entry { readonly run: Command, readonly about: string }

const COMMANDS = new Map<string, Entry>([
  ['send', { run: send, about: 'sign and send a delivery as a provider would, and check the response' }],
  ['doctor', { run: doctor, about: 'explain why the signature of a captured request does not match' }],
  ['list', { run: list, about: 'list the providers, events and variants that can be sent' }]
])
const NAMES = [...COMMANDS.keys()].join(', ')

const HELP = `usage: fastify-verification <command> [options]

${[...COMMANDS].map(([name, { about }]) => `  ${name.padEnd(8)}${about}`).join('\n')}

  --help, --version; "fastify-verification <command> --help" shows the help of a command
`

/** Runs one command and resolves to the exit status. */
export async function main ([name, ...rest]: readonly string[], io: Io): Promise<number> {
  try {
    if (name === '--help' || name === '-h') {
      io.stdout.write(HELP)
      return 0
    }
    if (name === '--version') {
      io.stdout.write(`${createRequire(import.meta.url)('fastify-verification/package.json').version}\n`)
      return 0
    }
    const command = COMMANDS.get(name ?? '')
    if (command === undefined) throw new UsageError(`expected a command: ${NAMES}; see --help`)
    return await command.run(rest, io)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    io.stderr.write(`fastify-verification${COMMANDS.has(name ?? '') ? ` ${name}` : ''}: ${harmless(error.message)}\n`)
    return 2
  }
}

/** Runs the command line. Ends early with a summary on Ctrl-C, and silently if the reader has closed the output. */
export async function start (
  process: Pick<NodeJS.Process, 'argv' | 'stdout' | 'stderr' | 'env' | 'once'>
): Promise<number> {
  const { argv, stdout, stderr, env } = process
  const stop = new AbortController()
  let interrupted = false
  process.once('SIGINT', () => {
    interrupted = true
    stop.abort()
  })
  for (const stream of [stdout, stderr]) stream.on('error', () => stop.abort())
  const status = await main(argv.slice(2), { stdout, stderr, env, signal: stop.signal })
  return interrupted ? 130 : status // 128 plus the signal number, as in shells
}

const program = process.argv[1]
if (program !== undefined && realpathSync(program) === fileURLToPath(import.meta.url)) {
  process.exitCode = await start(process)
}
