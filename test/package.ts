import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import t from 'tap'
import ts from 'typescript'
import * as everything from '../plugins/index.js'

const root = new URL('..', import.meta.url)
const { exports, scripts } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'))

t.test('what is built holds every export, to import and to require, with types', async (t) => {
  const dist = t.testdir()
  const [, ...args] = scripts.build.split(' ')
  await promisify(execFile)(new URL('node_modules/.bin/tsc', root).pathname, [...args, '--outDir', dist], { cwd: root })
  const built = (target: string) => target.replace('./dist', dist)
  const require = createRequire(import.meta.url)
  for (const [subpath, target] of Object.entries<string>(exports)) {
    if (subpath === './package.json') continue
    const file = built(target).replace('*', 'aghanim')
    t.ok(existsSync(file.replace(/\.js$/, '.d.ts')), `${subpath} has types`)
    const imported = await import(file)
    t.ok(Object.keys(imported).length > 0, `${subpath} imports`)
    if (process.features.require_module) t.equal(require(file).default, imported.default, 'the same module')
  }
  for (const name of ['altdentifier', 'aghanim', 'identity-validation', 'humandetect', 'common']) {
    t.ok(existsSync(built(exports['./schemas/*']).replace('*', name)))
  }
})

t.test('what is built types what it adds to Fastify', async (t) => {
  const folder = t.testdir({
    'consumer.ts': `import { altdentifierPlugin } from 'fastify-verification/altdentifier'
      import { redisDeliveries } from 'fastify-verification/deliveries/redis'
      import { humandetectPlugin } from 'fastify-verification/humandetect'
      import Fastify from 'fastify'
      import { Cluster, Redis } from 'ioredis'
      const stores = [redisDeliveries({ client: new Redis() }), redisDeliveries({ client: new Cluster([]) })]
      const app = Fastify()
      app.register(altdentifierPlugin, {
        secret: '', deliveries: stores[0], handleEvent: (event, request) => [event.OP, request.rawBody]
      })
      app.register(humandetectPlugin, { apiKey: '' })
      const preHandler = app.humandetect.requireHuman({ identifier: '' })
      app.get('/', { preHandler }, (request) => request.humandetect?.valid)`
  })
  const dist = `${folder}/dist`
  const [, ...args] = scripts.build.split(' ')
  await promisify(execFile)(new URL('node_modules/.bin/tsc', root).pathname, [...args, '--outDir', dist], { cwd: root })
  const program = ts.createProgram([`${folder}/consumer.ts`], {
    noEmit: true,
    strict: true,
    skipLibCheck: false,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    types: ['node'],
    paths: { 'fastify-verification/*': [`${dist}/plugins/*.d.ts`] }
  })
  t.strictSame(ts.getPreEmitDiagnostics(program).map(({ messageText }) => messageText), [])
})

t.test('each plugin is a named and the default export of its module, and is in the index', async (t) => {
  for (const [name, plugin] of [
    ['altdentifier', 'altdentifierPlugin'], ['aghanim', 'aghanimPlugin'], ['identity-validation', 'identityValidationPlugin'],
    ['humandetect', 'humandetectPlugin'], ['humandetect-api', 'humandetectApiPlugin']
  ] as const) {
    const module = await import(`../plugins/${name}.js`)
    t.equal(module.default, module[plugin])
    t.equal(module[plugin], everything[plugin])
  }
})
