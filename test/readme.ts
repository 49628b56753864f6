import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import t from 'tap'
import ts from 'typescript'
import { build } from '../example-server.js'
import { issueToken, signAghanim, signAltdentifier } from '../plugins/index.js'
import { VERIFY_EVENT } from './fixtures/deliveries.js'
import { blocksOf, compile, read, root } from './fixtures/docs.js'
import { portOf } from './fixtures/host.js'
import { noRedis, startRedis } from './fixtures/redis.js'

const readme = read('README.md')

const blocks = (language: string) => blocksOf(readme, language)

/** The block of TypeScript with this in it. */
function example (text: string): string {
  const [found, ...others] = blocks('ts').filter((block) => block.includes(text))
  if (found === undefined || others.length > 0) throw new Error(`not exactly one example with ${text}`)
  return found
}

const shown = blocks('http')

/** An answer without what differs from one to the next. */
function essence (answer: string): string {
  return answer.replaceAll('\r', '').split('\n')
    .filter((line) => !/^(content-length|date|connection|keep-alive):/i.test(line)).join('\n').trim()
}

const shell = (script: string) => promisify(execFile)('bash', ['-c', script], { encoding: 'utf8' })

t.test('the deliveries sent by hand are answered as shown, and refused with one byte changed', async (t) => {
  const app = await build()
  t.teardown(() => app.close())
  await app.listen({ port: 0 })
  const deliveries = blocks('sh').filter((block) => block.includes('openssl'))
  t.equal(deliveries.length, 3)

  for (const [index, delivery] of deliveries.entries()) {
    const script = delivery.replaceAll('127.0.0.1:3000', `127.0.0.1:${portOf(app)}`)
    t.equal(essence((await shell(script)).stdout), essence(shown[index]!), `delivery ${index}`)
    const tampered = script.replace('--data-binary "$body"', '--data-binary "$body "')
    t.not(tampered, script)
    t.equal(essence((await shell(tampered)).stdout), essence(shown[3]!), `delivery ${index}, one byte changed`)
  }
})

t.test('the same delivery once more is answered as the first time, and says so', async (t) => {
  const app = await build()
  t.teardown(() => app.close())
  await app.listen({ port: 0 })
  const script = blocks('sh').find((block) => block.includes('X-Endpoint'))!
    .replaceAll('127.0.0.1:3000', `127.0.0.1:${portOf(app)}`)
  const { stdout } = await shell(`${script}\n${script.slice(script.lastIndexOf('curl'))}`)
  t.match(essence(stdout), /^HTTP\/1.1 204 No Content\n+HTTP\/1.1 204 No Content\nidempotency-replayed: true$/)
})

t.test('a human signs up as shown, once, and nobody else does', async (t) => {
  const app = await build()
  t.teardown(() => app.close())
  await app.listen({ port: 0 })
  const [signup, ...others] = blocks('sh').filter((block) => block.includes('/signup'))
  t.strictSame(others, [])
  const script = signup!.replaceAll('127.0.0.1:3000', `127.0.0.1:${portOf(app)}`)
  t.equal(essence((await shell(script)).stdout), essence(shown[4]!))

  const again = `${script}\n${script.slice(script.lastIndexOf('curl'))}`
  const bot = script.replace('"}\'', '","human":false}\'')
  const another = script.replace('{\\"email\\":\\"ada@', '{\\"email\\":\\"eve@')
  const madeUp = script.replace('"$token', '"x$token').replace('\\"$token', '\\"x$token')
  t.equal(new Set([script, again, bot, another, madeUp]).size, 5)
  t.ok(essence((await shell(again)).stdout).endsWith(essence(shown[5]!)), 'the same token once more')
  for (const attempt of [bot, another, madeUp]) {
    t.equal(essence((await shell(attempt)).stdout), essence(shown[5]!), attempt)
  }
})

t.test('its TypeScript compiles as strictly as the project itself', async (t) => {
  const examples = blocks('ts')
  t.equal(examples.length, 6)
  t.strictSame(compile(t, examples), [])
})

/** Runs a block as a module; imports of the package lead to the sources, and the app is left to the test. */
async function importBlock (testdir: typeof t.testdir, block: string): Promise<Record<string, any>> {
  const source = block
    .replace(/'fastify-verification'/g, `'${new URL('plugins/index.ts', root)}'`)
    .replace(/'fastify-verification\/([\w/-]+)'/g, (_all, name) => `'${new URL(`plugins/${name}.ts`, root)}'`)
    .replace('logger: true', 'logger: false')
    .replace('port: 3000', 'port: 0')
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
  })
  const name = `${createHash('sha256').update(block).digest('hex')}.mjs` // a module is loaded once only
  const folder = testdir({ [name]: outputText.replace('const app', 'export const app') })
  return import(`${folder}/${name}`)
}

