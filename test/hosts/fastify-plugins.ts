import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { gunzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { signAghanim, signAltdentifier } from '../../plugins/index.js'
import { shellEnv } from '../support/consumer.js'
import { SECRET } from '../support/deliveries.js'
import { blocksOf, sectionOf } from '../support/docs.js'
import { createKit, lacksRegistry } from '../support/kit.js'
import { pathOf, read } from '../support/project.js'
import { freePort } from '../support/redis.js'
import { until } from '../support/waiting.js'

// Projects that use other plugins of Fastify, built from the examples of docs/other-plugins.md and
// docs/errors-and-traces.md: fastify-cli 8, autoload 6, rate-limit 11, response-validation 3, middie 9,
// functions-framework 5, Sentry 11.

t.setTimeout(280_000)

const PAGE = read('docs/other-plugins.md')
const blocksIn = (page: string, heading: string, language = 'js') => blocksOf(sectionOf(page, heading), language)
const [RATE_LIMIT] = blocksIn(PAGE, '## Rate limits') as [string]
const [AUTH_HOOK] = blocksIn(PAGE, '## Authentication of your own') as [string]
const [FUNCTION, MIDDIE] = blocksIn(PAGE, '## Body parsers') as [string, string]
const [AUTOLOADED] = blocksIn(PAGE, '## fastify-cli and @fastify/autoload', 'ts') as [string]
const [EXPORTED, GENERATED_TEST] = blocksIn(PAGE, '## fastify-cli and @fastify/autoload') as [string, string]
const ERRORS = read('docs/errors-and-traces.md')
const [INSTRUMENT, SENTRY] = blocksIn(ERRORS, '## Sentry') as [string, string]
const [OTEL] = blocksIn(ERRORS, '## OpenTelemetry') as [string]

const env = { ...shellEnv, AGHANIM_SECRET: SECRET, ALTDENTIFIER_SECRET: SECRET, NODE_ENV: 'test' }
const BODY = JSON.stringify({ event_type: 'player.verify', event_id: 'e-1', event_data: { player_id: 'p-canary' } })
const REPLY = { player_id: 'p-canary', name: 'Ada', attributes: { level: 1 }, country: 'US' }
const sign = (body = BODY) => signAghanim({ secret: SECRET, body })
const post = (url: string, headers: Record<string, string>, body = BODY) => fetch(url, { method: 'POST', headers, body })

/** Starts a program, which ends with the test, and resolves once it accepts connections at `port`. */
async function start (
  test: Test, cwd: string, port: number, args: readonly string[], more: Record<string, string> = {}
): Promise<string> {
  const child = spawn(process.execPath, args, { cwd, env: { ...env, ...more }, stdio: ['ignore', 'pipe', 'pipe'] })
  test.teardown(() => end(child))
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { said += chunk })
  const url = `http://127.0.0.1:${port}`
  const accepts = () => fetch(url).then((reply) => reply.text(), () => undefined)
  while (await accepts() === undefined) {
    if (child.exitCode !== null) throw new Error(`${args.join(' ')} has ended:\n${said}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return url
}

async function end (child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

/** Turns a server of the page into a module that `deliver.js` can import. */
const importable = (block: string) => block.replace('await app.listen({ port: 3000 })', 'export { app }')

/** Returns a server with the webhook, registered before or after these lines. */
function serverWith (lines: string, order: 'before' | 'after' = 'before'): string {
  const plugin = `app.register(aghanimPlugin, {
    prefix: '/webhooks', secret: process.env.AGHANIM_SECRET, verifyPlayer: () => (${JSON.stringify(REPLY)})
  })`
  return [
    ...lines.includes('import Fastify ') ? [] : ["import Fastify from 'fastify'", 'const app = Fastify()'],
    "import { aghanimPlugin } from 'fastify-verification/aghanim'",
    ...order === 'before' ? [lines, plugin] : [plugin, lines], 'export { app }'
  ].join('\n')
}

const limit = (options: string, more = '') =>
  `import rateLimit from '@fastify/rate-limit'\n${more}\nawait app.register(rateLimit, { max: 2, ${options} })`
const SERVERS: Record<string, string> = {
  'in their scope': importable(RATE_LIMIT).replace('max: 1000', 'max: 2'),
  'on the server': serverWith(limit('')),
  'by the config that a hook adds': serverWith(limit('global: false', `app.addHook('onRoute', (route) => {
    route.config = { ...route.config, rateLimit: {} }
  })`)),
  'in preHandler': serverWith(limit("hook: 'preHandler'")),
  'with a message for clients': serverWith(limit(
    'errorResponseBuilder: (_request, { after }) => app.httpErrors.tooManyRequests(after)',
    "import sensible from '@fastify/sensible'\nawait app.register(sensible)")),
  'registered too late': serverWith(limit(''), 'after'),
  authenticated: serverWith(AUTH_HOOK),
  traced: serverWith(OTEL),
  validated: serverWith(`import validation from '@fastify/response-validation'
    await app.register(validation, { responseStatusCodeValidation: true })`),
  middie: importable(MIDDIE),
  'middie without bytes': importable(MIDDIE).replace(/json\(\{.*\}\)\)/, 'json())')
}
const LIMITED = Object.keys(SERVERS).slice(0, 5)
const REFUSED = ['{"event_type":"player.verify"}', '[]', BODY.replace('player.verify', 'item.add')]

t.test('the projects of adopters', { skip: lacksRegistry, jobs: 8 }, async (t) => {
  const { folder, write, run } = await createKit(t, 'fastify-plugins')
  const results = deliverToAll()
  const HANDLED = ['accepted', 'handled', 200]
  const fastify = join(folder, 'node_modules/fastify-cli/cli.js')

  /** Sends deliveries to all servers that need no port, in one process. */
  async function deliverToAll () {
    const plan = Object.entries(SERVERS).map(([name, code], index) => {
      write(`server-${index}.js`, code)
      return [name, `./server-${index}.js`, '/webhooks/aghanim', BODY, BODY, BODY, ...name === 'validated' ? REFUSED : []]
    })
    const child = spawn(process.execPath, ['deliver.js', JSON.stringify(plan)], { cwd: folder, env })
    const [out, error] = await Promise.all([text(child.stdout), text(child.stderr)])
    const [, json] = /^RESULTS (.*)$/m.exec(out) ?? []
    if (json === undefined) throw new Error(error)
    return JSON.parse(json) as Record<string, {
      replies: { statusCode: number, headers: Record<string, string>, body: string }[], reports: unknown[][]
    }>
  }

  const journeys = [
    ...LIMITED.map((name) => t.test(`@fastify/rate-limit ${name}`, async (t) => {
      const { replies, reports } = (await results)[name]!
      t.strictSame(reports, [HANDLED, HANDLED, ['rejected', 'bad_request', 429]])
      t.equal(replies[2]!.headers['retry-after'], '60')
      t.equal(replies[2]!.headers['x-ratelimit-limit'], '2')
      const message = name === 'with a message for clients' ? '1 minute' : 'Too Many Requests'
      t.strictSame(JSON.parse(replies[2]!.body), { statusCode: 429, error: 'Too Many Requests', message })
    })),

    ...['registered too late', 'authenticated', 'traced'].map((name) => t.test(`handlers run: ${name}`, async (t) => {
      t.strictSame((await results)[name]!.reports, [HANDLED, HANDLED, HANDLED])
    })),

    t.test('@fastify/response-validation accepts every answer', async (t) => {
      const { replies } = (await results)['validated']!
      t.strictSame(replies.map(({ statusCode }) => statusCode), [200, 200, 200, 400, 400, 400])
      t.notMatch(JSON.stringify(replies), 'FST_RESPONSE_VALIDATION')
    }),

    t.test('body-parser under @fastify/middie, with and without the bytes', async (t) => {
      t.strictSame((await results)['middie']!.reports, [HANDLED, HANDLED, HANDLED])
      const { replies, reports } = (await results)['middie without bytes']!
      t.equal(JSON.parse(replies[0]!.body).code, 'FST_VERIFICATION_BODY_CONSUMED')
      t.strictSame(reports[0], ['failed', 'internal_error', 500])
    }),

    t.test("the rawBody of Google's functions-framework", async (t) => {
      write('functions.js', FUNCTION)
      const port = await freePort()
      const program = 'node_modules/@google-cloud/functions-framework/build/src/main.js'
      const url = await start(t, folder, port, [program, '--target=webhooks', '--source=functions.js', `--port=${port}`])
      const reply = await post(`${url}/aghanim`, sign())
      t.strictSame([reply.status, await reply.json()], [200, REPLY])
      t.equal((await post(`${url}/aghanim`, sign(), `${BODY} `)).status, 403)
    }),

    t.test('a project of `fastify generate --esm`, its tests and `fastify start`', async (t) => {
      await run(process.execPath, fastify, 'generate', 'esm', '--esm')
      write('esm/plugins/webhooks.js', AUTOLOADED)
      write('esm/plugins/exported.js', EXPORTED)
      write('esm/test/routes/webhooks.test.js', GENERATED_TEST)
      const cwd = join(folder, 'esm')
      const tests = spawn('npm', ['test'], { cwd, env })
      const port = await freePort()
      const [told, url] = await Promise.all([
        text(tests.stdout), start(t, cwd, port, [fastify, 'start', '-l', 'info', '-p', `${port}`, 'app.js'])
      ])
      t.match(told, /^# pass 4\n# fail 0$/m)
      const reply = await post(`${url}/webhooks/aghanim`, sign())
      t.strictSame([reply.status, await reply.json()], [200, REPLY])
      const body = '{"OP":0,"member":{"id":"1"},"guild":{"id":"2"}}'
      const event = await post(`${url}/webhooks/altdentifier`, signAltdentifier({ secret: SECRET, body }), body)
      t.equal(event.status, 204)
      t.strictSame(await (await fetch(url)).json(), { root: true }, "the generator's own route")
    }),

    t.test('a project of `fastify generate --lang=ts --esm`, and `fastify start`', async (t) => {
      await run(process.execPath, fastify, 'generate', 'ts', '--lang=ts', '--esm')
      const config = readFileSync(join(folder, 'ts/tsconfig.json'), 'utf8')
      write('ts/tsconfig.json', config.replace('"outDir": "dist",', '"outDir": "dist", "rootDir": "src",'))
      write('ts/src/plugins/webhooks.ts', AUTOLOADED)
      await run(process.execPath, pathOf('node_modules/@typescript/native/bin/tsc'), '--project', 'ts')
      const port = await freePort()
      const url = await start(t, join(folder, 'ts'), port, [fastify, 'start', '-l', 'info', '-p', `${port}`, 'dist/app.js'])
      const reply = await post(`${url}/webhooks/aghanim`, sign())
      t.strictSame([reply.status, await reply.json()], [200, REPLY])
    }),

    ...['as the page has it', 'by its defaults'].map((name, index) => t.test(`Sentry, ${name}`, async (t) => {
      const isStrict = index === 0
      const { dsn, events } = await startCollector(t)
      const port = await freePort()
      write(`instrument-${index}.js`, isStrict ? INSTRUMENT : INSTRUMENT.replace(/,\n {2}dataCollection: \{.*\n {2}\}/s, ''))
      write(`sentry-${index}.js`, SENTRY.replace('3000', `${port}`))
      const args = ['--import', `./instrument-${index}.js`, `sentry-${index}.js`]
      const url = await start(t, folder, port, args, { SENTRY_DSN: dsn })
      const headers = sign()
      const send = (more: Record<string, string>) => post(`${url}/webhooks/aghanim`, { ...headers, ...more })
      t.equal((await send({ 'x-aghanim-signature': 'f'.repeat(64) })).status, 403)
      t.equal((await post(`${url}/webhooks/aghanim`, sign('{'), '{')).status, 400)
      t.equal((await send({ cookie: 'a=cookie-canary' })).status, 500)
      await until(() => events.some((event) => event.includes('the database is away')))
      const [event, ...more] = events.filter((event) => event.includes('"exception"'))
      t.strictSame(more, [], 'one event for the failure, none for a refusal')
      t.match(event, 'POST /webhooks/aghanim')
      for (const canary of ['p-canary', headers['x-aghanim-signature'], 'cookie-canary']) {
        t.equal(event!.includes(canary), !isStrict, `${canary} is ${isStrict ? 'not ' : ''}sent`)
      }
      t.notMatch(event, SECRET)
    }))
  ]
  await Promise.all(journeys)
})

/** Starts a local stand-in for Sentry, and records the events that it receives. */
async function startCollector (test: Test) {
  const events: string[] = []
  const collector = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const bytes = Buffer.concat(chunks)
    events.push(String(request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes))
    response.end('{}')
  })
  collector.listen(0, '127.0.0.1')
  await once(collector, 'listening')
  test.teardown(() => {
    collector.closeAllConnections()
    collector.close()
  })
  return { dsn: `http://key@127.0.0.1:${(collector.address() as AddressInfo).port}/1`, events }
}
