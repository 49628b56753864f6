import { existsSync, readdirSync } from 'node:fs'
import t from 'tap'
import * as everything from '../plugins/index.js'
import { read, root, tableOf } from './fixtures/docs.js'

const { version, dependencies, engines, exports, scripts } = JSON.parse(read('package.json'))

const sources = (readdirSync(root, { recursive: true }) as string[])
  .filter((path) => /^(?:plugins|schemas)\/.*\.ts$|^cli\.ts$/.test(path)).map(read)

t.test('each runtime dependency is used, argued for in CONTRIBUTING.md, and nothing else is', async (t) => {
  const names = Object.keys(dependencies)
  const rows = tableOf(read('CONTRIBUTING.md'), '## Runtime dependencies')
  t.strictSame(rows.map(([name]) => name).sort(), names.sort())
  for (const [name, ...arguments_] of rows) {
    t.ok(arguments_.length === 2 && arguments_.every((text) => text.length > 20), `why ${name}, and why not by hand`)
    t.ok(sources.some((source) => source.includes(`from '${name}`)), `${name} is imported`)
  }
})

t.test('each script runs what is there', async (t) => {
  const run = Object.values<string>(scripts).flatMap((script) => script.match(/[\w./-]+\.(?:ts|sh|js)\b/g) ?? [])
    .map((path) => path.replace(/^\.bench\/(.*)\.js$/, '$1.ts'))
  t.ok(run.length > 10)
  t.strictSame(run.filter((path) => !existsSync(new URL(path, root))), [])
})

t.test('the newest entry of CHANGELOG.md is the version of the package', async (t) => {
  t.equal(/^## (.*)$/m.exec(read('CHANGELOG.md'))?.[1], version)
})

t.test('every supported Node is tried by the script and by the workflow', async (t) => {
  const tried = /nodes=\(([\d ]+)\)/.exec(read('bench/nodes.sh'))![1]!.split(' ')
  t.strictSame(/node: \[(.*)\]/.exec(read('.github/workflows/ci.yml'))![1]!.split(', '), tried)
  t.equal(engines.node, `^${tried[0]}.19 || >=${tried[1]}.12`)
})

t.test('each plugin is a named and the default export of its module, and is in the index', async (t) => {
  for (const [name, plugin] of [
    ['altdentifier', 'altdentifierPlugin'], ['aghanim', 'aghanimPlugin'], ['identity-validation', 'identityValidationPlugin'],
    ['humandetect', 'humandetectPlugin'], ['humandetect-api', 'humandetectApiPlugin']
  ] as const) {
    const module = await import(`../plugins/${name}.js`)
    t.equal(module.default, module[plugin])
    t.equal(module[plugin], everything[plugin])
    t.ok(`./${name}` in exports)
  }
})
