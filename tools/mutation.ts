import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { LogLevel, MutantResult } from '@stryker-mutator/api/core'
import { Stryker } from '@stryker-mutator/core'

/**
 * Files of one subject, the suites about them, cheapest first, and suites that run only for the surviving mutants: each
 * survivor takes the time of all of its suites.
 */
interface Group { files: string[], suites: string[], further: string[] }

/** Lists the files of a folder, without their extension, whose names begin like this. */
const beginning = (folder: string, start: string): string[] => readdirSync(folder)
  .filter((file) => file.startsWith(start) && file.endsWith('.ts')).map((file) => file.slice(0, -3))
const KEYED = beginning('plugins', 'identity-')
const KEYED_SUITES = beginning('test/providers', 'identity-').map((file) => `providers/${file}`)

const GROUPS: Record<string, Group> = {
  macs: {
    files: ['lib/signature/hmac'],
    suites: ['unit/mac'],
    further: ['providers/vectors', 'providers/altdentifier', 'providers/standalone', 'security/properties']
  },
  'http-signature': {
    files: ['lib/signature/http-signature'],
    suites: ['unit/http-signature', 'providers/altdentifier'],
    further: ['providers/vectors', 'security/properties']
  },
  headers: {
    files: ['lib/signature/fields', 'lib/signature/authenticate', 'lib/signature/scheme'],
    suites: ['unit/timestamp', 'unit/mac', 'unit/scheme', 'unit/authenticate', 'providers/altdentifier', ...KEYED_SUITES, 'unit/keys'],
    further: ['providers/aghanim', 'providers/standalone', 'path/options', 'path/delivery']
  },
  ids: {
    files: ['lib/idempotency/delivery-id'],
    suites: ['unit/delivery-id'],
    further: ['path/delivery-id', 'providers/own']
  },
  memory: {
    files: ['stores/memory'],
    suites: ['stores/contract'],
    further: ['path/options', 'path/once', 'stores/memory']
  },
  redis: {
    files: ['stores/redis', 'stores/redis-scripts'],
    suites: ['stores/redis', 'stores/contract'],
    further: ['path/options', 'integration/redis-outages']
  },
  once: {
    files: ['lib/idempotency/store'],
    suites: ['unit/errors', 'path/delivery-id', 'path/once'],
    further: ['path/delivery', 'path/rotation', 'path/results', 'path/store-faults', 'path/compose', 'path/outcomes']
  },
  keys: {
    files: ['lib/signature/keys', 'lib/signature/secrets', 'humandetect/api-keys'],
    suites: ['unit/keys', ...KEYED_SUITES, 'providers/standalone'],
    further: ['providers/aghanim', 'providers/altdentifier', 'path/options', 'providers/humandetect-api', 'path/compose']
  },
  time: {
    files: ['lib/timers', 'humandetect/semaphore'],
    suites: ['unit/timers'],
    further: ['unit/body', 'providers/humandetect', 'path/delivery']
  },
  options: {
    files: ['lib/rules', 'lib/signature/standalone', 'humandetect/base-url', 'lib/options'],
    suites: ['unit/options', 'providers/standalone', 'path/options'],
    further: ['providers/altdentifier', 'providers/humandetect', 'providers/humandetect-api', 'path/delivery', 'path/compose', 'providers/own']
  },
  replies: {
    files: ['lib/reply', 'lib/validation', 'lib/deny', 'lib/errors'],
    suites: ['unit/body', 'unit/errors', 'unit/reply', 'path/results', 'providers/aghanim', 'path/delivery'],
    further: ['providers/own-bodies', 'providers/altdentifier', 'providers/humandetect', 'path/options', 'path/compose', 'path/outcomes']
  },
  tokens: {
    files: ['humandetect-api', 'humandetect/encrypted-token', 'humandetect/client'],
    suites: ['unit/humandetect', 'providers/humandetect', 'providers/humandetect-api'],
    further: ['integration/humandetect-service']
  },
  guard: {
    files: ['humandetect', 'humandetect/guard', 'humandetect/token-verifier'],
    suites: ['unit/humandetect', 'providers/humandetect'],
    further: ['path/delivery-id', 'integration/humandetect-service', 'path/outcomes', 'path/compose']
  },
  routes: {
    files: ['lib/pipeline', 'lib/response', 'lib/context', 'lib/body', 'lib/telemetry', 'lib/webhook', 'lib/plugin'],
    suites: ['unit/body', 'unit/body-reader', 'path/body', 'path/results', 'providers/aghanim', 'providers/altdentifier', 'path/delivery', 'path/outcomes'],
    further: [...KEYED_SUITES, 'providers/humandetect', 'path/compose', 'providers/own', 'path/diagnose', 'integration/queue', 'package/openapi']
  },
  providers: {
    files: ['aghanim', 'altdentifier', ...KEYED, 'metrics', 'index', 'lib/webhook'],
    suites: ['providers/aghanim', 'providers/altdentifier', ...KEYED_SUITES, 'path/metrics', 'path/delivery-id'],
    further: ['unit/mac', 'providers/standalone', 'path/outcomes', 'path/options', 'path/delivery', 'path/compose', 'package/openapi', 'path/diagnose', 'integration/queue']
  },
  own: {
    files: ['provider', 'lib/definition', 'lib/signature/reading'],
    suites: ['providers/own', 'providers/own-bodies', ...KEYED_SUITES],
    further: ['path/options', 'providers/altdentifier', 'providers/aghanim']
  },
  queue: {
    files: ['queue', 'queue/*'],
    suites: ['integration/queue', 'integration/queue-worker'],
    further: ['path/delivery']
  },
  doctor: {
    files: ['lib/doctor/*'],
    suites: ['unit/doctor', 'path/diagnose'],
    further: []
  },
  cli: {
    files: ['../cli/*'],
    suites: ['unit/cli', 'integration/cli'],
    further: ['integration/doctor']
  }
}

