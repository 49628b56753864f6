import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { writeFileSync } from 'node:fs'
import Fastify from 'fastify'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual, stripVTControlCharacters } from 'node:util'
import t from 'tap'
import { SEND_HELP } from '../../cli/send.js'
import { PROVIDERS, variantsOf } from '../../cli/providers.js'
import { VARIANTS, type Variant } from '../../cli/variants.js'
import { createScan } from '../support/canaries.js'
import { commandsIn, linesOf, run, serveExample } from '../support/command-line.js'
import { blocksOf, PAGES } from '../support/docs.js'
import { read } from '../support/project.js'
import { portOf, type Test } from '../support/host.js'
import { githubPlugin, keyedPlugin } from '../support/own-providers/several.js'

const SECRETS = {
  ALTDENTIFIER_SECRET: 'canary of altdentifier',
  AGHANIM_SECRET: 'canary of aghanim, long enough',
  IDENTITY_API_KEY: 'key-of-identity',
  IDENTITY_API_SECRET: Buffer.from('canary of identity, long enough').toString('base64'),
  HUMANDETECT_API_KEY: 'canary-key-of-humandetect',
  HUMANDETECT_TOKEN_SECRET: 'canary of humandetect tokens'
}
const { IDENTITY_API_KEY: _open, ...hidden } = SECRETS
const OWN_SECRET = 'canary of a provider of one\'s own'
const fileOf = (name: string) => fileURLToPath(new URL(`../support/own-providers/${name}.js`, import.meta.url))
const [GITHUB, STANDARD, SEVERAL, NO_PROVIDER] = ['github', 'standard-webhooks', 'several', 'mine'].map(fileOf) as
  [string, string, string, string]
const BROKEN = join(t.testdir({ 'broken.js': 'export const = 1' }), 'broken.js')
const scan = createScan(Object.values(hidden))
const NAMES = Object.keys(PROVIDERS)

