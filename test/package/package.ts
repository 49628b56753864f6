import { existsSync, readdirSync } from 'node:fs'
import t from 'tap'
import * as everything from '../../plugins/index.js'
import { tableOf } from '../support/docs.js'
import { read, root } from '../support/project.js'

const { version, dependencies, engines, exports, scripts } = JSON.parse(read('package.json'))

/** Lists the TypeScript files of a folder, without those of packages installed in it. */
function filesIn (folder: string): string[] {
  return readdirSync(new URL(folder, root), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : filesIn(path)
    return path.endsWith('.ts') ? [path] : []
  })
}

const paths = ['plugins', 'schemas', 'cli', 'examples'].flatMap(filesIn)
const sources = paths.map(read)

t.test('each runtime dependency is used, and CONTRIBUTING.md gives the reasons for each and for no other', async (t) => {
  const names = Object.keys(dependencies)
  const rows = tableOf(read('CONTRIBUTING.md'), '## Runtime dependencies')
  t.strictSame(rows.map(([name]) => name).sort(), names.sort())
  for (const [name, ...arguments_] of rows) {
    t.ok(arguments_.length === 2 && arguments_.every((text) => text.length > 20), `why ${name}, and why not by hand`)
    t.ok(sources.some((source) => source.includes(`from '${name}`)), `${name} is imported`)
  }
})

/** Minimum versions: each fixes a published vulnerability of its predecessors, or has behaviour we rely on. */
const FLOORS: Record<string, number[]> = {
  fastify: [5, 12, 8], undici: [7, 30, 2], 'find-my-way': [9, 10, 0], 'fast-uri': [3, 1, 9], 'secure-json-parse': [4, 0, 0]
}

t.test('the installed server and client are as new as they have to be', async (t) => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, { version: string }> }
  for (const [name, floor] of Object.entries(FLOORS)) {
    const versions = Object.entries(packages)
      .filter(([path]) => path.endsWith(`node_modules/${name}`) && !path.includes('/node-gyp/')) // has its own client
      .map(([, { version }]) => version.split('.').map(Number))
    t.ok(versions.length > 0, name)
    const older = versions.filter((version) => {
      const at = version.findIndex((part, index) => part !== floor[index])
      return at !== -1 && version[at]! < floor[at]!
    })
    t.strictSame(older, [], name)
  }
})

t.test('no MAC is compared by === or !==, whose duration depends on the number of equal characters', async (t) => {
  const comparison = /\b\w*(?:mac|digest|signature|token|secret|apikey)\w*\)? [!=]== [\w']+/gi
  const compared = sources.flatMap((source) => source.match(comparison) ?? [])
  t.ok(compared.length > 5)
  const tokenOfClaim = 'token === token' // a token that never leaves the store
  t.strictSame(compared.filter((text) => !/ (?:undefined|null|true|false|'.*)$/.test(text)), [tokenOfClaim])
})

t.test('a doc comment begins with a noun or a verb', async (t) => {
  const FRAGMENT = /\/\*\*\s+(?:\* )?(?:what|whether|how|who|where|when|as|of|by)\b.*/gi
  const all = [...paths, ...['test', 'bench', 'tools'].flatMap(filesIn)]
  t.strictSame(all.flatMap((path) => (read(path).match(FRAGMENT) ?? []).map((comment) => `${path}: ${comment}`)), [])
})

t.test('each error code is in `errors`, with its status and its message', async (t) => {
  const named = new Set(sources.flatMap((source) => source.match(/FST_(?:VERIFICATION|HUMANDETECT)_[A-Z_]+[A-Z]\b/g) ?? []))
  t.strictSame([...named].sort(), Object.keys(everything.errors).sort())
  for (const [code, { statusCode, message }] of Object.entries(everything.errors)) {
    t.ok(statusCode >= 400 && statusCode < 600 && message.length > 1, code)
  }
  const file = 'plugins/lib/errors.ts'
  const texts = Object.values(everything.errors).map(({ message }) => message).filter((message) => message.length > 20)
  const others = paths.filter((path) => path !== file && path !== 'plugins/humandetect/errors.ts').map(read)
  t.strictSame(texts.filter((text) => others.some((source) => source.includes(`'${text}'`))), [], 'typed once')
})

t.test('schemas are public, their helpers are not', async (t) => {
  const files = paths.filter((path) => path.startsWith('schemas/'))
  t.equal(files.length, 5)
  const names = files.flatMap((path) => [...read(path).matchAll(/^export (?:const|function) (\w+)/gm)].map(([, name]) => name!))
  const helpers = names.filter((name) => !/(?:Schema|Examples|Responses)$/.test(name))
  t.strictSame(helpers.sort(), ['ALTDENTIFIER_KINDS', 'playerVerifyEvent'])
})

t.test('lib names no provider', async (t) => {
  const named = paths.filter((path) => path.startsWith('plugins/lib/'))
    .filter((path) => /aghanim|altdentifier|identity-?validation|humandetect|pomelo/i.test(read(path)))
  t.strictSame(named, [])
})

t.test('each script runs an existing file', async (t) => {
  const run = Object.values<string>(scripts).flatMap((script) => script.match(/[\w./-]+\.(?:ts|sh|js)\b/g) ?? [])
    .map((path) => path.replace(/^\.built\/(.*)\.js$/, '$1.ts'))
  t.ok(run.length > 10)
  t.strictSame(run.filter((path) => !existsSync(new URL(path, root))), [])
})

t.test('the newest entry of CHANGELOG.md is the version of the package', async (t) => {
  t.equal(/^## (.*)$/m.exec(read('CHANGELOG.md'))?.[1], version)
})

t.test('every supported Node is tested by the script and by the workflow', async (t) => {
  const tried = /nodes=\(([\d ]+)\)/.exec(read('tools/nodes.sh'))![1]!.split(' ')
  t.strictSame(/node: \[(.*)\]/.exec(read('.github/workflows/ci.yml'))![1]!.split(', '), tried)
  t.equal(engines.node, `^${tried[0]}.19 || >=${tried[1]}.12`)
})

t.test('each plugin is a named and the default export of its module, and is in the index', async (t) => {
  for (const [name, plugin] of [
    ['altdentifier', 'altdentifierPlugin'], ['aghanim', 'aghanimPlugin'], ['identity-validation', 'identityValidationPlugin'],
    ['humandetect', 'humandetectPlugin'], ['humandetect-api', 'humandetectApiPlugin']
  ] as const) {
    const module = await import(`../../plugins/${name}.js`)
    t.equal(module.default, module[plugin])
    t.equal(module[plugin], everything[plugin])
    t.ok(`./${name}` in exports)
  }
})