t.test('the whole example serves', async (t) => {
  process.env['AGHANIM_SECRET'] = 'demo-aghanim-secret-of-32-bytes!'
  process.env['ALTDENTIFIER_SECRET'] = 'demo-altdentifier-secret'
  const { app } = await importBlock(t.testdir, example('deny({'))
  t.teardown(() => app.close())
  const body = JSON.stringify(VERIFY_EVENT)
  const headers = signAghanim({ secret: process.env['AGHANIM_SECRET'], body })
  const reply = await app.inject({ method: 'POST', url: '/webhooks/aghanim', headers, payload: body })
  t.equal(reply.statusCode, 200)
})

t.test('two servers that share a Redis handle an event once', { skip: noRedis }, async (t) => {
  process.env['REDIS_URL'] = (await startRedis(t)).url
  const source = example('redisDeliveries')
  const body = JSON.stringify({ OP: 5 })
  const headers = signAltdentifier({ secret: process.env['ALTDENTIFIER_SECRET']!, body })
  for (const replayed of [undefined, 'true']) {
    const { app } = await importBlock(t.testdir, `${source}// server ${replayed}`)
    t.teardown(() => app.close())
    const reply = await app.inject({ method: 'POST', url: '/altdentifier', headers, payload: body })
    t.equal(reply.statusCode, 204)
    t.equal(reply.headers['idempotency-replayed'], replayed)
  }
})

t.test('an event of a schema of your own is verified and typed', async (t) => {
  const { app } = await importBlock(t.testdir, example('aghanimOptions'))
  t.teardown(() => app.close())
  const body = JSON.stringify({ ...VERIFY_EVENT, event_data: { provider: 'apple', subject: 'Beebee-Ate' } })
  const headers = signAghanim({ secret: process.env['AGHANIM_SECRET']!, body })
  const reply = await app.inject({ method: 'POST', url: '/aghanim', headers, payload: body })
  t.strictSame(reply.json(), { player_id: 'apple:Beebee-Ate', name: 'Beebee-Ate', attributes: { level: 1 } })
})

t.test('a guarded route and a token service of your own work together', async (t) => {
  const secret = process.env['TOKEN_SECRET'] = 'a secret of at least 24 bytes'
  process.env['HUMANDETECT_API_KEY'] = 'demo-humandetect-key'
  const { app: service } = await importBlock(t.testdir, example('humandetectApiPlugin'))
  t.teardown(() => service.close())
  process.env['HUMANDETECT_BASE_URL'] = await service.listen({ port: 0 })
  const { app } = await importBlock(t.testdir, example('requireHuman').replace('BASE_URL!', 'BASE_URL!, allowHttp: true'))
  t.teardown(() => app.close())
  const token = issueToken({ secret, identifier: 'ada@example.com', human: true })
  const payload = { email: 'ada@example.com', token }
  t.strictSame((await app.inject({ method: 'POST', url: '/signup', payload })).json(), { human: true })
  t.equal((await app.inject({ method: 'POST', url: '/signup', payload })).statusCode, 403)
})

t.test('signing and verifying come out as its comments say', async (t) => {
  const block = example('verifyAghanim')
  const calls = [...block.matchAll(/^(verifyAghanim\(.*\)) \/\/ (.*)$/gm)]
  t.equal(calls.length, 2)
  const exported = calls.reduce((text, [line, call], index) => text.replace(line, `export const result${index} = ${call}`), block)
  const results = await importBlock(t.testdir, exported)
  t.strictSame(results['result0'], { ok: true, secretIndex: 0 })
  t.strictSame(results['result1'], { ok: false, reason: 'mismatch' })
  t.match(calls[0]![2], 'ok: true, secretIndex: 0')
  t.match(calls[1]![2], "ok: false, reason: 'mismatch'")
})

t.test('what SECURITY.md and CONTRIBUTING.md point at is there', async (t) => {
  const [security, contributing] = [read('SECURITY.md'), read('CONTRIBUTING.md')]
  const table = /## Promised.*?(?=^## )/ms.exec(security)![0]
  const suites = [...table.matchAll(/`([\w-]+\.ts)`/g)].map(([, name]) => `test/${name}`)
  const links = [...(security + contributing).matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, path]) => path!)
  const scripts = [...contributing.matchAll(/npm run ([\w-]+)/g)].map(([, name]) => name!)
  t.ok(suites.length > 20 && links.length > 3 && scripts.length > 4)
  t.strictSame([...suites, ...links].filter((path) => !existsSync(new URL(path, root))), [])
  t.strictSame(scripts.filter((name) => !(name in JSON.parse(read('package.json')).scripts)), [])
})
