import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createConsumer, packOnce, type Consumer } from '../support/consumer.js'
import { blocksOf } from '../support/docs.js'
import { createKit, lacksRegistry } from '../support/kit.js'
import { read, root } from '../support/project.js'

t.setTimeout(280_000) // installs with three package managers, and compiles with four versions

const PAGE = read('docs/typescript.md')
const [nodeSettings] = blocksOf(PAGE, 'json').map((block) => JSON.parse(block))
const strict = { strict: true, target: 'es2022', types: ['node'] }

const { exports } = JSON.parse(read('package.json'))
const SCHEMAS = readdirSync(new URL('schemas', root)).map((file) => `./schemas/${file.replace('.ts', '')}`)
const MODULES = Object.keys(exports).filter((subpath) => subpath !== './package.json')
  .flatMap((subpath) => subpath === './schemas/*' ? SCHEMAS : [subpath])
  .map((subpath) => `fastify-verification${subpath.slice(1)}`)

/** Returns the output of a program, even if it fails. */
const outputOf = (running: ReturnType<Consumer['run']>): Promise<string> =>
  running.then(({ stdout, stderr }) => stdout + stderr, ({ stdout, stderr }) => `${stdout}${stderr}` || 'it failed')

/** Program that sends a valid and a changed delivery to the provider of the page. */
const DELIVER = `
import { createHmac } from 'node:crypto'
import Fastify from 'fastify'
import { signupPlugin } from './signup.js'

const secret = 'a secret of at least 24 bytes'
const app = Fastify()
app.register(signupPlugin, { secret, handleEvent: ({ email }) => console.log(email) })
const body = JSON.stringify({ email: 'ada@example.com' })
const headers = {
  'content-type': 'application/json', 'x-signature': createHmac('sha256', secret).update(body).digest('hex')
}
for (const payload of [body, body + ' ']) {
  console.log((await app.inject({ method: 'POST', url: '/signup', headers, payload })).statusCode)
}
console.log(await import('@sinclair/typebox').then(() => 'found', ({ message }) => message.split('\\n')[0]))
`
const SIGNUP = blocksOf(PAGE, 'ts').find((block) => block.includes('signupPlugin'))!
const DELIVERED = /^ada@example\.com\n204\n403\n/

const LOOK_ALIKES = `
import { aghanimPlugin } from 'fastify-verification/aghanim'
import { identityValidationPlugin } from 'fastify-verification/identity-validation'
import { createProvider } from 'fastify-verification/provider'
import Fastify from 'fastify'
import Type from 'typebox'
import { z } from 'zod'

const report = (error) => console.log(error.message)
const ofTypebox = Type.Object({ a: Type.String() })
const ofZod = z.object({ a: z.string() })
for (const schema of [ofTypebox, ofZod]) {
  await Fastify().register(aghanimPlugin, { secret: 'a secret of at least 24 bytes', verifyPlayer () {}, eventData: schema })
    .ready().catch(report)
  await Fastify().register(identityValidationPlugin, { apiKeys: {}, schemas: { sessions: schema }, handleSession () {} })
    .ready().catch(report)
  try {
    createProvider({
      name: 'a', summary: 'a', headers: ['a'], read () {}, algorithm: 'sha256', secretEncoding: 'utf8', body: schema
    })
  } catch (error) {
    report(error)
  }
}
`

