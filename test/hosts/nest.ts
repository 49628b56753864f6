import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { signAghanim } from '../../plugins/index.js'
import { shellEnv, type Consumer } from '../support/consumer.js'
import { FORBIDDEN } from '../support/deliveries.js'
import { blocksOf } from '../support/docs.js'
import { createKit, lacksRegistry } from '../support/kit.js'
import { PLAIN_NODE } from '../support/programs.js'
import { pathOf, read } from '../support/project.js'
import { freePort } from '../support/redis.js'

// The code of docs/nestjs.md and docs/commonjs-and-test-runners.md. One suite for both, since installing Nest and Jest
// takes longer than all of the tests: Nest 11 is CommonJS with Jest, Nest 12 is ESM with Vitest.

t.setTimeout(280_000)

const RUNNERS = read('docs/commonjs-and-test-runners.md')
const [tsconfig, jestOptions] = blocksOf(RUNNERS, 'json').map((block) => JSON.parse(block))
const SOURCES = [read('docs/nestjs.md'), RUNNERS].flatMap((page) => blocksOf(page, 'typescript'))
const secret = 'a secret of at least 24 bytes'
const body = JSON.stringify({ event_id: '1', event_type: 'player.verify', event_data: { player_id: '2D2R-OP3C' } })

/** Writes the sources of the pages, which begin with their paths, and those of the fixture. */
function writeSources ({ folder, write }: Consumer, edit = (source: string) => source): void {
  cpSync(pathOf('test/fixtures/hosts/nest'), folder, { recursive: true })
  for (const source of SOURCES) write(/^\/\/ (src\/\S+\.ts)\n/.exec(source)![1]!, source)
  for (const name of readdirSync(join(folder, 'src'))) {
    write(`src/${name}`, edit(readFileSync(join(folder, 'src', name), 'utf8')))
  }
}

/** Returns the exit status of a program, and all its output without colours. */
const outcomeOf = (running: ReturnType<Consumer['run']>): Promise<{ code: number, output: string }> => running.then(
  ({ stdout, stderr }) => ({ code: 0, output: stdout + stderr }),
  ({ code, stdout, stderr }) => ({ code, output: `${stdout}${stderr}` }))

const node = (kit: Consumer, ...args: string[]) => outcomeOf(kit.run('NO_COLOR=1', process.execPath, ...args))
const compile = (kit: Consumer, ...options: string[]) => node(kit, 'node_modules/typescript/bin/tsc', ...options)

/** Starts `src/main.ts` of the page and returns its address. */
async function start (t: Test, { folder: cwd }: Consumer): Promise<string> {
  const port = String(await freePort())
  const env = { ...shellEnv, AGHANIM_SECRET: secret, PORT: port }
  const server = spawn('env', [...PLAIN_NODE, 'dist/main.js'], { cwd, env })
  t.teardown(() => server.kill('SIGKILL'))
  for (let output = ''; !output.includes('Server listening');) output += String((await once(server.stdout, 'data'))[0])
  return `http://127.0.0.1:${port}`
}

async function testApplication (t: Test, kit: Consumer): Promise<void> {
  t.notOk(kit.has('@nestjs/platform-fastify/node_modules/fastify'), 'the only copy of Fastify is the one of Nest')
  t.strictSame(await compile(kit), { code: 0, output: '' })

  t.test('a delivery is answered, a changed one refused, and the routes of Nest keep their bodies', async (t) => {
    const url = await start(t, kit)
    async function post (path: string, headers: Record<string, string>, body: string): Promise<[number, string]> {
      const response = await fetch(url + path, { method: 'POST', headers, body })
      return [response.status, await response.text()]
    }
    const signed = () => signAghanim({ secret, body })
    const [status, player] = await post('/webhooks/aghanim', signed(), body)
    t.strictSame([status, JSON.parse(player).name], [200, 'Beebee-Ate'])
    t.strictSame(await post('/webhooks/aghanim', signed(), `${body} `), [403, FORBIDDEN])
    t.equal((await post('/api/webhooks/aghanim', signed(), body))[0], 404, 'the global prefix does not apply')
    const json = { 'content-type': 'application/json' }
    t.strictSame(await post('/api/echo', json, '{"a": 1}'), [201, '{"body":{"a":1},"rawBody":"{\\"a\\": 1}"}'])
    t.strictSame(await post('/api/echo', { 'content-type': 'application/x-www-form-urlencoded' }, 'a=1'),
      [201, '{"body":{"a":"1"},"rawBody":"a=1"}'])
    t.equal((await post('/api/echo', json, '{'))[0], 400)
  })

  t.test('it closes after the running handler has ended; a late plugin and an empty secret are errors', async (t) => {
    const { output } = await node(kit, 'dist/limits.js')
    t.strictSame(output.trim().split('\n').map((line) => JSON.parse(line)), [
      { status: 200, connection: 'close', order: ['onModuleDestroy', 'handler', 'onApplicationShutdown'] },
      { late: 'AVV_ERR_ROOT_PLG_BOOTED' },
      { empty: 'FST_VERIFICATION_INVALID_OPTION' }
    ])
  })
}

