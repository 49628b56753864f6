import type { Env, Output } from './io.js'

const WIDTH = 30
const REDRAW_MS = 100
const ERASE = '\r\u001b[K'

/** Creates a progress bar on a terminal. Writes nothing to other outputs. */
export function createProgress (output: Output, env: Env, total: number) {
  const visible = output.isTTY === true && env['TERM'] !== 'dumb'
  let drawn = -Infinity

  return {
    show (done: number): void {
      const now = performance.now()
      if (!visible || now - drawn < REDRAW_MS) return
      drawn = now
      const filled = Math.floor(WIDTH * done / total)
      output.write(`${ERASE}[${'='.repeat(filled)}${' '.repeat(WIDTH - filled)}] ${done} of ${total}`)
    },
    erase (): void {
      if (drawn > -Infinity) output.write(ERASE)
      drawn = -Infinity
    }
  }
}
