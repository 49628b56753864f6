import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { plainProgram } from '../support/programs.js'

t.test("loading and registering the plugins leaves Node's fetch as it was", async (t) => {
  const { stdout } = await promisify(execFile)('env', plainProgram('test/support/host-fetch'))
  t.strictSame(JSON.parse(stdout), { untouched: true, status: 200, text: 'ok' })
})
