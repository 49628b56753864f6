import { execFile, spawn, spawnSync } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { createOutput, linesOf, serveExample } from '../support/command-line.js'
import { bundle, PLAIN, PLAIN_NODE } from '../support/programs.js'
import { until } from '../support/waiting.js'

// Imports the module as the main program, which must run it: here into a usage error.
const entry = process.argv
process.argv = [entry[0]!, fileURLToPath(import.meta.resolve('../../cli/main.js')), 'nonsense']
const told = t.capture(process.stderr, 'write', () => true)
const { start } = await import('../../cli/main.js')
told.restore()
process.argv = entry

// Bundles the program, so that it starts fast. tarball.ts runs it as it is published.
const program = join(t.testdir(), 'cli.mjs')
await bundle('cli/main.ts', program)
const env = { ...process.env, NO_COLOR: '', TERM: 'xterm' }

t.jobs = 8
const { urlOf } = await serveExample(t)
const url = urlOf('aghanim', 'player.verify')

t.test('it runs as the main program', async (t) => {
  t.equal(process.exitCode, 2)
  process.exitCode = 0
  t.match(told().map(({ args }) => String(args[0])).join(''), /^fastify-verification: expected a command/)
})

function runProgram (t: Test, ...argv: string[]) {
  const child = spawn('env', [...PLAIN_NODE, program, ...argv], { env })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => { output.stdout += chunk })
  child.stderr.on('data', (chunk) => { output.stderr += chunk })
  const ended = (once(child, 'close') as Promise<[number | null, string | null]>)
    .then(([status, signal]) => ({ status, signal, ...output }))
  t.teardown(() => child.kill('SIGKILL'))
  return { child, output, ended }
}

const shell = (script: string) =>
  promisify(execFile)('env', [...PLAIN, 'bash', '-c', script.replaceAll('CLI', `'${process.execPath}' '${program}'`)], { env })

t.test('the installed command is a program for Node', { buffered: true }, async (t) => {
  t.match(readFileSync(program, 'utf8'), /^#!\/usr\/bin\/env node\n/)
})

t.test('a signal or a broken stream ends the requests in progress', { buffered: true }, async (t) => {
  const argv = ['node', 'cli', 'send', 'aghanim', '--url', url, '--times', '100000', '--json']
  await Promise.all(([['SIGINT', 130], ['stdout', 0], ['stderr', 0]] as const).map(async ([end, status]) => {
    const { output, text } = createOutput()
    const [stdout, stderr] = [output, createOutput().output].map((output) => Object.assign(new EventEmitter(), output))
    const fake = Object.assign(new EventEmitter(), { argv, env: {}, stdout, stderr }) as unknown as typeof process
    const ended = start(fake)
    await until(() => text().includes('"type":"delivery"'))
    if (end === 'SIGINT') fake.emit('SIGINT')
    else fake[end].emit('error', new Error('EPIPE'))
    t.equal(await ended, status, end)
    t.ok(linesOf(text()).length < 100_000, end)
  }))
})

t.test('its exit status shows the result', { buffered: true }, async (t) => {
  const results = await Promise.all([[], ['--secret', 'another'], ['--times']]
    .map((more) => runProgram(t, 'send', 'aghanim', '--url', url, ...more).ended))
  t.match(results, [
    { status: 0, stdout: /As expected/, stderr: '' },
    { status: 1, stdout: /Not as expected/, stderr: '' },
    { status: 2, stdout: '', stderr: /^fastify-verification send: Option '--times <value>' argument missing\n$/ }
  ])
  for (const { stdout } of results) t.notMatch(stdout, '\u001b')
})

t.test('it ends silently if its output is closed', { buffered: true }, async (t) => {
  const start = performance.now()
  const { stdout, stderr } = await shell(`
    CLI send aghanim --url ${url} --times 100000 --json | head -n 1
    echo "\${PIPESTATUS[0]}"`)
  const [line, status] = stdout.trim().split('\n')
  t.equal(JSON.parse(line!).status, 200)
  t.equal(status, '0')
  t.equal(stderr, '')
  t.ok(performance.now() - start < 30_000, 'long before all deliveries had been sent')
})

t.test('Ctrl-C ends it with the results so far', { buffered: true }, async (t) => {
  const { child, output, ended } = runProgram(
    t, 'send', 'aghanim', '--url', url, '--times', '100000', '--json')
  await until(() => output.stdout.includes('\n'))
  child.kill('SIGINT')
  const { status, stdout, stderr } = await ended
  t.equal(status, 130)
  t.equal(stderr, '')
  const lines = linesOf(stdout)
  const summary = lines.pop()
  t.match(summary, { type: 'summary', sent: lines.length, expected: lines.length })
  t.ok(lines.length < 100_000)
})

const noTerminal = spawnSync('script', ['--version']).status === 0 ? false : 'there is no script(1) on this machine'

t.test('on a terminal it has colours and a bar', { skip: noTerminal, buffered: true }, async (t) => {
  const send = `CLI send aghanim --url ${url}`
  const onTerminal = async (command: string) =>
    (await shell(`script -qec "${command.replaceAll('"', '\\"')}" /dev/null </dev/null`)).stdout
  const [coloured, plain] = await Promise.all(
    [`${send} --times 20 --rate 40`, `NO_COLOR=1 ${send}`].map(onTerminal))
  t.match(coloured, /as expected {6}\S+20\S+\r?\n/)
  t.match(coloured, '\u001b[32m20')
  t.match(plain, /200 OK in/)
  t.notMatch(plain, '\u001b')
  const [, bar, ...more] = coloured!.split('\r\u001b[K')
  t.match(bar, /^\[=+ *\] \d+ of 20$/)
  t.ok(more.length > 1, 'drawn more than once')
})

t.test('an untrusted certificate is a one-line error, until it is trusted', { buffered: true }, async (t) => {
  const folder = t.testdir()
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  await promisify(execFile)('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert
  ])
  const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_request, reply) => reply.end())
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`
  t.match(await runProgram(t, 'send', 'aghanim', '--url', url).ended, {
    status: 1,
    stderr: /^https:\/\/127\.0\.0\.1:\d+: the certificate is not trusted; NODE_EXTRA_CA_CERTS can add a trusted authority \(DEPTH_ZERO_SELF_SIGNED_CERT\)\n$/
  })
  const { stdout } = await shell(`NODE_EXTRA_CA_CERTS='${cert}' CLI send aghanim --url ${url}`)
  t.match(stdout, 'As expected')
})
