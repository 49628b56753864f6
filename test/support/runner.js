import { spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import Reporter from './reporter.js'

// node test/support/runner.js PATH...: runs compiled suites as plain programs, two at a time, and then those of
// `integration` and `hosts`, one at a time. It needs none of the loaders of tap's own runner, which serve coverage and
// cost a second of CPU per suite.

const JOBS = 2
const OPTIONS = ['--enable-source-maps', '--max-optimized-bytecode-size=3000']

const suites = process.argv.slice(2).flatMap((path) => statSync(path).isDirectory()
  ? readdirSync(path).filter((name) => name.endsWith('.js')).sort().map((name) => join(path, name))
  : [path])
const isSerial = (suite) => /\/(?:integration|hosts)\//.test(suite)

const reporter = new Reporter()
reporter.pipe(process.stdout)
reporter.write('TAP version 14\n')

/** Runs a suite to its end and passes its output on as a subtest. */
async function run (suite) {
  const start = performance.now()
  const env = { TAP_TIMEOUT: isSerial(suite) ? '300' : '90', ...process.env } // seconds
  const child = spawn(process.execPath, [...OPTIONS, suite], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const chunks = []
  child.stdout.on('data', (chunk) => { chunks.push(chunk) })
  const [code, signal] = await new Promise((resolve) => child.on('close', (...ended) => resolve(ended)))
  const output = Buffer.concat(chunks).toString().replaceAll(/^(?=.)/gm, '    ')
  const result = `${code === 0 ? 'ok' : 'not ok'} - ${suite} # time=${performance.now() - start}ms\n`
  const exit = code === 0 ? '' : `  ---\n  exit: ${signal ?? code}\n  ...\n`
  reporter.write(`# Subtest: ${suite}\n${output}\n${result}${exit}`)
  if (code !== 0) process.exitCode = 1
}

async function runAll (queue) {
  for (let suite = queue.shift(); suite !== undefined; suite = queue.shift()) await run(suite)
}

const parallel = suites.filter((suite) => !isSerial(suite))
await Promise.all(Array.from({ length: JOBS }, () => runAll(parallel)))
await runAll(suites.filter(isSerial))
reporter.end('# { total: 0 }\n')
