import { build } from 'esbuild'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createConsumer, packOnce, shellEnv, type Consumer } from '../support/consumer.js'
import { blocksOf } from '../support/docs.js'
import { pathOf, read } from '../support/project.js'
import { PLAIN_NODE } from '../support/programs.js'
import { freePort } from '../support/redis.js'

const { name, version, exports, peerDependencies, peerDependenciesMeta } = JSON.parse(read('package.json'))
const optional = Object.keys(peerDependenciesMeta)

t.setTimeout(600_000) // packs, installs and compiles

const consumer = createConsumer(t)
const { folder, installed, write, run } = consumer
const node = (...args: string[]) => run(process.execPath, ...args)

/** Returns the output of a program, with an exit status other than 0; '' if it succeeds silently. */
const complaintsOf = (running: ReturnType<Consumer['run']>): Promise<string> => running.then(
  ({ stdout, stderr }) => stdout + stderr, ({ code, stdout, stderr }) => `exit status ${code}\n${stdout}${stderr}`)
/** Returns the output of a program only if it fails. */
const failureOf = (running: ReturnType<Consumer['run']>): Promise<string> =>
  complaintsOf(running).then((said) => said.startsWith('exit status') ? said : '')

const tarball = await packOnce(t)
const contents = (await run('tar', '-tzf', tarball)).stdout.trim().split('\n').map((path) => path.replace('package/', ''))

/** Modules that can be imported, with their files. */
const modules = Object.entries<{ default: string } | string>(exports).flatMap(([subpath, target]) => {
  if (typeof target === 'string') return []
  const [before, after] = target.default.slice(2).split('*') as [string, string?]
  if (after === undefined) return [{ specifier: name + subpath.slice(1), file: before }]
  return contents.filter((path) => path.startsWith(before) && path.endsWith(after)).map((file) => {
    const part = file.slice(before.length, -after.length)
    return { specifier: name + subpath.slice(1).replace('*', part), file }
  })
})

// Starts the slow tools first, which run beside the tests. `require` loads an ES module on every supported Node.
const tool = (name: string, ...args: string[]) => failureOf(run(pathOf(`bench/node_modules/.bin/${name}`), ...args))
const tools = { publint: tool('publint', 'run', tarball, '--strict'), attw: tool('attw', tarball, '--ignore-rules', 'cjs-resolves-to-esm') }