/** Starts a server with this listener. */
async function serve (t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

const receive = (t: Test, status: number, headers = {}, body = '') => serve(t, (request, reply) => {
  request.resume().on('end', () => { reply.writeHead(status, headers).end(body) })
})

/** Expected status of the example server, independent of the expectations of the command line. */
function answersTo (provider: string, event: string, variant: Variant): [status: number, replayed: boolean][] {
  const taken = provider === 'aghanim' ? 200 : 204
  if (provider === 'humandetect-api') {
    if (variant === 'duplicate') return [[200, false], [200, false]]
    return [[variant === 'valid' ? 200 : 400, false]]
  }
  if (event === 'bot') return variant === 'duplicate' ? [[403, false], [403, false]] : [[403, false]]
  if (variant === 'valid') return [[taken, false]]
  if (variant !== 'duplicate') return [[403, false]]
  if (provider === 'humandetect') return [[taken, false], [403, false]]
  return [[taken, false], [taken, provider !== 'altdentifier' && event !== 'player.verify']]
}

t.test('every event of every provider, in every variant, has the expected answer, and no secret is shown', async (t) => {
  const { urlOf, lines } = await serveExample(t, SECRETS)
  const wrong: unknown[] = []
  let runs = 0
  for (const provider of NAMES) {
    for (const event of Object.keys(PROVIDERS[provider]!.events)) {
      for (const variant of variantsOf(PROVIDERS[provider]!)) {
        const argv = ['send', provider, '--event', event, '--variant', variant, '--url', urlOf(provider, event)]
        const told = lines.length
        const { status, stdout, stderr } = await run([...argv, '--json'], { env: SECRETS })
        const reached = lines.length > told || (provider === 'humandetect-api' && status === 0) // its 200 is not logged
        const full = await run(argv, { env: SECRETS, isTTY: true })
        const deliveries = linesOf(stdout).filter(({ type }) => type === 'delivery')
        const answers = answersTo(provider, event, variant)
        const seen = {
          statuses: [status, full.status],
          answers: deliveries.map((line) => [line['status'], line['headers']['idempotency-replayed'] === 'true']),
          expected: deliveries.map((line) => line['expected']),
          reached,
          full: stripVTControlCharacters(full.stdout).match(/^As expected: /gm)?.length,
          secrets: scan(stdout + stderr + full.stdout + full.stderr)
        }
        const right = {
          statuses: [0, 0], answers, expected: answers.map(() => true), reached: true, full: answers.length, secrets: []
        }
        if (!isDeepStrictEqual(seen, right)) wrong.push({ case: [provider, event, variant], seen, right })
        runs++
      }
    }
  }
  t.strictSame(wrong, [])
  t.equal(runs, 30 + 21 + 16 + 14 + 10)
})

t.test('without further options the demo secrets of the example server are used', async (t) => {
  const { urlOf } = await serveExample(t)
  for (const provider of NAMES) {
    const [event] = Object.keys(PROVIDERS[provider]!.events)
    t.equal((await run(['send', provider, '--url', urlOf(provider, event!)])).status, 0)
    t.equal((await run(['send', provider, '--url', urlOf(provider, event!)], { env: SECRETS })).status, 1)
  }
})

t.test('the default URLs are routes of the example server', async (t) => {
  const { app } = await serveExample(t)
  for (const provider of NAMES) {
    for (const event of Object.keys(PROVIDERS[provider]!.events)) {
      t.ok(app.hasRoute({ method: 'POST', url: PROVIDERS[provider]!.path(event) }), `${provider} ${event}`)
    }
  }
  t.match(await run(['send', 'aghanim', '--secret', 'x', '--help']), { status: 0, stdout: SEND_HELP })
  t.match(SEND_HELP, 'route of the example server on http://127.0.0.1:3000')
})

t.test('an option takes precedence over the environment', async (t) => {
  const { urlOf } = await serveExample(t, SECRETS)
  const { ALTDENTIFIER_SECRET: secret, IDENTITY_API_SECRET, IDENTITY_API_KEY } = SECRETS
  const altdentifier = ['send', 'altdentifier', '--url', urlOf('altdentifier', 'passed')]
  t.equal((await run([...altdentifier, '--secret', secret], { env: { ALTDENTIFIER_SECRET: 'another' } })).status, 0)
  const env = { IDENTITY_API_KEY: 'another', IDENTITY_API_SECRET }
  const identity = ['send', 'identity-validation', '--url', urlOf('identity-validation', 'session')]
  t.equal((await run(identity, { env })).status, 1)
  t.equal((await run([...identity, '--api-key', IDENTITY_API_KEY], { env })).status, 0)
  t.equal((await run([...identity, '--endpoint', '/behind/a/proxy'], { env: SECRETS })).status, 1)
})

t.test('a custom body is sent byte for byte', async (t) => {
  const bodies: Buffer[] = []
  const url = await serve(t, async (request, reply) => {
    bodies.push(Buffer.concat(await request.toArray()))
    reply.end()
  })
  const file = join(t.testdir(), 'body')
  const bytes = Buffer.from([0x7b, 0x0a, 0xff, 0x00, 0x7d])
  writeFileSync(file, bytes)
  t.equal((await run(['send', 'altdentifier', '--url', url, '--body', '{"OP": 5}', '--times', '2'])).status, 0)
  t.equal((await run(['send', 'aghanim', '--url', url, '--body', `@${file}`])).status, 0)
  t.strictSame(bodies, [Buffer.from('{"OP": 5}'), Buffer.from('{"OP": 5}'), bytes])
  await run(['send', 'altdentifier', '--url', url, '--body', '{"OP": 5}', '--variant', 'truncated'])
  await run(['send', 'altdentifier', '--url', url, '--body', '{"OP": 5}', '--variant', 'tampered'])
  t.strictSame(bodies.slice(3).map(String), ['{"OP', '{"OP#: 5}'])
})

t.test('a token is added to a custom body, about the identifier in it', async (t) => {
  const { origin, urlOf } = await serveExample(t)
  const body = ['--body', '{"email":"ada@example.com"}']
  const signup = ['send', 'humandetect', '--url', `${origin}/signup`, ...body]
  t.equal((await run([...signup, '--identifier', 'ada@example.com'])).status, 0)
  t.equal((await run([...signup, '--identifier', 'eve@example.com'])).status, 1)
  const own = ['send', 'humandetect', '--url', urlOf('humandetect', 'human')]
  t.equal((await run([...own, '--body', '{"identifier":"canary-1"}'])).status, 0)
  t.equal((await run([...own, '--identifier', 'canary-1'])).status, 0)
})

t.test('incorrect usage is one clear line, and exit status 2', async (t) => {
  const cases: [argv: string[], line: string | RegExp][] = [
    [[], 'fastify-verification: expected a command: send, doctor, list; see --help'],
    [['sned'], 'fastify-verification: expected a command: send, doctor, list; see --help'],
    [['send'], 'fastify-verification send: expected exactly one provider'],
    [['send', 'aghanim', 'altdentifier'], 'fastify-verification send: expected exactly one provider'],
    [['send', 'stripe'], 'fastify-verification send: unknown provider "stripe": expected one of aghanim, altdentifier, identity-validation, humandetect, humandetect-api'],
    [['send', 'a\nb'], /: unknown provider "a\\nb": expected one of/],
    [['send', 'aghanim', '--sercet=canary'], "fastify-verification send: Unknown option '--sercet'"],
    [['send', 'aghanim', '--secret'], /send: Option '--secret <value>' argument missing/],
    [['send', 'aghanim', '--secret', '-canary'], /send: Option '--secret' argument is ambiguous/],
    [['send', 'aghanim', '--json=yes'], /send: Option '--json' does not take an argument/],
    [['send', 'aghanim', '--event', 'passed'], 'fastify-verification send: unknown event of aghanim "passed": expected one of player.verify, item.add, order.paid'],
    [['send', 'aghanim', '--variant', 'late'], /: unknown variant "late": expected one of valid, tampered, .*, truncated\n$/],
    [['send', 'altdentifier', '--variant', 'expired'], 'fastify-verification send: altdentifier has no variant "expired", since it signs no time: expected one of valid, tampered, duplicate, wrong-key, truncated'],
    [['send', 'altdentifier', '--variant', 'future'], /has no variant "future", since it signs no time/],
    [['send', 'aghanim', '--variant', 'wrong-endpoint'], /has no variant "wrong-endpoint", since it signs no endpoint/],
    [['send', 'humandetect', '--variant', 'wrong-endpoint'], /has no variant "wrong-endpoint", since it signs no endpoint/],
    [['send', 'aghanim', '--api-key', 'x'], 'fastify-verification send: --api-key is for identity-validation, humandetect-api only'],
    [['send', 'aghanim', '--endpoint', '/x'], 'fastify-verification send: --endpoint is for identity-validation only'],
    [['send', 'aghanim', '--identifier', 'x'], 'fastify-verification send: --identifier is for humandetect, humandetect-api only'],
    [['send', 'aghanim', '--url', 'localhost:3000'], 'fastify-verification send: --url must be an http: or https: URL'],
    [['send', 'aghanim', '--url', 'nonsense'], 'fastify-verification send: --url must be an http: or https: URL'],
    [['send', 'aghanim', '--url', 'http://me:canary@127.0.0.1/'], 'fastify-verification send: --url must not contain a user name or password'],
    [['send', 'aghanim', '--url', 'http://me@127.0.0.1/'], 'fastify-verification send: --url must not contain a user name or password'],
    [['send', 'aghanim', '--url', 'http://:canary@127.0.0.1/'], 'fastify-verification send: --url must not contain a user name or password'],
    [['send', 'aghanim', '--secret', ''], 'fastify-verification send: the secret (--secret) must not be empty'],
    [['send', 'identity-validation', '--secret', 'canary!'], 'fastify-verification send: the secret (--secret) must be canonical base64'],
    [['send', 'humandetect', '--secret', 'canary'], 'fastify-verification send: the secret (--secret) must be at least 24 bytes long'],
    [['send', 'humandetect', '--identifier', 'x'.repeat(6000)], 'fastify-verification send: --identifier is too long'],
    [['send', 'humandetect', '--body', '{}'], 'fastify-verification send: --identifier is required, since the body has none'],
    [['send', 'humandetect', '--body', '[]'], 'fastify-verification send: --body must be a JSON object, to which the token is added'],
    [['send', 'identity-validation', '--api-key', 'a b'], 'fastify-verification send: the api-key must be visible ASCII without commas, up to 256 characters'],
    [['send', 'identity-validation', '--endpoint', 'https://x/'], 'fastify-verification send: --endpoint must be a path with an optional query'],
    [['send', '--provider', '/no/such/file.js'], 'fastify-verification send: --provider: cannot load "/no/such/file.js" (ERR_MODULE_NOT_FOUND)'],
    [['send', '--provider', BROKEN], `fastify-verification send: --provider: cannot load ${JSON.stringify(BROKEN)} (SyntaxError)`],
    [['send', 'aghanim', '--provider', GITHUB], 'fastify-verification send: expected exactly one provider'],
    [['send', '--provider', NO_PROVIDER], 'fastify-verification send: --provider: the file exports no plugin of createProvider with a scheme'],
    [['send', '--provider', SEVERAL], 'fastify-verification send: --provider: expected "#" and one of github, keyed after the file name'],
    [['send', '--provider', `${SEVERAL}#stripe`], 'fastify-verification send: --provider: expected "#" and one of github, keyed after the file name'],
    [['send', '--provider', GITHUB], 'fastify-verification send: --body is required, since the provider has no sample events'],
    [['send', '--provider', GITHUB, '--body', '{}'], 'fastify-verification send: --secret or GITHUB_SECRET is required'],
    [['send', '--provider', STANDARD, '--body', '{}', '--variant', 'wrong-key'], /no variant "wrong-key", since its secrets have a format of their own/],
    [['send', 'aghanim', '--body', ''], 'fastify-verification send: --body must not be empty'],
    [['send', 'aghanim', '--body', '@/no/such/file'], 'fastify-verification send: --body: cannot read "/no/such/file" (ENOENT)'],
    ...['0', '-1', '1.5', '1e3', 'many', '10000000'].flatMap((count): [string[], RegExp][] => [
      [['send', 'aghanim', `--times=${count}`], /send: --times must be a number from 1 to 9999999\n$/],
      [['send', 'aghanim', `--rate=${count}`], /send: --rate must be a number from 1 to 9999999\n$/]
    ]),
    [['list', 'aghanim'], 'fastify-verification list: expected no arguments'],
    [['list', '--all'], "fastify-verification list: Unknown option '--all'"]
  ]
  const wrong: unknown[] = []
  for (const [argv, line] of cases) {
    const { status, stdout, stderr } = await run(argv)
    const isLine = typeof line === 'string' ? stderr === `${line}\n` : line.test(stderr) && /^[^\n]+\n$/.test(stderr)
    if (status !== 2 || stdout !== '' || !isLine || stderr.includes('canary')) wrong.push({ argv, line, status, stdout, stderr })
  }
  t.strictSame(wrong, [])
  const { status, stderr } = await run(['send', 'identity-validation'], { env: { IDENTITY_API_SECRET: 'canary!' } })
  t.equal(status, 2)
  t.equal(stderr, 'fastify-verification send: the secret (IDENTITY_API_SECRET) must be canonical base64\n')
})

t.test('a provider of one\'s own is sent from the file that exports it', async (t) => {
  const app = Fastify()
  const handled: unknown[] = []
  const handleEvent = (event: unknown): void => { handled.push(event) }
  app.register(githubPlugin, { secret: OWN_SECRET, handleEvent })
  app.register(keyedPlugin, { secrets: { k1: OWN_SECRET }, handleEvent })
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const own = async (file: string, url: string, ...argv: string[]) => run(
    ['send', '--provider', file, '--url', `http://127.0.0.1:${portOf(app)}${url}`, '--body', '{"action":"x"}', ...argv],
    { env: { GITHUB_SECRET: OWN_SECRET, KEYED_SECRET: OWN_SECRET } })

  for (const variant of ['valid', 'duplicate', 'tampered', 'wrong-key', 'truncated']) {
    t.match(await own(GITHUB, '/github', '--variant', variant), { status: 0, stdout: `github event, ${variant}` }, variant)
  }
  t.match(await own(`${SEVERAL}#github`, '/github'), { status: 0 })
  for (const variant of ['valid', 'expired', 'future', 'wrong-endpoint', 'duplicate']) {
    t.match(await own(`${SEVERAL}#keyed`, '/keyed', '--api-key', 'k1', '--variant', variant), { status: 0 }, variant)
  }
  t.match(await own(`${SEVERAL}#keyed`, '/keyed', '--api-key', 'k2'), { status: 1, stdout: '401' })
  t.match(await own(`${SEVERAL}#keyed`, '/keyed'), { status: 2, stderr: 'the api-key must be visible ASCII' })
  t.ok(handled.length >= 2)
  t.strictSame(handled, handled.map(() => ({ action: 'x' })))
})

t.test('what is no misuse, but a mistake of this program, is not hidden', async (t) => {
  const url = await receive(t, 200)
  const io = { stdout: { write () { throw new TypeError('broken') } }, stderr: { write () {} } }
  const { main } = await import('../../cli/main.js')
  const signal = new AbortController().signal
  await t.rejects(main(['send', 'aghanim', '--url', url], { ...io, env: {}, signal }), new TypeError('broken'))
})

t.test('help, version and list', async (t) => {
  const { version } = JSON.parse(read('package.json'))
  t.strictSame(await run(['--version']), { status: 0, stdout: `${version}\n`, stderr: '' })
  const help = await run(['--help'])
  t.strictSame(help, await run(['-h']))
  t.match(help.stdout, /^usage: fastify-verification <command>.*\n {2}send .*\n {2}list /s)
  t.match((await run(['list', '-h'])).stdout, /^usage: fastify-verification list/)
  const listed = JSON.parse((await run(['list', '--json'])).stdout)
  t.strictSame(listed.map(({ provider }: { provider: string }) => provider), NAMES)
  const { stdout } = await run(['list'])
  for (const { provider, secret, events, variants } of listed) {
    for (const { name, about } of [...events, ...variants]) t.match(stdout, `    ${name.padEnd(16)}${about}\n`)
    t.match(stdout, `${provider} (secret: ${secret})`)
  }
  for (const variant of Object.keys(VARIANTS)) t.match(SEND_HELP, variant)
})

t.test('an unexpected answer is printed, with a hint, and exit status 1', async (t) => {
  const { urlOf } = await serveExample(t)
  const url = urlOf('aghanim', 'player.verify')
  const wrong = await run(['send', 'aghanim', '--url', url, '--secret', 'another secret'])
  t.equal(wrong.status, 1)
  t.match(wrong.stdout, /\n\n403 Forbidden in [\d.]+ ms\n {2}content-type: .*\n\n {2}\{"statusCode":403,.*\}\n\nNot as expected: aghanim player\.verify, valid: expected 2xx\nSee the log of the receiver for the reason\. Signed with --secret\.\n$/)
  const demo = await run(['send', 'altdentifier', '--url', url])
  t.match(demo.stdout, 'Signed with the demo secret.')
  const env = await run(['send', 'altdentifier', '--url', url], { env: { ALTDENTIFIER_SECRET: 'another secret' } })
  t.match(env.stdout, 'Signed with ALTDENTIFIER_SECRET.')

  for (const [status, variant] of [
    [200, 'tampered'], [204, 'expired'], [401, 'tampered'], [500, 'tampered'], [302, 'valid'], [404, 'valid'], [503, 'valid']
  ] as const) {
    const answering = await receive(t, status, { location: '/elsewhere', 'retry-after': '1' })
    const result = await run(['send', 'aghanim', '--url', answering, '--variant', variant])
    t.equal(result.status, 1, `${status} for ${variant}`)
    t.match(result.stdout, /Not as expected: .*\n$/)
    t.match(result.stdout, '\n  retry-after: 1\n  location: /elsewhere\n')
  }
  const unremembered = await receive(t, 200)
  const twice = await run(['send', 'identity-validation', '--url', unremembered, '--variant', 'duplicate'])
  t.equal(twice.status, 1)
  t.match(twice.stdout, /^The same delivery again:\n\n200 OK in .*\n\nNot as expected: .*, second attempt: expected 2xx with idempotency-replayed: true\n$/m)
})

t.test('an answer of any content cannot control a terminal, or fill it', async (t) => {
  const body = `\u001b]0;title\u0007\u009b31m\r\t\nåæø\u202e\u2066 ${'x'.repeat(5000)}`
  const url = await receive(t, 299, { location: Buffer.from('/\u009b31m', 'latin1').toString('latin1') }, body)
  const { stdout } = await run(['send', 'aghanim', '--url', url])
  const answer = stdout.slice(stdout.indexOf('\n299 in') + 1)
  t.notMatch(answer, /[^\P{Cc}\t\n]|\p{Cf}/u)
  t.match(answer, '\n\n  \\x1b]0;title\\x07\\x9b31m\\x0d\t\n  åæø\\u{202e}\\u{2066} xxx')
  const json = (await run(['send', 'aghanim', '--url', url, '--json'])).stdout
  t.notMatch(json, /[^\P{Cc}\n]|\p{Cf}/u)
  t.equal(JSON.parse(json.split('\n')[0]!).body, body)
  t.match(answer, /x\n {2}\.\.\. and 10\d\d more characters\n/)
})

t.test('colours are for terminals whose user wants them', async (t) => {
  for (const status of [200, 403, 404, 500]) {
    const url = await receive(t, status, { 'content-type': 'text/plain' })
    for (const argv of [['send', 'aghanim', '--url', url], ['send', 'aghanim', '--url', url, '--times', '2'], ['list']]) {
      const coloured = await run(argv, { isTTY: true })
      t.match(coloured.stdout, '\u001b[')
      for (const setting of [
        { isTTY: false }, { isTTY: true, env: { NO_COLOR: '1' } }, { isTTY: true, env: { TERM: 'dumb' } }
      ]) {
        t.notMatch((await run(argv, setting)).stdout, '\u001b')
      }
    }
    t.notMatch((await run(['send', 'aghanim', '--url', url, '--json'], { isTTY: true })).stdout, '\u001b')
  }
})

t.test('many deliveries end with a summary, and all are different', async (t) => {
  const { urlOf, lines } = await serveExample(t)
  const many = ['send', 'aghanim', '--event', 'item.add', '--url', urlOf('aghanim', 'item.add'), '--times', '60']
  const { status, stdout, stderr } = await run(many)
  t.equal(status, 0)
  t.match(stdout, /^aghanim item\.add, valid: 60 deliveries to http:.*\n\nsent {13}60 in [\d.]+ s, \d+ per second\nas expected {6}60\nnot as expected {2}0\nanswers {10}60 x 200\nlatency {10}p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms, max [\d.]+ ms\n$/)
  t.equal(stderr, '', 'no bar where there is no terminal')
  t.equal(new Set(lines.map(({ msg }) => msg).filter((msg) => msg.startsWith('Aghanim: item.add'))).size, 60)

  const printed = linesOf((await run([...many, '--json'])).stdout)
  const summary = printed.pop()!
  t.strictSame(printed.map((line) => line['number']).sort((one, other) => one - other), Array.from({ length: 60 }, (_, i) => i + 1))
  t.equal(new Set(printed.map((line) => line['request'].body)).size, 60)
  t.match(summary, { type: 'summary', sent: 60, expected: 60, unexpected: 0, answers: { 200: 60 } })
  const durations = printed.map((line): number => line['duration']).sort((one, other) => one - other)
  t.strictSame(summary['latency'], { p50: durations[29], p95: durations[56], p99: durations[59], max: durations[59] })
  t.ok(Math.abs(60 / summary['perSecond'] - summary['seconds']) < 0.001, 'seconds are rounded')
})

t.test('many deliveries of each provider are distinct, with duplicates in pairs', async (t) => {
  const { urlOf } = await serveExample(t)
  for (const provider of NAMES) {
    for (const [event, { again }] of Object.entries(PROVIDERS[provider]!.events)) {
      const argv = ['send', provider, '--event', event, '--url', urlOf(provider, event), '--times', '5']
      t.equal(new Set(linesOf((await run([...argv, '--json'])).stdout).map((line) => line['request']?.body)).size, 6, event)
      const { status, stdout } = await run([...argv, '--variant', 'duplicate'])
      t.equal(status, 0, `${provider} ${event}: ${again}`)
      t.match(stdout, 'sent             10 in')
    }
  }
})

t.test('for many deliveries, the first unexpected answer and each failure are shown once', async (t) => {
  let asked = 0
  const url = await serve(t, (request, reply) => {
    const nth = asked++
    if (nth % 3 === 0) request.socket.destroy()
    else reply.writeHead(nth % 3 === 1 ? 404 : 200).end()
  })
  const { status, stdout, stderr } = await run(['send', 'aghanim', '--url', url, '--times', '30'], { isTTY: true })
  const text = stripVTControlCharacters(stdout)
  t.equal(status, 1)
  t.equal(text.match(/^404 Not Found in/gm)?.length, 1)
  t.equal(text.match(/^Not as expected/gm)?.length, 1)
  t.match(text, /^answers {10}10 x 200, 10 x 404, 10 x no response$/m)
  t.match(text, /^not as expected {2}20$/m)
  t.equal(stderr.match(/connection closed unexpectedly \((?:UND_ERR_SOCKET|ECONNRESET)\)\n/g)?.length, 1)
  const none = await receive(t, 500)
  t.match((await run(['send', 'aghanim', '--url', none, '--times', '3', '--json'])).stdout, /"answers":\{"500":3\}/)
})

type Ran = Awaited<ReturnType<typeof run>>

t.test('a bar is drawn on a terminal, and removed at the end', async (t) => {
  const url = await receive(t, 200)
  const argv = ['send', 'aghanim', '--url', url, '--times', '8', '--rate', '20']
  const [{ stderr }, dumb, plain] = await Promise.all(
    [{}, { TERM: 'dumb' }, { NO_COLOR: '1' }].map((env) => run(argv, { isTTY: true, env }))) as [Ran, Ran, Ran]
  const drawn = stderr.split('\r\u001b[K')
  t.ok(drawn.length > 3, 'more than once')
  for (const bar of drawn.slice(1, -1)) t.match(bar, /^\[=* *\] [1-8] of 8$/)
  t.ok(drawn.slice(1, -1).every((bar) => bar.indexOf(']') === 31))
  t.equal(drawn.at(-1), '')
  t.equal(dumb.stderr, '')
  t.match(plain.stderr, '] 1 of 8', 'a bar has no colour')
})

t.test('the rate is not exceeded', async (t) => {
  const arrivals: number[] = []
  const url = await serve(t, (_request, reply) => {
    arrivals.push(performance.now())
    reply.end()
  })
  const start = performance.now()
  t.equal((await run(['send', 'aghanim', '--url', url, '--times', '11', '--rate', '40'])).status, 0)
  t.equal(arrivals.length, 11)
  // Node's timers may fire a millisecond early.
  for (const [index, arrival] of arrivals.entries()) t.ok(arrival - start >= index * 25 - 2, `the one at ${index * 25} ms`)
})

t.test('eight deliveries at a time, over kept-alive connections', async (t) => {
  const [sockets, open] = [new Set<unknown>(), { now: 0, most: 0 }]
  const url = await serve(t, async (request, reply) => {
    sockets.add(request.socket)
    open.most = Math.max(open.most, ++open.now)
    await delay(2)
    open.now--
    reply.end()
  })
  t.equal((await run(['send', 'altdentifier', '--url', url, '--times', '100'])).status, 0)
  t.equal(open.most, 8)
  t.equal(sockets.size, 8)
})

t.test('ended early, it prints the results so far', async (t) => {
  const stop = new AbortController()
  let asked = 0
  const url = await serve(t, (_request, reply) => {
    if (++asked > 20) return asked === 28 ? stop.abort() : undefined
    reply.end()
  })
  const stopped = await run(['send', 'aghanim', '--url', url, '--times', '1000', '--json'], { signal: stop.signal })
  t.match(linesOf(stopped.stdout).at(-1), { type: 'summary', sent: 20, expected: 20 })
  t.equal(stopped.status, 0)
  t.equal(stopped.stderr, '')

  const aborted = await run(['send', 'aghanim', '--url', url, '--times', '5'], { signal: AbortSignal.abort() })
  t.equal(aborted.status, 1)
  t.match(aborted.stdout, /sent {13}0 in .*answers {10}none\n$/s)
  const waiting = new AbortController()
  const quick = await receive(t, 200)
  const start = performance.now()
  setTimeout(() => waiting.abort(), 50)
  const slow = await run(['send', 'aghanim', '--url', quick, '--times', '60', '--rate', '1'], { signal: waiting.signal })
  t.match(slow.stdout, /^sent {13}\d in/m)
  t.ok(performance.now() - start < 30_000, 'its pauses end as well')
})

t.test('a failed connection is one line', async (t) => {
  const nowhere = 'http://127.0.0.1:1/'
  const refused = await run(['send', 'aghanim', '--url', nowhere])
  t.equal(refused.status, 1)
  t.equal(refused.stderr, 'http://127.0.0.1:1: connection refused (ECONNREFUSED)\n')
  const many = await run(['send', 'aghanim', '--url', nowhere, '--times', '20', '--variant', 'duplicate'])
  t.equal(many.stderr, refused.stderr)
  t.match(many.stdout, /^answers {10}20 x no response\n$/m)
  t.notMatch(many.stdout, 'latency')
  t.match(linesOf((await run(['send', 'aghanim', '--url', nowhere, '--json'])).stdout), [
    { type: 'delivery', failure: 'http://127.0.0.1:1: connection refused (ECONNREFUSED)', expected: false },
    { type: 'summary', sent: 1, unexpected: 1, answers: { none: 1 } }
  ])
  const plain = await receive(t, 200)
  const tls = await run(['send', 'aghanim', '--url', plain.replace('http:', 'https:')])
  t.match(tls.stderr, /^https:.*: the server does not support TLS \(ERR_SSL_WRONG_VERSION_NUMBER\)\n$/)
  const endless = await receive(t, 200, {}, 'x'.repeat(1_048_577))
  const long = await run(['send', 'aghanim', '--url', endless])
  t.match(long.stderr, /^http:.*: the response is larger than 1 MiB \(UND_ERR_RES_EXCEEDED_MAX_SIZE\)\n$/)
})

const RUN_ELSEWHERE = 'docs/signature-doctor.md' // run by the suite about the doctor

for (const page of PAGES.filter((page) => page !== RUN_ELSEWHERE)) {
  const script = blocksOf(read(page), 'sh').filter((block) => block.includes('npx fastify-verification')).join('')
  if (script === '') continue
  t.test(`the commands in ${page} have the described results`, async (t) => {
    const commands = await commandsIn(script)
    t.equal(commands.length, script.match(/^npx /gm)!.length)
    const { origin, urlOf } = await serveExample(t)
    for (const command of commands) {
      const argv = command.map((argument) => argument.replace('http://127.0.0.1:3000', origin))
      if (argv[0] === 'send' && !argv.includes('--url')) {
        const provider = argv[1]!
        const events = Object.keys(PROVIDERS[provider]!.events)
        const event = argv.includes('--event') ? argv[argv.indexOf('--event') + 1]! : events[0]!
        argv.push('--url', urlOf(provider, event))
      }
      const { status, stderr } = await run(argv)
      t.equal(status, 0, argv.join(' '))
      t.equal(stderr, '')
    }
  })
}

t.test('docs/command-line.md lists everything there is', async (t) => {
  const text = read('docs/command-line.md')
  for (const provider of NAMES) {
    const row = text.split('\n').find((line) => line.startsWith(`| \`${provider}\``))!
    const [, , events, secret] = row.split('|').map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name))
    t.strictSame(events, Object.keys(PROVIDERS[provider]!.events))
    t.strictSame(secret, [PROVIDERS[provider]!.secretName])
  }
  const rows = text.slice(text.indexOf('| variant |'), text.indexOf('## For scripts')).split('\n')
  const variants = rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name!))
  t.strictSame(variants.sort(), Object.keys(VARIANTS).sort())
  const options = new Set([...text.matchAll(/--[a-z]+(?:-[a-z]+)*/g)].map(([option]) => option))
  t.ok(options.size > 8)
  for (const option of options) t.match(SEND_HELP, `  ${option} `, option)
})
