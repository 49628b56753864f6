import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from '../host.js'
import { bundle, PLAIN_NODE } from '../programs.js'
import type { LedgerProgram } from './program.js'

/** Makes one file of the program, in a folder, so that plain node starts it at once. Returns what starts it. */
export async function buildProgram (test: Test, folder: string) {
  const outfile = join(folder, 'program.mjs')
  await bundle('test/support/ledger/program.ts', outfile, ['bullmq'])

  /** Resolves once it is at work. It is gone after the test. */
  return async (settings: LedgerProgram): Promise<ChildProcess> => {
    const env = { ...process.env, LEDGER: JSON.stringify(settings) }
    const child = fork(outfile, { execPath: 'env', execArgv: PLAIN_NODE, env })
    test.teardown(() => { child.kill('SIGKILL') })
    const [said] = await Promise.race([once(child, 'message'), once(child, 'exit')])
    if (said !== 'ready') throw new Error(`the ${settings.role} ended at once`)
    return child
  }
}

/** Ends it: SIGTERM as whoever restarts it does, SIGKILL as a crash. */
export async function endProgram (child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const exited = once(child, 'exit')
  child.kill(signal)
  await exited
}
