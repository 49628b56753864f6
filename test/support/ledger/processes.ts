import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from '../host.js'
import { bundle, PLAIN_NODE } from '../programs.js'
import type { LedgerProgram } from './program.js'

/** Bundles the program into one file in a folder, so that it starts fast. Returns a function that starts it. */
export async function buildProgram (test: Test, folder: string) {
  const outfile = join(folder, 'program.mjs')
  await bundle('test/support/ledger/program.ts', outfile, ['bullmq'])

  /** Starts the program; resolves once it is ready. It is killed after the test. */
  return async (settings: LedgerProgram): Promise<ChildProcess> => {
    const env = { ...process.env, LEDGER: JSON.stringify(settings) }
    const child = fork(outfile, { execPath: 'env', execArgv: PLAIN_NODE, env })
    test.teardown(() => { child.kill('SIGKILL') })
    const [said] = await Promise.race([once(child, 'message'), once(child, 'exit')])
    if (said !== 'ready') throw new Error(`the ${settings.role} ended at once`)
    return child
  }
}

/** Ends the process: SIGTERM like a restart, SIGKILL like a crash. */
export async function endProgram (child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const exited = once(child, 'exit')
  child.kill(signal)
  await exited
}
