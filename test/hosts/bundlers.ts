import { build } from 'esbuild'
import { cpSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { signAghanim } from '../../plugins/index.js'
import { SECRET } from '../support/deliveries.js'
import { createKit, lacksRegistry } from '../support/kit.js'
import { read } from '../support/project.js'
import {
  expectedOf, findBlock, runBlock, SECRETS, startServer, startTokenService, statusOfToken, tryProviders
} from '../support/served.js'

// docs/bundlers-and-runtimes.md: its server, bundled by its commands and configurations, and run without node_modules.

t.setTimeout(280_000)

const MAX_BYTES = 20_000 // limit stated by the page
const PLUGINS_ONLY = /node_modules\/(?:fastify|undici|@sinclair\/typebox|@fastify\/sensible)\//
const NAMES = ['aghanim', 'altdentifier']
const { name, exports } = JSON.parse(read('package.json')) as { name: string, exports: object }

const page = read('docs/bundlers-and-runtimes.md')
const find = (language: string, text: string): string => findBlock(page, language, text)

/** Command of each bundler, and the file that it writes. */
const BUNDLES = {
  'esbuild, CommonJS': [find('sh', '--format=cjs'), 'esbuild.cjs'],
  'esbuild, ESM': [find('sh', '--format=esm'), 'esbuild.mjs'],
  Rollup: [find('sh', 'npx rollup'), 'rollup.mjs'],
  webpack: [find('sh', 'npx webpack'), 'webpack.cjs'],
  Vite: [find('sh', 'npx vite'), 'vite/server.mjs'],
  ncc: [find('sh', 'npx ncc'), 'ncc/index.js']
} as const

t.test('bundles', { skip: lacksRegistry, jobs: 8 }, async (t) => {
  const { folder, write, run } = await createKit(t, 'bundlers')
  write('server.js', find('ts', "from 'fastify-verification'\n"))
  write('guard.ts', find('ts', 'humandetectPlugin'))
  write('verify.ts', find('ts', 'isAuthentic'))
  write('rollup.config.js', find('js', 'nodeResolve'))
  write('webpack.config.js', find('js', "target: 'node20'"))
  write('vite.config.js', find('js', 'noExternal'))

  /** Moves a bundle to a folder without packages in it or above it, and returns its path. */
  function moveAway (file: string): string {
    const place = `${folder}-${file.replaceAll('/', '-')}`
    t.teardown(() => rmSync(place, { recursive: true, force: true }))
    const [part] = file.split('/')
    cpSync(join(folder, 'dist', part!), join(place, part!), { recursive: true })
    return place
  }

  const bundleAsEsm = (program: string) => runBlock(folder,
    find('sh', '--format=esm').replace('server.js', `${program}.ts`).replace('esbuild.mjs', `${program}.mjs`))

  for (const [bundler, [command, file]] of Object.entries(BUNDLES)) {
    t.test(`${bundler}: the bundle runs alone`, { buffered: true }, async (t) => {
      await runBlock(folder, command)
      const place = moveAway(file)
      t.notOk(readdirSync(place).includes('node_modules'))
      const url = await startServer(t, place, [process.execPath, file], SECRETS)
      t.strictSame(await tryProviders(url, NAMES), expectedOf(NAMES))
    })
  }

  t.test('a bundle with HumanDetect calls its service', { buffered: true }, async (t) => {
    const port = await startTokenService(t)
    await bundleAsEsm('guard')
    const env = { ...SECRETS, HUMANDETECT_API_KEY: 'key', HUMANDETECT_BASE_URL: `http://127.0.0.1:${port}` }
    t.equal(await statusOfToken(await startServer(t, moveAway('guard.mjs'), [process.execPath, 'guard.mjs'], env)), 200)
  })

  t.test('each function that verifies or signs is bundled without the plugins', { buffered: true }, async (t) => {
    write('names.js', `const names = {}
      for (const specifier of ${JSON.stringify(Object.keys(exports).map((path) => name + path.slice(1)))}) {
        if (specifier.includes('*') || specifier.endsWith('.json')) continue
        names[specifier] = Object.keys(await import(specifier).catch(() => ({}))) // an optional peer is not there
      }
      console.log(JSON.stringify(names))`)
    const names: Record<string, string[]> = JSON.parse((await run(process.execPath, 'names.js')).stdout)
    const functions = Object.entries(names).flatMap(([specifier, names]) => names
      .filter((name) => /^(?:(?:verify|sign)[A-Z]|issueToken|openToken)/.test(name)).map((name) => [specifier, name] as const))
    t.ok(functions.length >= 16, 'those of every provider, from the root and from their own paths')
    for (const [index, [specifier, name]] of functions.entries()) {
      write(`one-${index}.js`, `export { ${name} } from '${specifier}'`)
    }
    const { metafile: { outputs } } = await build({
      entryPoints: functions.map((_function, index) => join(folder, `one-${index}.js`)),
      bundle: true,
      minify: true,
      outdir: join(folder, 'dist/one'),
      write: false,
      metafile: true,
      platform: 'node',
      format: 'esm'
    })
    for (const { entryPoint, bytes, inputs } of Object.values(outputs)) {
      const [specifier, name] = functions[Number(/one-(\d+)\.js$/.exec(entryPoint!)![1])]!
      t.ok(bytes < MAX_BYTES, `${name} of ${specifier}: ${bytes} bytes`)
      const used = Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path)
      t.strictSame(used.filter((path) => PLUGINS_ONLY.test(path)), [])
    }
    t.equal(Object.keys(outputs).length, functions.length)
  })

  t.test('the function of the page verifies', { buffered: true }, async (t) => {
    await bundleAsEsm('verify')
    const { isAuthentic } = await import(pathToFileURL(join(folder, 'dist/verify.mjs')).href)
    process.env['AGHANIM_SECRET'] = SECRET
    const body = Buffer.from('{"note":"Zoë"}')
    const headers = signAghanim({ secret: SECRET, body })
    t.equal(isAuthentic(headers, body), true)
    t.equal(isAuthentic(headers, Buffer.from('{"note":"Zoe"}')), false)
  })
})