const RESULTS = 'coverage/mutation' // one file per group
// Packages that read files beside their own modules.
const EXTERNAL = ['tap', '@tapjs/*', 'typescript', 'esbuild', 'bullmq', '@fastify/swagger-ui', '@seriousme/*']
// Definitions that bundles of ESM lack, without a space: Stryker runs the command without a shell.
const REQUIRE = 'globalThis.require=process.getBuiltinModule("node:module").createRequire(import.meta.url);' +
  'globalThis.__filename=process.getBuiltinModule("node:url").fileURLToPath(import.meta.url)'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    left: { type: 'boolean' }, // only the survivors of the last run, while the code is the same
    report: { type: 'boolean' }, // only prints the results of the last run
    sample: { type: 'string', default: '1' }, // one in this many mutants is tested
    patience: { type: 'string', default: '30' } // in seconds: on a busy machine a suite may just be slow
  }
})
const names = positionals.length > 0 ? positionals : Object.keys(GROUPS)
const patience = Number(values.patience)

interface Mutant {
  file: string
  /** Range in Stryker's format: lines from 1, columns from 0. */
  range: string
  replacement: string
  status: MutantResult['status']
}

function toMutant ({ fileName, location: { start, end }, status, replacement }: MutantResult): Mutant {
  const range = `${start.line}:${start.column - 1}-${end.line}:${end.column - 1}`
  return { file: relative('', fileName), range, status, replacement }
}

/**
 * Mutates the code in every way Stryker knows. Suites are bundled, since each mutant starts a new process for each of
 * them. Code that they share with the example is in separate files: inside a suite's file a program would consider
 * itself the main module. These files are where the example's page, an input for that reason, looks for its HTML.
 */
