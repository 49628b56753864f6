import { execFile, spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { signAghanim, signAltdentifier, signIdentityValidation } from '../../plugins/index.js'
import { MISTAKES, say } from '../../plugins/lib/doctor/mistakes.js'
import { DEMO } from '../../cli/demo.js'
import { DOCTOR_HELP } from '../../cli/doctor.js'
import { run, serveExample } from '../support/command-line.js'
import { API_KEY, API_SECRET, NOW, SECRET, SESSIONS } from '../support/deliveries.js'
import { githubPlugin, keyedPlugin } from '../support/own-providers/several.js'
import { stripePlugin } from '../support/own-providers/stripe.js'
import { bundle, PLAIN_NODE } from '../support/programs.js'
import { read } from '../support/project.js'
import { cpuTime } from '../support/waiting.js'

const BODY = '{"event_id":"e-1","name":"it\'s"}'
const AGHANIM = { AGHANIM_SECRET: SECRET }
const IDENTITY = { IDENTITY_API_SECRET: API_SECRET }
const HIDDEN = [SECRET, API_SECRET, ...Object.values(DEMO).filter((text) => text !== DEMO.IDENTITY_API_KEY)]

const program = join(t.testdir(), 'cli.mjs')
await bundle('cli/main.ts', program)
/** Arguments of `env` that run the command as its user does, without the secret of the person who runs the tests. */
const COMMAND = ['-u', 'ALTDENTIFIER_SECRET', ...PLAIN_NODE, program]

/** Runs the doctor, and fails if its output contains a secret, or anything that could be a signature. */
async function examine (argv: readonly string[], env: Record<string, string> = AGHANIM) {
  const { status, stdout, stderr } = await run(['doctor', ...argv], { env })
  const shown = stdout + stderr
  if (HIDDEN.some((secret) => shown.includes(secret)) || /[0-9a-f]{32}|[A-Za-z0-9+/_-]{42}/i.test(shown)) {
    throw new Error(`a secret or a signature was shown: ${shown}`)
  }
  return { status, stdout, stderr }
}

const linesOf = (headers: object) => Object.entries(headers).map(([name, value]) => `${name}: ${value}\n`).join('')
const pasteOf = (headers: object, target = '/webhooks/aghanim') => [
  '*   Trying 127.0.0.1:3000...', `> POST ${target} HTTP/1.1`, '> Host: 127.0.0.1:3000', '> User-Agent: curl/8.14.1',
  ...Object.entries(headers).map(([name, value]) => `> ${name}: ${value}`), '>', '} [32 bytes data]',
  '< HTTP/1.1 403 Forbidden', '< content-type: application/json; charset=utf-8', '<'
].join('\n')

const signed = signAghanim({ secret: SECRET, body: BODY, timestamp: NOW })
const SIGNATURE = 'x-aghanim-signature'
const base64 = { ...signed, [SIGNATURE]: Buffer.from(signed[SIGNATURE], 'hex').toString('base64') }
const invalid = (reason: string, diagnosis: string, from = 'AGHANIM_SECRET') =>
  `The delivery is not authentic (${reason}), checked with ${from}.\nLikely cause: ${diagnosis}.\n`

/** Stops the clock of the command line until the test ends. */
function stopClock (test: Pick<typeof t, 'intercept'>, seconds: number) {
  test.intercept(Date, 'now', { value: () => seconds * 1000 })
}

t.test('headers and body from files', async (t) => {
  stopClock(t, NOW)
  const dir = t.testdir({
    body: BODY,
    lines: linesOf(signed),
    json: JSON.stringify({ ...signed, 'X-Many': ['a', 'b'] }),
    message: `POST /webhooks/aghanim HTTP/1.1\r\n${linesOf(signed).replaceAll('\n', '\r\n')}\r\n${BODY}`,
    unix: `${linesOf(signed)}\n${BODY}`,
    wrong: linesOf(base64),
    twice: linesOf(signed) + linesOf(signed),
    altered: BODY.replace('e-1', 'e-2'),
    tail: `${BODY}\n`
  })
  const valid = { status: 0, stdout: 'The signature is valid, checked with AGHANIM_SECRET.\n', stderr: '' }
  t.strictSame(await examine(['aghanim', '--headers', `${dir}/lines`, '--body', `${dir}/body`]), valid)
  t.strictSame(await examine(['aghanim', '--headers', `${dir}/json`, '--body', `${dir}/body`]), valid)
  t.strictSame(await examine(['aghanim', '--headers', `${dir}/message`]), valid)
  t.strictSame(await examine(['aghanim', '--headers', `${dir}/unix`]), valid)
  const cases: [args: string[], reason: string, diagnosis: string][] = [
    [['--headers', `${dir}/wrong`, '--body', `${dir}/body`], 'malformed_header', say('base64ForHex')],
    [['--headers', `${dir}/twice`, '--body', `${dir}/body`], 'malformed_header',
      `${say('repeated', SIGNATURE)}, and ${say('repeated', `${SIGNATURE}-timestamp`)}`],
    [['--headers', `${dir}/lines`, '--body', `${dir}/altered`], 'mismatch', 'no known mistake'],
    [['--headers', `${dir}/message`, '--body', `${dir}/tail`], 'mismatch',
      say('body', 'the received body without surrounding white space', BODY.length)]
  ]
  for (const [args, reason, diagnosis] of cases) {
    t.strictSame(await examine(['aghanim', ...args]), { status: 1, stdout: invalid(reason, diagnosis), stderr: '' })
  }
  t.match(await examine(['aghanim', '--headers', `${dir}/lines`, '--body', `${dir}/body`, '--secret', `${SECRET}2`]), {
    status: 1, stdout: invalid('mismatch', 'no known mistake', '--secret')
  })
  t.match(await examine(['aghanim', '--headers', `${dir}/lines`, '--body', `${dir}/body`], {}), {
    status: 1, stdout: invalid('mismatch', 'no known mistake', 'the demo secret')
  })
})

t.test('output of curl -v: the last of several requests, with or without the command', async (t) => {
  stopClock(t, NOW)
  const command = `$ curl -v http://127.0.0.1:3000/webhooks/aghanim --data-binary '${BODY.replace("'", "'\\''")}' \\\n`
  const dir = t.testdir({
    body: BODY,
    alone: pasteOf(signed).replaceAll('\n', '\r\n'),
    command: command + pasteOf(signed),
    twice: `${pasteOf(base64)}\n${command}${pasteOf(signed)}`,
    http2: pasteOf(base64).replace('HTTP/1.1', 'HTTP/2'),
    file: command.replace(/'.*'/, "'@body.json'") + pasteOf(signed)
  })
  for (const [file, ...args] of [['alone', '--body', `${dir}/body`], ['command'], ['twice']] as const) {
    t.equal((await examine(['aghanim', '--curl', `${dir}/${file}`, ...args])).status, 0, file)
  }
  t.match(await examine(['aghanim', '--curl', `${dir}/http2`, '--body', `${dir}/body`]), {
    status: 1, stdout: invalid('malformed_header', say('base64ForHex'))
  })
  t.match(await examine(['aghanim', '--curl', `${dir}/file`]), { status: 2, stderr: /the capture has no body/ })
})

t.test('the real curl, piped to the standard input of a real process', async (t) => {
  const { urlOf } = await serveExample(t)
  const mac = createHmac('md5', DEMO.ALTDENTIFIER_SECRET).update('{"OP":5}').digest('base64')
  const curl = ['-sv', urlOf('altdentifier', 'test'), '-H', 'Content-Type: application/json', '-H', `Digest: MD5=${mac}`]
  const { stdout, stderr } = await promisify(execFile)('curl', [...curl, '--data-binary', '{"OP":5}'])
  t.match(stdout, 'FST_VERIFICATION_FORBIDDEN')

  const dir = t.testdir({ body: '{"OP":5}' })
  const argv = ['doctor', 'altdentifier', '--curl', '-', '--body', `${dir}/body`, '--json']
  const child = spawn('env', [...COMMAND, ...argv], { stdio: ['pipe', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (chunk) => { said += chunk })
  child.stdin.end(stderr)
  t.strictSame(await once(child, 'close'), [1, null])
  t.strictSame(JSON.parse(said), {
    provider: 'altdentifier',
    secret: 'the demo secret',
    valid: false,
    reason: 'malformed_header',
    diagnosis: say('base64ForHex'),
    notes: []
  })
})

t.test('every provider: valid, and with a mistake', async (t) => {
  stopClock(t, NOW)
  const endpoint = `${SESSIONS}?tenant=a`
  const delivery = { apiKey: API_KEY, secret: API_SECRET, endpoint, body: BODY, timestamp: NOW }
  const identity = signIdentityValidation(delivery)
  const short = signIdentityValidation({ ...delivery, endpoint: SESSIONS })
  const { 'x-api-key': _left, ...nameless } = identity
  const digest = signAltdentifier({ secret: SECRET, body: BODY })
  const { [SIGNATURE]: _out, ...unsigned } = signed
  const dir = t.testdir({
    body: BODY,
    identity: pasteOf(identity, endpoint),
    lines: linesOf(identity),
    short: linesOf(short),
    nameless: linesOf(nameless),
    digest: linesOf(digest),
    bare: linesOf({ ...digest, digest: digest.digest.slice(4) }),
    unsigned: linesOf(unsigned)
  })
  const of = (file: string, ...args: string[]) =>
    [file === 'identity' ? '--curl' : '--headers', `${dir}/${file}`, '--body', `${dir}/body`, ...args]
  type Case = [args: string[], env: Record<string, string>, status: number, diagnosis?: string]
  const cases: Case[] = [
    [['identity-validation', ...of('identity')], IDENTITY, 0],
    [['identity-validation', ...of('lines', '--endpoint', endpoint)], IDENTITY, 0],
    [['identity-validation', ...of('lines', '--endpoint', endpoint)], { ...IDENTITY, IDENTITY_API_KEY: API_KEY }, 0],
    [['identity-validation', ...of('short', '--endpoint', endpoint)], IDENTITY, 1, say('query', 'x-endpoint')],
    [['identity-validation', ...of('identity', '--api-key', 'second')], IDENTITY, 1,
      `${say('unknownKey', 'x-api-key')}, and ${say('otherApiKey', 'second')}`],
    [['identity-validation', ...of('nameless', '--endpoint', endpoint)], IDENTITY, 1, say('missing', 'x-api-key')],
    [['identity-validation', ...of('nameless', '--endpoint', endpoint, '--api-key', 'k')], IDENTITY, 1,
      say('missing', 'x-api-key')],
    [['altdentifier', ...of('digest')], { ALTDENTIFIER_SECRET: SECRET }, 0],
    [['altdentifier', ...of('bare')], { ALTDENTIFIER_SECRET: SECRET }, 1, say('noPrefix', 'MD5=')],
    [['aghanim', ...of('unsigned')], AGHANIM, 1, say('missing', SIGNATURE)]
  ]
  for (const [args, env, status, diagnosis] of cases) {
    const { stdout, ...result } = await examine([...args, '--json'], env)
    t.strictSame(result, { status, stderr: '' }, args.join(' '))
    const found = JSON.parse(stdout)
    t.strictSame([found.valid, found.diagnosis], [status === 0, diagnosis], args.join(' '))
  }
})

t.test('unusual parts without effect are mentioned as well', async (t) => {
  const withLength = (length: number) => `${linesOf({ ...signed, 'Content-Length': length })}\n${BODY}`
  const dir = t.testdir({ all: withLength(BODY.length + 1), right: withLength(BODY.length) })
  const told = async (seconds: number, file = 'right') => {
    stopClock(t, seconds)
    const { status, stdout } = await examine(['aghanim', '--headers', `${dir}/${file}`])
    t.equal(status, 0)
    return stdout.split('\n').slice(1, -1)
  }
  const length = `Note: Content-Length is "${BODY.length + 1}", but the given body has ${BODY.length} bytes.`
  t.strictSame(await told(NOW, 'all'), [length])
  t.strictSame(await told(NOW), [])
  t.strictSame(await told(NOW + 300), [])
  t.strictSame(await told(NOW + 301), ['Note: the timestamp is now 301 seconds old; the default tolerance of a server is 300.'])
  t.strictSame(await told(NOW - 60), [])
  t.strictSame(await told(NOW - 61), ['Note: the timestamp is 61 seconds in the future; the default tolerance of a server is 60.'])
})

t.test('incorrect usage is a one-line error, with exit status 2', async (t) => {
  const dir = t.testdir({
    body: BODY, lines: linesOf(signed), json: '{"a":', nothing: 'no request here', junk: 'no header here\n', empty: ''
  })
  const headers = ['--headers', `${dir}/lines`]
  const all = [...headers, '--body', `${dir}/body`]
  const cases: [args: string[], message: string | RegExp, env?: Record<string, string>][] = [
    [[], 'expected exactly one provider'],
    [['aghanim', 'altdentifier'], 'expected exactly one provider'],
    [['humandetect'], 'HumanDetect has no signatures: its service verifies tokens'],
    [['stripe'], 'unknown provider "stripe": expected one of aghanim, altdentifier, identity-validation'],
    [['aghanim', '--colour'], /^Unknown option '--colour'/],
    [['aghanim'], 'expected either --curl or --headers'],
    [['aghanim', ...headers, '--curl', `${dir}/lines`], 'expected either --curl or --headers'],
    [['aghanim', ...headers], 'the capture has no body: --body is required'],
    [['aghanim', ...headers, '--body', '/no/such/file'], '--body: cannot read "/no/such/file" (ENOENT)'],
    [['aghanim', '--headers', `${dir}/json`], '--headers: invalid JSON'],
    [['aghanim', '--headers', `${dir}/junk`], '--headers: invalid header line: expected "Name: value"'],
    [['aghanim', '--curl', `${dir}/nothing`], '--curl: found no line like "> POST /path HTTP/1.1"'],
    [['aghanim', ...all, '--endpoint', '/x'], '--endpoint is for identity-validation only'],
    [['aghanim', ...all, '--api-key', 'x'], '--api-key is for identity-validation, humandetect-api only'],
    [['identity-validation', ...all], '--endpoint is required: the public path and query'],
    [['identity-validation', ...all, '--endpoint', 'https://x.example/'],
      '--endpoint is required: the public path and query'],
    [['aghanim', ...all, '--secret', 'short'], 'the secret (--secret) must be at least 24 bytes long'],
    [['aghanim', ...all], 'the secret (AGHANIM_SECRET) must not end with a line break: trim the content of a file', { AGHANIM_SECRET: `${SECRET}\n` }]
  ]
  for (const [args, message, env] of cases) {
    const { status, stdout, stderr } = await examine(args, env)
    t.equal(status, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, /^fastify-verification doctor: [^\n]+\n$/)
    t.match(stderr.slice('fastify-verification doctor: '.length, -1), message)
  }
  t.match(await examine(['aghanim', '--headers', `${dir}/empty`, '--body', `${dir}/body`]), {
    status: 1, stdout: `Likely cause: ${say('missing', SIGNATURE)}`
  })
})

t.test('large captures', async (t) => {
  stopClock(t, NOW)
  const long = JSON.stringify({ padding: "it's".repeat(100_000) })
  const headers = signAghanim({ secret: SECRET, body: long, timestamp: NOW })
  const quoted = `curl -v -d '${long.replaceAll("'", "'\\''")}' https://example.com`
  const dir = t.testdir({
    curl: `${quoted}\n${pasteOf(headers)}`,
    open: `curl -d '${'x'.repeat(1_000_000)}\n${pasteOf(headers)}`,
    spaces: `${linesOf(headers)}x-long: ${' '.repeat(1_000_000)}x\n`,
    body: long,
    huge: Buffer.alloc(2 ** 24 + 1, 'x'),
    limit: Buffer.alloc(2 ** 24, 'x')
  })
  const since = cpuTime()
  t.match(await examine(['aghanim', '--curl', `${dir}/curl`]), { status: 0, stdout: 'The signature is valid' })
  t.match(await examine(['aghanim', '--curl', `${dir}/open`]), { status: 2, stderr: 'the capture has no body' })
  t.match(await examine(['aghanim', '--headers', `${dir}/spaces`, '--body', `${dir}/body`]), { status: 0 })
  for (const args of [['--curl', `${dir}/huge`], ['--headers', `${dir}/huge`], ['--headers', `${dir}/spaces`, '--body', `${dir}/huge`]]) {
    const { status, stderr } = await examine(['aghanim', ...args])
    t.strictSame([status, stderr.trim()], [2, `fastify-verification doctor: ${args.at(-2)}: ${JSON.stringify(`${dir}/huge`)} is larger than 16 MiB: extract the request first`])
  }
  t.match(await examine(['aghanim', '--headers', `${dir}/limit`, '--body', `${dir}/body`]), { status: 2, stderr: 'invalid header line' })
  t.ok(cpuTime() - since < 5000, `${cpuTime() - since} ms`)
})

t.test('no character of a capture controls the terminal', async (t) => {
  stopClock(t, NOW)
  const acting = '\x1b[31m\u202e\u2066\x9b'
  const identity = signIdentityValidation({ apiKey: 'k', secret: API_SECRET, endpoint: SESSIONS, body: BODY, timestamp: NOW })
  const dir = t.testdir({
    headers: JSON.stringify({ ...signed, 'content-length': acting, [`x-signature-${acting}`]: signed[SIGNATURE] }),
    identity: JSON.stringify({ ...identity, 'x-api-key': acting }),
    body: BODY
  })
  for (const args of [
    ['aghanim', '--headers', `${dir}/headers`], ['identity-validation', '--headers', `${dir}/identity`, '--endpoint', SESSIONS],
    ['aghanim', '--headers', `/no/such/${acting}`]
  ]) {
    for (const json of [[], ['--json']]) {
      const { stdout, stderr } = await examine([...args, '--body', `${dir}/body`, ...json], { ...AGHANIM, ...IDENTITY })
      t.notMatch(stdout + stderr, /[^\P{Cc}\n]|[\p{Cf}\p{Cs}]/u, args.join(' '))
    }
  }
})

t.test('help', async (t) => {
  for (const option of ['--help', '-h']) {
    t.strictSame(await examine([option]), { status: 0, stdout: DOCTOR_HELP, stderr: '' })
  }
})

t.test('deliveries of a provider of one\'s own', async (t) => {
  stopClock(t, NOW)
  const fileOf = (name: string) => fileURLToPath(new URL(`../support/own-providers/${name}.js`, import.meta.url))
  const env = { GITHUB_SECRET: SECRET, KEYED_SECRET: SECRET, STRIPE_SECRET: SECRET }
  const values = { secret: SECRET, keyId: 'k1', endpoint: '/in', timestamp: NOW }
  const dir = t.testdir({
    body: BODY,
    github: linesOf(githubPlugin.sign({ secret: SECRET, body: BODY })),
    newline: linesOf(githubPlugin.sign({ secret: SECRET, body: `${BODY}\n` })),
    keyed: linesOf(keyedPlugin.sign({ ...values, body: BODY })),
    stripe: linesOf(stripePlugin.sign({ secret: SECRET, body: `${BODY}\n`, timestamp: NOW }))
  })
  const own = (file: string, headers: string, ...more: string[]) =>
    examine(['--provider', file, '--headers', `${dir}/${headers}`, '--body', `${dir}/body`, ...more], env)
  const [github, several, stripe] = [fileOf('github'), `${fileOf('several')}#keyed`, fileOf('stripe')]

  t.match(await own(github, 'github'), { status: 0, stdout: 'The signature is valid, checked with GITHUB_SECRET.\n' })
  t.match(await own(github, 'newline'), { status: 1, stdout: /Likely cause: the signed body .*line break/ })
  t.match(await own(several, 'keyed', '--endpoint', '/in'), { status: 0 })
  t.match(await own(several, 'keyed', '--endpoint', '/in', '--api-key', 'k2'), { status: 1, stdout: 'unknown_key' })
  t.match(await own(stripe, 'stripe'), { status: 1, stdout: 'mistakes are searched only in signatures of' })
  t.match(await examine(['--provider', github, 'aghanim'], env), { status: 2, stderr: 'expected exactly one provider' })
  t.match(await examine(['--provider', github, '--headers', `${dir}/github`, '--body', `${dir}/body`], {}), {
    status: 2, stderr: '--secret or GITHUB_SECRET is required'
  })
})

t.test('the documentation: its command does what it shows, its tables are whole', async (t) => {
  const text = read('docs/signature-doctor.md')
  const [, script, shown] = /```sh\n(.*?)```\n\n```\n(.*?)```/s.exec(text)!
  const npx = `npx () { shift; env ${COMMAND.map((word) => `'${word}'`).join(' ')} "$@"; }`
  const { code, stdout } = await promisify(execFile)('bash', ['-c', `${npx}\n${script}`], {
    cwd: t.testdir(), encoding: 'utf8'
  }).catch((error) => error)
  t.strictSame([code, stdout], [1, shown])

  const [options, mistakes] = [...text.matchAll(/^\|.*\|\n\|-.*\n((?:\|.*\|\n)+)/gm)]
    .map(([, rows]) => rows!.trim().split('\n').map((row) => row.split(' | ').map((cell) => cell.replace(/^\|\s?|\s\|$/g, ''))))
  t.strictSame(options!.map(([option]) => option!.replaceAll('`', '')),
    [...DOCTOR_HELP.matchAll(/^ {2}(?:-h, )?(--[\w-]+)/gm)].map(([, option]) => option).filter((option) => option !== '--help'))
  t.strictSame(mistakes!.map((cells) => cells.at(-1)), Object.values(MISTAKES).map((text) => text.replaceAll('%s', '…')))
})