t.test('in projects of adopters', { skip: lacksRegistry, jobs: 2 }, async (t) => {
  const tarball = packOnce(t)
  const kit = await createKit(t, 'types')
  const node = (...args: string[]) => kit.run(process.execPath, ...args)
  const typescript7 = join(kit.folder, 'node_modules/typescript-7.0/bin/tsc')
  const pages = blocksOf(PAGE, 'ts').map((block, index) => {
    kit.write(`page-${index}.ts`, block)
    return `page-${index}.ts`
  })
  kit.write('every.ts', MODULES.map((module) => `import '${module}'\n`).join(''))
  kit.write('signup.ts', SIGNUP)

  t.test('TypeScript 7.0, nodenext, with the settings of the page, and with the libraries checked', { buffered: true }, async (t) => {
    const compilerOptions = { ...nodeSettings.compilerOptions, skipLibCheck: false }
    const files = ['every.ts', 'typed.ts', 'typed.cts', 'two-copies.ts', 'nothing.ts', 'raw-body/none.ts', ...pages]
    kit.write('tsconfig.json', JSON.stringify({ compilerOptions, files }))
    t.equal(await outputOf(node(typescript7, '--singleThreaded')), '')
    t.equal(await outputOf(node('built/two-copies.js')), 'function\n200\n403\n', 'an instance of another copy of Fastify')
  })

  t.test('TypeScript 7.0, bundler', { buffered: true }, async (t) => {
    const compilerOptions = { ...strict, module: 'esnext', moduleResolution: 'bundler', noEmit: true, skipLibCheck: true }
    kit.write('tsconfig.bundler.json', JSON.stringify({ compilerOptions, files: ['every.ts', 'nothing.ts'] }))
    t.equal(await outputOf(node(typescript7, '--singleThreaded', '--project', 'tsconfig.bundler.json')), '')
  })

  for (const [version, settings, rawBody] of [
    ['5.4', { module: 'commonjs', moduleResolution: 'node10', esModuleInterop: true }, 'string'],
    ['5.9', { module: 'node16' }, 'buffer'],
    ['6.0', { module: 'esnext', moduleResolution: 'bundler' }, 'plugin']
  ] as const) {
    t.test(`TypeScript ${version}, ${JSON.stringify(settings)}; each module resolves in every way`, { buffered: true }, async (t) => {
      const files = ['every.ts', 'typed.ts', ...pages, `raw-body/${rawBody}.ts`].map((file) => join(kit.folder, file))
      const input = JSON.stringify({ options: { ...strict, ...settings }, files, modules: MODULES })
      t.equal(await outputOf(node('check.cjs', `typescript-${version}`, input)), '')
    })
  }

  t.test('schemas of typebox 1 and of zod are refused with their origin', { buffered: true }, async (t) => {
    kit.write('look-alikes.js', LOOK_ALIKES)
    const options = [
      'aghanimPlugin: option "eventData"', 'identityValidationPlugin: option "schemas.sessions"',
      'createProvider: option "body"'
    ]
    const expected = ['typebox 1.x', 'zod'].flatMap((origin) => options.map((option) =>
      `${option} must be a TypeBox schema of @sinclair/typebox 0.34, which fastify-verification/provider exports as "Type": ` +
      `this one was made with ${origin}\n`))
    t.equal(await outputOf(node('look-alikes.js')), expected.join(''))
  })

  /** Creates a project that can resolve only its own dependencies. */
  async function createStrict (name: string): Promise<Consumer> {
    const consumer = createConsumer(t)
    const { dependencies } = JSON.parse(readFileSync(join(kit.folder, 'package.json'), 'utf8'))
    consumer.write('package.json', JSON.stringify({
      name,
      private: true,
      type: 'module',
      dependencies: {
        '@types/node': dependencies['@types/node'], fastify: dependencies.fastify, 'fastify-verification': `file:${await tarball}`
      }
    }))
    consumer.write('signup.ts', SIGNUP)
    consumer.write('deliver.js', DELIVER)
    return consumer
  }

  t.test('the schema of the page works with pnpm, and can be declared', { buffered: true }, async (t) => {
    const { folder, run, write } = await createStrict('with-pnpm')
    const pnpm = join(kit.folder, 'node_modules/pnpm/bin/pnpm.cjs')
    await run(process.execPath, pnpm, 'install', '--prefer-offline', '--ignore-scripts')
    t.notOk(existsSync(join(folder, 'node_modules/@sinclair')))
    const compilerOptions = { ...nodeSettings.compilerOptions, declaration: true, outDir: '.' }
    write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['signup.ts'] }))
    t.equal(await outputOf(run(process.execPath, typescript7, '--singleThreaded')), '')
    const output = await outputOf(run(process.execPath, 'deliver.js'))
    t.match(output, DELIVERED)
    t.match(output, "Cannot find package '@sinclair/typebox'")
  })

  t.test('the schema of the page works with Yarn Plug\'n\'Play', { buffered: true }, async (t) => {
    const { run, write } = await createStrict('with-yarn')
    write('.yarnrc.yml', 'nodeLinker: pnp\nenableImmutableInstalls: false\nenableScripts: false\nenableTelemetry: false\n')
    const compilerOptions = { ...nodeSettings.compilerOptions, outDir: 'signup' }
    kit.write('tsconfig.signup.json', JSON.stringify({ compilerOptions, files: ['signup.ts'] }))
    t.equal(await outputOf(node(typescript7, '--singleThreaded', '--project', 'tsconfig.signup.json')), '')
    write('signup.js', readFileSync(join(kit.folder, 'signup/signup.js'), 'utf8'))
    const yarn = join(kit.folder, 'node_modules/@yarnpkg/cli-dist/bin/yarn.js')
    await run(process.execPath, yarn, 'install')
    const output = await outputOf(run(process.execPath, yarn, 'node', 'deliver.js'))
    t.match(output, DELIVERED)
    t.match(output, 'Your application tried to access @sinclair/typebox')
  })
})
