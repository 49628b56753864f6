import { execFile, spawn, spawnSync } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { createOutput, linesOf, serveExample } from './fixtures/command-line.js'
import { until } from './fixtures/waiting.js'

// Importing it as the program that is run must run it: here into a usage error.
const entry = process.argv
process.argv = [entry[0]!, fileURLToPath(new URL('../cli.ts', import.meta.url)), 'nonsense']
const told = t.capture(process.stderr, 'write', () => true)
const { start } = await import('../cli.js')
told.restore()
process.argv = entry

t.test('it runs when it is the program', async (t) => {
  t.equal(process.exitCode, 2)
  process.exitCode = 0
  t.match(told().map(({ args }) => String(args[0])).join(''), /^fastify-verification: a command is expected/)
})

// As it is shipped, and without what the test runner puts into NODE_OPTIONS.
const root = fileURLToPath(new URL('..', import.meta.url))
const { scripts, bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const dist = t.testdir()
const [, ...tsc] = scripts.build.split(' ')
await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), [...tsc, '--noCheck', '--outDir', dist], { cwd: root })
const program = join(dist, bin['fastify-verification'].replace('./dist', ''))
const env = { ...process.env, NODE_OPTIONS: '', NO_COLOR: '', TERM: 'xterm' }

function runProgram (...argv: string[]) {
  const child = spawn(process.execPath, [program, ...argv], { env })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => { output.stdout += chunk })
  child.stderr.on('data', (chunk) => { output.stderr += chunk })
  const ended = (once(child, 'close') as Promise<[number | null, string | null]>)
    .then(([status, signal]) => ({ status, signal, ...output }))
  t.teardown(() => child.kill('SIGKILL'))
  return { child, output, ended }
}

const shell = (script: string) =>
  promisify(execFile)('bash', ['-c', script.replaceAll('CLI', `'${process.execPath}' '${program}'`)], { env })

t.test('what is installed as the command is a program for node', async (t) => {
  t.match(readFileSync(program, 'utf8'), /^#!\/usr\/bin\/env node\n/)
})

t.test('its exit status says how it went', async (t) => {
  const { urlOf } = await serveExample(t)
  const url = urlOf('aghanim', 'player.verify')
  const good = runProgram('send', 'aghanim', '--url', url)
  t.match(await good.ended, { status: 0, stdout: /As expected/, stderr: '' })
  t.notMatch(good.output.stdout, '\u001b')
  t.match(await runProgram('send', 'aghanim', '--url', url, '--secret', 'another').ended, { status: 1, stderr: '' })
  t.match(await runProgram('send', 'aghanim', '--url', 'http://127.0.0.1:1').ended, {
    status: 1, stderr: 'http://127.0.0.1:1: nobody listens there (ECONNREFUSED)\n'
  })
  t.match(await runProgram('send').ended, {
    status: 2, stdout: '', stderr: 'fastify-verification send: exactly one provider is expected\n'
  })
  t.match(await runProgram('--version').ended, { status: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
})

t.test('a reader that has gone ends it without a word', async (t) => {
  const { urlOf } = await serveExample(t)
  const start = performance.now()
  const { stdout, stderr } = await shell(`
    CLI send aghanim --url ${urlOf('aghanim', 'player.verify')} --times 100000 --json | head -n 1
    echo "\${PIPESTATUS[0]}"`)
  const [line, status] = stdout.trim().split('\n')
  t.equal(JSON.parse(line!).status, 200)
  t.equal(status, '0')
  t.equal(stderr, '')
  t.ok(performance.now() - start < 30_000, 'long before it had sent all')
})

t.test('Ctrl-C ends it with what was sent so far', async (t) => {
  const { urlOf } = await serveExample(t)
  const { child, output, ended } = runProgram(
    'send', 'aghanim', '--url', urlOf('aghanim', 'player.verify'), '--times', '100000', '--json')
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

t.test('on a terminal it has colours and a bar', { skip: noTerminal }, async (t) => {
  const { urlOf } = await serveExample(t)
  const send = `CLI send aghanim --url ${urlOf('aghanim', 'player.verify')}`
  const onTerminal = async (command: string) =>
    (await shell(`script -qec "${command.replaceAll('"', '\\"')}" /dev/null </dev/null`)).stdout
  t.match(await onTerminal(send), /\u001b\[1m\u001b\[32m200 OK/)
  t.match(await onTerminal(`${send} --times 20 --rate 40`), /\r\u001b\[K\[=+ *\] \d+ of 20\r\u001b\[K/)
  t.notMatch(await onTerminal(`NO_COLOR=1 ${send}`), '\u001b')
  t.notMatch(await onTerminal(`${send} | cat`), '\u001b')
})

t.test('a certificate that nobody vouches for is one line, until somebody does', async (t) => {
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
  t.match(await runProgram('send', 'aghanim', '--url', url).ended, {
    status: 1,
    stderr: /^https:\/\/127\.0\.0\.1:\d+: its certificate is not trusted; NODE_EXTRA_CA_CERTS can name an authority that is \(DEPTH_ZERO_SELF_SIGNED_CERT\)\n$/
  })
  const { stdout } = await shell(`NODE_EXTRA_CA_CERTS='${cert}' CLI send aghanim --url ${url}`)
  t.match(stdout, 'As expected')
})

t.test('a signal or a broken stream ends what is under way', async (t) => {
  const { urlOf } = await serveExample(t)
  const argv = ['node', 'cli', 'send', 'aghanim', '--url', urlOf('aghanim', 'player.verify'), '--times', '100000']
  for (const [end, status] of [['SIGINT', 130], ['stdout', 0], ['stderr', 0]] as const) {
    const [stdout, stderr] = [createOutput(), createOutput()].map(({ output }) => Object.assign(new PassThrough(), output))
    const fake = Object.assign(new EventEmitter(), { argv, env: {}, stdout, stderr }) as unknown as typeof process
    const ended = start(fake)
    setTimeout(() => end === 'SIGINT' ? fake.emit('SIGINT') : fake[end].emit('error', new Error('EPIPE')), 200)
    t.equal(await ended, status, end)
  }
})
