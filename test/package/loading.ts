import { build } from 'esbuild'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { plainProgram } from '../support/programs.js'
import { root } from '../support/project.js'

t.test("loading and registering the plugins leaves Node's fetch as it was", async (t) => {
  const { stdout } = await promisify(execFile)('env', plainProgram('test/support/host-fetch'))
  t.strictSame(JSON.parse(stdout), { untouched: true, status: 200, text: 'ok' })
})

t.test('the module of a provider loads little, and neither the signature doctor nor an HTTP client', async (t) => {
  const { metafile: { outputs } } = await build({
    entryPoints: [fileURLToPath(new URL('.built/plugins/aghanim.js', root))],
    outdir: 'out',
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    minify: true,
    write: false,
    metafile: true
  })
  const [entry] = Object.keys(outputs).filter((name) => outputs[name]!.entryPoint?.endsWith('aghanim.js'))
  const loaded = new Set([entry!])
  for (const name of loaded) {
    for (const { path, kind } of outputs[name]?.imports ?? []) if (kind === 'import-statement') loaded.add(path)
  }
  const chunks = [...loaded].flatMap((name) => outputs[name] ?? [])
  const inputs = chunks.flatMap(({ inputs }) => Object.keys(inputs))
  t.ok(inputs.some((name) => name.endsWith('lib/pipeline.js')))
  t.strictSame(inputs.filter((name) => name.includes('/doctor/')), [])
  t.notOk(loaded.has('undici'))
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.bytes, 0)
  t.ok(bytes <= 70_000, `${bytes} bytes, minified`)
})

t.test('one delivery crosses no more files than a reader can follow', async (t) => {
  const program = fileURLToPath(new URL('.built/tools/hops.js', root))
  const { stdout } = await promisify(execFile)(process.execPath, [program])
  t.match(stdout, /^\d+ files \(at most 17\), \d+ hops \(at most 60\)/m)
})