t.test('from the tarball', { skip: lacksRegistry, jobs: 2 }, async (t) => {
  t.test('Nest 11, CommonJS, Jest', { buffered: true, jobs: 2 }, async (t) => {
    const kit = await createKit(t, 'nest-11')
    writeSources(kit, (source) => source.replaceAll(/ '(\.\/[^']*)\.js'/g, " '$1'"))

    t.test('the application', { buffered: true }, (t) => testApplication(t, kit))

    t.test('CommonJS: the modules that the page requires exist, and its settings have the described effect', { buffered: true }, async (t) => {
      kit.write('page.cjs', `${blocksOf(RUNNERS, 'js')[0]}console.log(typeof Fastify, typeof aghanimPlugin)`)
      t.strictSame(await node(kit, 'page.cjs'), { code: 0, output: 'function function\n' })
      t.equal(tsconfig.compilerOptions.module, JSON.parse(read('test/fixtures/hosts/nest/tsconfig.json')).compilerOptions.module)
      kit.write('page.cts', "import { aghanimPlugin } from 'fastify-verification/aghanim'\nexport const plugin = aghanimPlugin\n")
      const errorsOf = async (module: string, resolution: string) => (await compile(kit, '--noEmit', '--skipLibCheck',
        '--target', 'es2022', '--module', module, '--moduleResolution', resolution, 'page.cts')).output
      t.match(await errorsOf('node16', 'node16'), /^page\.cts.* TS1479: /)
      t.equal(await errorsOf('commonjs', 'node10'), '')
    })

    t.test('Jest as in the template works with one more line, and not without it', { buffered: true }, async (t) => {
      const jest = (...args: string[]) => node(kit, 'node_modules/jest/bin/jest.js', '--runInBand', ...args)
      t.match(await jest('webhooks'), { code: 1, output: /Must use import to load ES Module/ })
      const { jest: template } = JSON.parse(readFileSync(join(kit.folder, 'package.json'), 'utf8'))
      kit.write('jest.json', JSON.stringify({ ...template, ...jestOptions }))
      t.match(await jest('--config=jest.json', 'webhooks', 'clock.jest'), { code: 0, output: /^Tests: +3 passed, 3 total$/m })
    })

    t.test('the line for Jest also fits the folders of pnpm', { buffered: true }, async (t) => {
      const [pattern] = jestOptions.transformIgnorePatterns
      const compiled = (path: string) => !new RegExp(pattern).test(path)
      t.ok(compiled('/app/node_modules/fastify-verification/dist/plugins/index.js'))
      t.ok(compiled('/app/node_modules/.pnpm/fastify-verification@1.0.0/node_modules/fastify-verification/dist/cli/main.js'))
      t.notOk(compiled('/app/node_modules/fastify/fastify.js'))
      t.notOk(compiled('/app/node_modules/.pnpm/fastify@5.11.3/node_modules/fastify/fastify.js'))
    })
  })

  t.test('Nest 12, ESM, Vitest', { buffered: true, jobs: 2 }, async (t) => {
    const kit = await createKit(t, 'nest-12')
    writeSources(kit)

    t.test('the application', { buffered: true }, (t) => testApplication(t, kit))

    t.test('Vitest without configuration', { buffered: true }, async (t) => {
      const vitest = await node(kit, 'node_modules/vitest/vitest.mjs', 'run', '--globals', 'webhooks', 'clock.vitest')
      t.match(vitest, { code: 0, output: /^ *Tests +3 passed \(3\)$/m })
    })

    t.test('a second copy of Fastify would do no harm, since no module imports one', { buffered: true }, async (t) => {
      const modules = readdirSync(join(kit.installed, 'dist'), { recursive: true, encoding: 'utf8' })
        .filter((path) => path.endsWith('.js'))
      t.ok(modules.length > 20)
      t.strictSame(modules.filter((path) =>
        /(?:from|import|require)\s*\(?['"]fastify['"]/.test(readFileSync(join(kit.installed, 'dist', path), 'utf8'))), [])
    })
  })
})
