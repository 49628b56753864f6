import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import t from 'tap'
import ts from 'typescript'
import { build } from '../example-server.js'
import { signAghanim } from '../plugins/index.js'
import { VERIFY_EVENT } from './fixtures/deliveries.js'
import { portOf } from './fixtures/host.js'

const root = new URL('..', import.meta.url)
const readme = readFileSync(new URL('README.md', root), 'utf8')

function blocks (language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map((match) => match[1]!)
}

const shell = (script: string) => promisify(execFile)('bash', ['-c', script], { encoding: 'utf8' })

t.test('the deliveries sent by hand are answered as shown, and refused with one byte changed', async (t) => {
  const app = await build()
  t.teardown(() => app.close())
  await app.listen({ port: 0 })
  const deliveries = blocks('sh').filter((block) => block.includes('curl'))
  const shown = blocks('http')
  t.equal(deliveries.length, 3)
  t.equal(shown.length, 4)
  const essence = (text: string) => text.replaceAll('\r', '').split('\n')
    .filter((line) => !/^(content-length|date|connection|keep-alive):/i.test(line)).join('\n').trim()

  for (const [index, delivery] of deliveries.entries()) {
    const script = delivery.replaceAll('127.0.0.1:3000', `127.0.0.1:${portOf(app)}`)
    t.equal(essence((await shell(script)).stdout), essence(shown[index]!), `delivery ${index}`)
    const tampered = script.replace('--data-binary "$body"', '--data-binary "$body "')
    t.not(tampered, script)
    t.equal(essence((await shell(tampered)).stdout), essence(shown[3]!), `delivery ${index}, one byte changed`)
  }
})

t.test('its TypeScript compiles as strictly as the project itself', async (t) => {
  const files = Object.fromEntries(blocks('ts').map((block, index) => [`example-${index}.ts`, block]))
  t.equal(Object.keys(files).length, 3)
  const folder = t.testdir(files)
  const { config } = ts.readConfigFile(new URL('tsconfig.json', root).pathname, ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [] }, ts.sys, root.pathname)
  const program = ts.createProgram(Object.keys(files).map((name) => `${folder}/${name}`), {
    ...options,
    noEmit: true,
    rootDir: root.pathname,
    paths: {
      'fastify-verification': [new URL('plugins/index.ts', root).pathname],
      'fastify-verification/*': [new URL('plugins/*.ts', root).pathname]
    }
  })
  const diagnostics = ts.getPreEmitDiagnostics(program).map(({ messageText }) => messageText)
  t.strictSame(diagnostics, [])
})

/** Runs a block as a module; imports of the package lead to the sources, and the app is left to the test. */
async function importBlock (testdir: typeof t.testdir, block: string): Promise<Record<string, any>> {
  const source = block
    .replace(/'fastify-verification'/g, `'${new URL('plugins/index.ts', root)}'`)
    .replace(/'fastify-verification\/([\w-]+)'/g, (_all, name) => `'${new URL(`plugins/${name}.ts`, root)}'`)
    .replace('logger: true', 'logger: false')
    .replace('port: 3000', 'port: 0')
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
  })
  const folder = testdir({ 'block.mjs': outputText.replace('const app', 'export const app') })
  return import(`${folder}/block.mjs`)
}

t.test('the whole example serves', async (t) => {
  process.env['AGHANIM_SECRET'] = 'demo-aghanim-secret-of-32-bytes!'
  process.env['ALTDENTIFIER_SECRET'] = 'demo-altdentifier-secret'
  const { app } = await importBlock(t.testdir, blocks('ts')[0]!)
  t.teardown(() => app.close())
  const body = JSON.stringify(VERIFY_EVENT)
  const headers = signAghanim({ secret: process.env['AGHANIM_SECRET'], body })
  const reply = await app.inject({ method: 'POST', url: '/webhooks/aghanim', headers, payload: body })
  t.equal(reply.statusCode, 200)
})

t.test('an event of a schema of your own is verified and typed', async (t) => {
  const { app } = await importBlock(t.testdir, blocks('ts')[1]!)
  t.teardown(() => app.close())
  const body = JSON.stringify({ ...VERIFY_EVENT, event_data: { provider: 'apple', subject: 'Beebee-Ate' } })
  const headers = signAghanim({ secret: process.env['AGHANIM_SECRET']!, body })
  const reply = await app.inject({ method: 'POST', url: '/aghanim', headers, payload: body })
  t.strictSame(reply.json(), { player_id: 'apple:Beebee-Ate', name: 'Beebee-Ate', attributes: { level: 1 } })
})

t.test('signing and verifying come out as its comments say', async (t) => {
  const block = blocks('ts')[2]!
  const calls = [...block.matchAll(/^(verifyAghanim\(.*\)) \/\/ (.*)$/gm)]
  t.equal(calls.length, 2)
  const exported = calls.reduce((text, [line, call], index) => text.replace(line, `export const result${index} = ${call}`), block)
  const results = await importBlock(t.testdir, exported)
  t.strictSame(results['result0'], { ok: true, secretIndex: 0 })
  t.strictSame(results['result1'], { ok: false, reason: 'mismatch' })
  t.match(calls[0]![2], 'ok: true, secretIndex: 0')
  t.match(calls[1]![2], "ok: false, reason: 'mismatch'")
})