t.test('the tarball contains only what a user needs, and all of it', async (t) => {
  const wanted = /^(?:dist\/.*\.(?:js|d\.ts)|docs\/(?:several-instances\/)?[\w-]+\.(?:md|svg|conf|yaml)|package\.json|LICENSE|(?:README|CHANGELOG|SECURITY)\.md)$/
  t.strictSame(contents.filter((path) => !wanted.test(path)), [])
  t.strictSame(contents.filter((path) => /(?:^|\/)(?:test|bench|example)/.test(path)), [])
  const links = (page: string, pattern: RegExp) => [...read(page).matchAll(pattern)].map(([, path]) => path!)
  const linked = [
    ...links('README.md', /\]\((docs\/[^)#]+)/g),
    ...contents.filter((path) => /^docs\/.*\.md$/.test(path))
      .flatMap((page) => links(page, /\]\(([\w-]+\.\w+)[)#]/g)).map((path) => `docs/${path}`)
  ]
  t.ok(linked.length > 0)
  t.strictSame(linked.filter((path) => !contents.includes(path)), [])
  for (const target of Object.values<Record<string, string>>(exports).flatMap((target) => Object.values(target))) {
    if (target.includes('*') || !target.startsWith('./')) continue
    t.ok(contents.includes(target.slice(2)), target)
  }
})

t.test('it is installed into an empty folder', async (t) => {
  await consumer.install(['fastify', '@types/node'], tarball)
  t.strictSame([name, ...Object.keys(peerDependencies)].filter(consumer.has), [name, 'fastify'])
})

const importAll = (from: readonly { specifier: string }[]) => from.map(({ specifier }) => `import '${specifier}'\n`).join('')

/** Imports modules one after the other in one process, and returns the error of each, or ''. */
async function errorsOf (specifiers: readonly string[]): Promise<Record<string, string>> {
  write('errors.js', `const errors = {}
    for (const specifier of ${JSON.stringify(specifiers)}) {
      errors[specifier] = await import(specifier).then(() => '', ({ code, message }) => code + ' ' + message)
    }
    console.log(JSON.stringify(errors))`)
  return JSON.parse((await node('errors.js')).stdout)
}

/** Program that sends a valid and a changed delivery over a socket, and prints both statuses. */
const programOf = (title: string, plugin: string) => `
const secret = 'a secret of at least 24 bytes'
const app = Fastify()
app.register(${plugin}, {
  secret,
  verifyPlayer: (event) => ({ player_id: event.event_data.player_id, name: 'Ada', attributes: { level: 1 } })
})
app.listen({ port: 0 }).then(async (address) => {
  const body = JSON.stringify({ event_id: '1', event_type: 'player.verify', event_data: { player_id: '1' } })
  const post = (sent) => fetch(address + '/aghanim', { method: 'POST', headers: signAghanim({ secret, body }), body: sent })
  console.log('${title}', (await post(body)).status, (await post(body + ' ')).status)
  await app.close()
})
`

// Programs by extension. Those of one extension run in one process, and import parts of the package or the whole.
const PROGRAMS = {
  js: {
    default: `import { fastify as Fastify } from 'fastify'
      import plugin, { signAghanim } from '${name}/aghanim'${programOf('default', 'plugin')}`,
    named: `import Fastify from 'fastify'
      import { aghanimPlugin, signAghanim } from '${name}'${programOf('named', 'aghanimPlugin')}`,
    dynamic: `import Fastify from 'fastify'
      import { signAghanim } from '${name}/aghanim'${programOf('dynamic', `import('${name}/aghanim')`)}`
  },
  cjs: {
    named: `const Fastify = require('fastify')
      const { aghanimPlugin, signAghanim } = require('${name}')${programOf('named', 'aghanimPlugin')}`,
    default: `const Fastify = require('fastify')
      const { signAghanim } = require('${name}')${programOf('default', `require('${name}/aghanim').default`)}`,
    whole: `const Fastify = require('fastify')
      const { signAghanim } = require('${name}')${programOf('whole', `require('${name}/aghanim')`)}`
  }
}

t.test('without the optional peers', { jobs: 3 }, async (t) => {
  /** Returns the optional peers that a module imports. */
  const needs = ({ file }: { file: string }): string[] => {
    const text = readFileSync(join(installed, file), 'utf8')
    return optional.filter((peer) => text.includes(`from '${peer}'`))
  }
  const about = modules.filter((module) => needs(module).length > 0)
  const plain = modules.filter((module) => !about.includes(module))
  const inside = ['lib/mac', 'plugins/lib/signature/hmac.js', 'dist/plugins/lib/signature/hmac.js', 'tools/send', 'cli'].map((path) => `${name}/${path}`)
  write('plain.js', importAll(plain))
  write('nothing.js', `import nothing from '${name}'`)
  const running = errorsOf(['./plain.js', ...about.map(({ specifier }) => specifier), ...inside, './nothing.js'])

  for (const [extension, programs] of Object.entries(PROGRAMS)) {
    t.test(`it verifies a delivery, with named and default exports, in .${extension}`, { buffered: true }, async (t) => {
      const load = (title: string) => extension === 'js' ? `import './${title}.js'\n` : `require('./${title}.cjs')\n`
      for (const [title, program] of Object.entries(programs)) write(`${title}.${extension}`, program)
      write(`all.${extension}`, Object.keys(programs).map(load).join(''))
      const { stdout, stderr } = await node(`all.${extension}`)
      t.strictSame(stdout.trim().split('\n').sort(), Object.keys(programs).map((title) => `${title} 200 403`).sort())
      // Node 22.12 still warns that require() of a module is experimental.
      t.match(stderr, extension === 'cjs' ? /^(?:.*ExperimentalWarning: CommonJS module[^]*using require[^]*)?$/ : /^$/)
    })
  }

  t.test('every module can be imported, except those for a peer', { buffered: true }, async (t) => {
    t.ok(about.length > 0 && plain.length > 10)
    const errors = await running
    t.equal(errors['./plain.js'], '', 'without them')
    for (const module of about) {
      t.match(errors[module.specifier], `ERR_MODULE_NOT_FOUND Cannot find package '${needs(module)[0]}'`, module.specifier)
    }
  })

  t.test('modules that are not exported cannot be imported', { buffered: true }, async (t) => {
    const errors = await running
    for (const specifier of inside) t.match(errors[specifier], /^ERR_PACKAGE_PATH_NOT_EXPORTED /, specifier)
    t.match(errors['./nothing.js'], "does not provide an export named 'default'", 'there is no default export')
  })
})

t.test('with the optional peers', { jobs: 2 }, async (t) => {
  await consumer.install(optional)
  const example = blocksOf(read('README.md'), 'ts').find((block) => block.includes('app.listen'))!
  write('server.ts', example.replace('port: 3000', 'port: Number(process.env.PORT)'))
  write('every.ts', importAll(modules) + modules.map(({ specifier }, index) => `export * as m${index} from '${specifier}'\n`).join(''))
  const compilerOptions = { strict: true, skipLibCheck: true, target: 'es2022', types: ['node'], outDir: 'built', rootDir: '.' }
  write('tsconfig.json', JSON.stringify({ compilerOptions: { ...compilerOptions, module: 'nodenext' }, include: ['*.ts'] }))
  t.test('every module is compiled for Node, and imported', { buffered: true }, async (t) => {
    const compiler = pathOf('node_modules/@typescript/native/bin/tsc')
    t.equal(await complaintsOf(node(compiler, '--singleThreaded')), '')
    t.equal(await complaintsOf(node('built/every.js')), '')

    t.test('the first server of the README accepts the deliveries of the command, and refuses changed ones', async (t) => {
      const secrets = { AGHANIM_SECRET: 'a secret of at least 24 bytes', ALTDENTIFIER_SECRET: 'another one of 24 bytes or more' }
      const port = await freePort()
      const server = spawn('env', [...PLAIN_NODE, 'built/server.js'], { cwd: folder, env: { ...shellEnv, ...secrets, PORT: String(port) } })
      t.teardown(() => server.kill('SIGKILL'))
      for (let output = ''; !output.includes('Server listening');) output += String((await once(server.stdout, 'data'))[0])
      const command = (...args: string[]) => run(join(folder, 'node_modules/.bin', name), ...args)
      const sending = [['aghanim', 'AGHANIM_SECRET'], ['altdentifier', 'ALTDENTIFIER_SECRET']] as const
      await Promise.all([
        ...sending.map(async ([provider, secret]) => {
          const send = ['send', provider, '--url', `http://127.0.0.1:${port}/webhooks/${provider}`, '--secret', secrets[secret]]
          const [valid, tampered] = await Promise.all([command(...send), command(...send, '--variant', 'tampered')])
          t.match(valid.stdout, /As expected/, provider)
          t.match(tampered.stdout, /403[^]*As expected/, `${provider}, tampered`)
        }),
        t.rejects(command('send', 'aghanim', '--url', `http://127.0.0.1:${port}/webhooks/aghanim`, '--secret', 'another'), { code: 1 }),
        run('npx', '--no-install', name, '--version').then(({ stdout }) => t.equal(stdout, `${version}\n`))
      ])
    })
  })

  t.test('a bundle contains only the code that is used', { buffered: true }, async (t) => {
    const inputsOf = async (use: string) => {
      const stdin = { contents: `import { ${use} } from '${name}'\nconsole.log(${use})`, resolveDir: folder }
      const { metafile } = await build({ stdin, bundle: true, write: false, metafile: true, platform: 'node', format: 'esm' })
      return Object.values(metafile.outputs).flatMap(({ inputs }) => Object.keys(inputs)).join('\n')
    }
    t.match(await inputsOf('humandetectPlugin'), 'node_modules/undici/')
    t.notMatch(await inputsOf('signAghanim'), 'node_modules/undici/')
  })
})

t.test('publint and arethetypeswrong find nothing', async (t) => {
  for (const [tool, said] of Object.entries(tools)) t.equal(await said, '', tool)
})