async function mutate (places: string[], suites: string[]): Promise<Mutant[]> {
  const inputs = ['example-server.ts', 'examples/deliveries-page/server.ts', ...suites.map((suite) => `test/${suite}.ts`)]
  const results = await new Stryker({
    mutate: places,
    testRunner: 'tap',
    plugins: ['@stryker-mutator/tap-runner', new URL('mutation-sample.ts', import.meta.url).pathname],
    checkers: ['sample'],
    checkerNodeArgs: ['--import', 'tsx'],
    testRunnerNodeArgs: ['--import', 'tsx'], // loads all plugins, too
    tap: { testFiles: suites.map((suite) => `test/${suite}.js`), nodeArgs: [], forceBail: true },
    buildCommand: `esbuild ${inputs.join(' ')} --bundle --splitting --platform=node --format=esm --outbase=. ` +
      '--outdir=. --chunk-names=examples/deliveries-page/[hash] ' +
      `${EXTERNAL.map((name) => `--external:${name}`).join(' ')} --log-level=error --banner:js=${REQUIRE}`,
    ignorePatterns: ['dist', '.tap', 'coverage'],
    coverageAnalysis: 'perTest',
    concurrency: 2,
    timeoutMS: patience * 1000,
    timeoutFactor: 2,
    cleanTempDir: 'always',
    logLevel: 'error' as LogLevel,
    reporters: ['progress']
  }).runMutationTest()
  return results.filter(({ status }) => status !== 'CompileError').map(toMutant)
}

const isLeft = ({ status }: Mutant): boolean => status === 'Survived' || status === 'NoCoverage'
const nameOf = ({ file, range, replacement }: Mutant): string => [file, range, replacement].join()

/** Tests some of the mutants with other suites, and returns all of them with the new results. */
async function mutateAgain (
  mutants: Mutant[], suites: string[], which: (mutant: Mutant) => boolean = isLeft
): Promise<Mutant[]> {
  const places = mutants.filter(which).map(({ file, range }) => `${file}:${range}`)
  if (places.length === 0 || suites.length === 0) return mutants
  const again = new Map((await mutate([...new Set(places)], suites)).map((mutant) => [nameOf(mutant), mutant]))
  return mutants.map((mutant) => which(mutant) ? again.get(nameOf(mutant)) ?? mutant : mutant)
}

function report (mutants: Mutant[]): void {
  const files = [...new Set(mutants.map(({ file }) => file))]
  const rows = files.map((file) => [file, mutants.filter((mutant) => mutant.file === file)] as const)
  for (const [file, some] of [...rows, ['all', mutants] as const]) {
    const count = (...statuses: string[]): number => some.filter(({ status }) => statuses.includes(status)).length
    const found = count('Killed', 'Timeout')
    const all = found + some.filter(isLeft).length
    console.log(`${file.padEnd(36)} ${found} of ${all} found (${(found / all * 100).toFixed(1)} %), ` +
      `${count('Timeout')} by time-out, ${count('NoCoverage')} not covered`)
  }
  for (const { file, range, replacement, status } of mutants.filter(isLeft)) {
    console.log(`${file}:${range} ${status}: ${replacement.replace(/\s+/g, ' ').slice(0, 80)}`)
  }
}

function read (name: string): Mutant[] {
  return JSON.parse(readFileSync(`${RESULTS}/${name}.json`, 'utf8')) as Mutant[]
}

function write (name: string, mutants: Mutant[]): void {
  writeFileSync(`${RESULTS}/${name}.json`, JSON.stringify(mutants, null, 1))
}

mkdirSync(RESULTS, { recursive: true })
// The timeout of a suite is longer than ours; Node 22 and later cache the compiled bundles.
Object.assign(process.env, {
  TAP_TIMEOUT: `${patience * 2}`, NODE_COMPILE_CACHE: resolve('coverage/compiled'), MUTATION_SAMPLE: values.sample
})
if (!values.report) {
  for (const name of names) {
    const { files, suites } = GROUPS[name]!
    write(name, values.left
      ? await mutateAgain(read(name), suites, (mutant) => mutant.status !== 'Killed')
      : await mutate(files.map((file) => join('plugins', `${file}.ts`)), suites))
  }
  for (const name of names) write(name, await mutateAgain(read(name), GROUPS[name]!.further))
}
report(names.flatMap(read))
const grouped = new Set(Object.values(GROUPS).flatMap(({ files }) => files.map((file) => file.replace('/*', ''))))
const forgotten = readdirSync('plugins', { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts') && !grouped.has(file.slice(0, -3)) && !grouped.has(dirname(file)))
if (forgotten.length > 0) console.log('in no group:', ...forgotten)
