import { build } from 'esbuild'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { blocksOf } from '../support/docs.js'
import { pathOf, read } from '../support/project.js'
import { PLAIN, PLAIN_NODE } from '../support/programs.js'
import { freePort } from '../support/redis.js'

const root = pathOf('.')
const { name, version, exports, dependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(read('package.json'))
const optional = Object.keys(peerDependenciesMeta)

t.setTimeout(600_000) // it packs, installs and compiles

// Outside of the project, where nothing of its own is found by accident; and as from a shell, not from a script of npm.
const folder = mkdtempSync(join(tmpdir(), 'consumer-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const env = Object.fromEntries(Object.entries(process.env)
  .filter(([key]) => !/^(INIT_CWD|npm_(package|lifecycle|command|config_local_prefix).*)$/i.test(key)))

const run = (command: string, args: readonly string[], cwd = folder) =>
  promisify(execFile)('env', [...PLAIN, command, ...args], { cwd, env })
const write = (path: string, text: string) => writeFileSync(join(folder, path), text)
const installed = join(folder, 'node_modules', name)

interface Failure { stdout: string, stderr: string }

/** Fails with what the program said. */
async function passes (t: Test, title: string, ...call: Parameters<typeof run>): Promise<void> {
  const said = await run(...call).then(() => '', ({ stdout, stderr }: Failure) => `${stdout}${stderr}`)
  t.equal(said, '', title)
}

/** The versions the project is tested with, so that no new release of another package decides. */
const pinned = (dependency: string) =>
  `${dependency}@${JSON.parse(readFileSync(join(root, 'node_modules', dependency, 'package.json'), 'utf8')).version}`

const reachesRegistry = () =>
  run('npm', ['view', 'fastify', 'version', '--prefer-online', '--fetch-retries=0']).then(() => true, () => false)

/** From the registry or npm's cache; without either, as links to what the project itself has installed. */
async function install (t: Test, dependencies: readonly string[], tarball?: string): Promise<void> {
  const packages = [...tarball === undefined ? [] : [tarball], ...dependencies.map(pinned)]
  try {
    await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=0', ...packages])
  } catch (error) {
    if (await reachesRegistry()) throw error
    t.comment('no registry can be reached: the dependencies are links to those of the project')
    if (tarball !== undefined) await unpack(tarball)
    for (const dependency of dependencies) link(dependency)
  }
}

async function unpack (tarball: string): Promise<void> {
  mkdirSync(join(folder, 'node_modules/.bin'), { recursive: true })
  mkdirSync(installed)
  await run('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])
  for (const dependency of Object.keys(dependencies)) link(dependency)
  const program = join(installed, 'dist/cli.js')
  chmodSync(program, 0o755)
  symlinkSync(program, join(folder, 'node_modules/.bin', name))
}

function link (dependency: string): void {
  const path = join(folder, 'node_modules', dependency)
  mkdirSync(dirname(path), { recursive: true })
  if (!existsSync(path)) symlinkSync(join(root, 'node_modules', dependency), path)
}

await run('npm', ['pack', '--silent', '--pack-destination', folder], root)
const tarball = join(folder, `${name}-${version}.tgz`)
const contents = (await run('tar', ['-tzf', tarball])).stdout.trim().split('\n').map((path) => path.replace('package/', ''))

/** What can be imported, and in which file it is. */
const modules = Object.entries<{ default: string } | string>(exports).flatMap(([subpath, target]) => {
  if (typeof target === 'string') return []
  const [before, after] = target.default.slice(2).split('*') as [string, string?]
  if (after === undefined) return [{ specifier: name + subpath.slice(1), file: before }]
  return contents.filter((path) => path.startsWith(before) && path.endsWith(after)).map((file) => {
    const part = file.slice(before.length, -after.length)
    return { specifier: name + subpath.slice(1).replace('*', part), file }
  })
})

t.test('only what a user needs is in the tarball, and all of it', async (t) => {
  const wanted = /^(?:dist\/.*\.(?:js|d\.ts)|docs\/(?:several-instances\/)?[\w-]+\.(?:md|svg|conf|yaml)|package\.json|LICENSE|(?:README|CHANGELOG|SECURITY)\.md)$/
  t.strictSame(contents.filter((path) => !wanted.test(path)), [])
  t.strictSame(contents.filter((path) => /test|bench|example/.test(path)), [])
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

t.test('publint and arethetypeswrong have nothing to say', async (t) => {
  const tool = (path: string) => join(root, 'node_modules/.bin', path)
  await passes(t, 'publint', tool('publint'), ['run', tarball, '--strict'])
  await passes(t, 'attw', tool('attw'), [tarball, '--profile', 'esm-only'])
})

t.test('it is installed into an empty folder', async (t) => {
  write('package.json', JSON.stringify({ name: 'consumer', private: true, type: 'module' }))
  await install(t, ['fastify', '@types/node'], tarball)
  t.ok(existsSync(join(installed, 'package.json')))
  t.strictSame(Object.keys(peerDependencies).filter((peer) => existsSync(join(folder, 'node_modules', peer))), ['fastify'])
})

/** The optional peers that a module imports by itself. */
const needs = ({ file }: { file: string }): string[] => {
  const text = readFileSync(join(installed, file), 'utf8')
  return optional.filter((peer) => text.includes(`from '${peer}'`))
}

const importAll = (from: readonly { specifier: string }[]) => from.map(({ specifier }) => `import '${specifier}'\n`).join('')
const node = (...args: string[]) => run(process.execPath, args)
const failing = (...args: string[]) => node(...args).then(() => 'it did not fail', ({ stderr }: Failure) => stderr)

t.test('every module is there without the optional peers, but for those which are about one', async (t) => {
  const about = modules.filter((module) => needs(module).length > 0)
  const plain = modules.filter((module) => !about.includes(module))
  t.ok(about.length > 0 && plain.length > 10)
  write('plain.js', importAll(plain))
  await passes(t, 'without them', process.execPath, ['plain.js'])
  for (const module of about) {
    write('about.js', importAll([module]))
    t.match(await failing('about.js'), `Cannot find package '${needs(module)[0]}'`, module.specifier)
  }
})

/** Takes a delivery from a socket, and refuses one that has changed: prints both statuses. */
const PROGRAM = `
const secret = 'a secret of at least 24 bytes'
const app = Fastify()
app.register(PLUGIN, {
  secret,
  verifyPlayer: (event) => ({ player_id: event.event_data.player_id, name: 'Ada', attributes: { level: 1 } })
})
app.listen({ port: 0 }).then(async (address) => {
  const body = JSON.stringify({ event_id: '1', event_type: 'player.verify', event_data: { player_id: '1' } })
  const post = (sent) => fetch(address + '/aghanim', { method: 'POST', headers: signAghanim({ secret, body }), body: sent })
  console.log((await post(body)).status, (await post(body + ' ')).status)
  await app.close()
})
`

t.test('it verifies a delivery, by import and by require, with named and default exports', async (t) => {
  const programs = {
    'named.js': `import Fastify from 'fastify'
      import { aghanimPlugin, signAghanim } from '${name}'${PROGRAM.replace('PLUGIN', 'aghanimPlugin')}`,
    'default.js': `import { fastify as Fastify } from 'fastify'
      import plugin, { signAghanim } from '${name}/aghanim'${PROGRAM.replace('PLUGIN', 'plugin')}`,
    'dynamic.js': `import Fastify from 'fastify'
      import { signAghanim } from '${name}/aghanim'${PROGRAM.replace('PLUGIN', `import('${name}/aghanim')`)}`,
    'named.cjs': `const Fastify = require('fastify')
      const { aghanimPlugin, signAghanim } = require('${name}')${PROGRAM.replace('PLUGIN', 'aghanimPlugin')}`,
    'default.cjs': `const Fastify = require('fastify')
      const { signAghanim } = require('${name}')${PROGRAM.replace('PLUGIN', `require('${name}/aghanim').default`)}`,
    'whole.cjs': `const Fastify = require('fastify')
      const { signAghanim } = require('${name}')${PROGRAM.replace('PLUGIN', `require('${name}/aghanim')`)}`
  }
  for (const [file, program] of Object.entries(programs)) {
    write(file, program)
    const { stdout, stderr } = await node(file)
    t.equal(stdout, '200 403\n', file)
    // Node 22.12 still says that require() of a module is new.
    t.match(stderr, file.endsWith('.cjs') ? /^(?:.*ExperimentalWarning: CommonJS module[^]*using require[^]*)?$/ : /^$/, file)
  }
  write('nothing.js', `import nothing from '${name}'`)
  t.match(await failing('nothing.js'), "does not provide an export named 'default'", 'which plugin would it be?')
})

t.test('what is not exported cannot be had', async (t) => {
  for (const inside of ['lib/mac', 'plugins/lib/mac.js', 'dist/plugins/lib/mac.js', 'tools/send', 'cli']) {
    write('inside.js', `import '${name}/${inside}'`)
    t.match(await failing('inside.js'), 'ERR_PACKAGE_PATH_NOT_EXPORTED', inside)
  }
})

t.test('a bundle holds what is used of it only', async (t) => {
  const inputsOf = async (use: string) => {
    const stdin = { contents: `import { ${use} } from '${name}'\nconsole.log(${use})`, resolveDir: folder }
    const { metafile } = await build({ stdin, bundle: true, write: false, metafile: true, platform: 'node', format: 'esm' })
    return Object.values(metafile.outputs).flatMap(({ inputs }) => Object.keys(inputs)).join('\n')
  }
  t.match(await inputsOf('humandetectPlugin'), 'node_modules/undici/')
  t.notMatch(await inputsOf('signAghanim'), 'node_modules/undici/')
})

t.test('with the optional peers every module is typed, checked with the libraries, for both kinds of modules', async (t) => {
  await install(t, optional)
  const example = blocksOf(read('README.md'), 'ts').find((block) => block.includes('app.listen'))!
  write('server.ts', example.replace('port: 3000', 'port: Number(process.env.PORT)'))
  write('every.ts', importAll(modules) + modules.map(({ specifier }, index) => `export * as m${index} from '${specifier}'\n`).join(''))
  write('typed.ts', `import aghanim, { aghanimPlugin } from '${name}/aghanim'
    import { humandetectPlugin } from '${name}/humandetect'
    import { redisDeliveries } from '${name}/deliveries/redis'
    import { collectMetrics } from '${name}/metrics'
    import { createWorker, enqueue } from '${name}/queue'
    import { Queue } from 'bullmq'
    import Fastify from 'fastify'
    import { Cluster, Redis } from 'ioredis'
    import { Registry } from 'prom-client'
    // @ts-expect-error which plugin would it be?
    import nothing from '${name}'
    collectMetrics({ registry: new Registry() })
    const stores = [redisDeliveries({ client: new Redis() }), redisDeliveries({ client: new Cluster([]) })]
    const app = Fastify()
    const connection = { url: '' }
    const later = enqueue(new Queue('deliveries', { connection }), { timeout: 500 })
    app.register(aghanim, {
      secret: '',
      deliveries: stores[0],
      verifyPlayer: (event, request) => (event.trigger === request.id ? null : null),
      handleEvent: later
    })
    // @ts-expect-error player.verify is to be answered at once
    app.register(aghanim, { secret: '', verifyPlayer: later })
    createWorker('deliveries', (delivery) => delivery.kind === 'passed' && delivery.provider === 'altdentifier' &&
      delivery.event.member.id.length, { connection, app })
    // @ts-expect-error no handler
    app.register(aghanimPlugin, { secret: '' })
    app.register(humandetectPlugin, { apiKey: '' })
    const preHandler = app.humandetect.requireHuman({ identifier: '' })
    app.get('/', { preHandler }, (request): boolean | undefined => request.humandetect?.valid)
    // @ts-expect-error nobody may have verified it
    app.get('/', (request) => request.humandetect.valid)
    // @ts-expect-error may be missing
    app.get('/', (request) => request.rawBody.length)`)
  write('typed.cts', `import verification = require('${name}')
    import { altdentifierPlugin } from '${name}/altdentifier'
    import Fastify = require('fastify')
    Fastify().register(altdentifierPlugin, { secret: '', handleEvent: (event) => event.OP === 1 && event.member.id.length })
    // @ts-expect-error no such event
    Fastify().register(verification.altdentifierPlugin, { secret: '', handleEvent: (event) => event.OP === 6 })`)
  const compilerOptions = { strict: true, skipLibCheck: false, target: 'es2022', types: ['node'], outDir: 'built', rootDir: '.' }
  write('tsconfig.json', JSON.stringify({
    compilerOptions: { ...compilerOptions, module: 'nodenext' }, include: ['*.ts', '*.cts']
  }))
  write('tsconfig.bundler.json', JSON.stringify({
    compilerOptions: { ...compilerOptions, module: 'esnext', moduleResolution: 'bundler', noEmit: true }, include: ['*.ts']
  }))
  const check = (title: string, typescript: string, ...args: string[]) =>
    passes(t, title, process.execPath, [join(root, 'node_modules', typescript, 'bin/tsc'), ...args])
  for (const typescript of ['typescript', '@typescript/native']) {
    await check(`${typescript}, nodenext`, typescript)
    await check(`${typescript}, bundler`, typescript, '--project', 'tsconfig.bundler.json')
  }
  await passes(t, 'and imported', process.execPath, ['built/every.js'])
})

t.test('the first server of the README takes what the command sends, and refuses what has changed', async (t) => {
  const secrets = { AGHANIM_SECRET: 'a secret of at least 24 bytes', ALTDENTIFIER_SECRET: 'another one of 24 bytes or more' }
  const port = await freePort()
  const server = spawn('env', [...PLAIN_NODE, 'built/server.js'], { cwd: folder, env: { ...env, ...secrets, PORT: String(port) } })
  t.teardown(() => server.kill('SIGKILL'))
  for (let output = ''; !output.includes('Server listening');) output += String((await once(server.stdout, 'data'))[0])
  t.equal((await run('npx', ['--no-install', name, '--version'])).stdout, `${version}\n`)
  const command = (...args: string[]) => run(join(folder, 'node_modules/.bin', name), args)
  for (const [provider, secret] of [['aghanim', 'AGHANIM_SECRET'], ['altdentifier', 'ALTDENTIFIER_SECRET']] as const) {
    const send = ['send', provider, '--url', `http://127.0.0.1:${port}/webhooks/${provider}`, '--secret', secrets[secret]]
    t.match((await command(...send)).stdout, /As expected/, provider)
    t.match((await command(...send, '--variant', 'tampered')).stdout, /403[^]*As expected/, `${provider}, tampered`)
  }
  await t.rejects(command('send', 'aghanim', '--url', `http://127.0.0.1:${port}/webhooks/aghanim`, '--secret', 'another'), { code: 1 })
})
