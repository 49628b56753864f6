import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { LogLevel, MutantResult } from '@stryker-mutator/api/core'
import { Stryker } from '@stryker-mutator/core'

/**
 * Files of one subject with the suites about them, cheapest first, and those that are asked only of what is left: each
 * mutant that survives takes the time of all of its suites.
 */
interface Group { files: string[], suites: string[], further: string[] }

const GROUPS: Record<string, Group> = {
  macs: {
    files: ['lib/decode', 'lib/mac'],
    suites: ['lib-decode', 'lib-mac'],
    further: ['vectors', 'altdentifier', 'pure', 'properties']
  },
  timestamps: {
    files: ['lib/timestamp'],
    suites: ['lib-timestamp'],
    further: ['lib-http-signature', 'lib-verdict', 'aghanim', 'pure']
  },
  'http-signature': {
    files: ['lib/http-signature'],
    suites: ['lib-http-signature', 'altdentifier'],
    further: ['vectors', 'properties']
  },
  headers: {
    files: ['lib/headers', 'lib/authenticate', 'lib/endpoint', 'lib/rejection'],
    suites: ['lib-authenticate', 'lib-endpoint', 'altdentifier', 'identity-validation', 'lib-api-keys'],
    further: ['aghanim', 'pure', 'options', 'delivery']
  },
  ids: {
    files: ['lib/canonical-json', 'lib/delivery-id', 'lib/retention-queues'],
    suites: ['lib-canonical-json', 'lib-delivery-id', 'lib-retention-queues'],
    further: ['deliveries-ids', 'provider']
  },
  memory: {
    files: ['deliveries/memory'],
    suites: ['deliveries-stores'],
    further: ['options', 'deliveries', 'deliveries-memory']
  },
  redis: {
    files: ['deliveries/redis', 'lib/delivery-scripts'],
    suites: ['deliveries-redis', 'deliveries-stores'],
    further: ['options', 'deliveries-outages']
  },
  once: {
    files: ['lib/once', 'lib/handler', 'lib/deliveries', 'lib/delivery-store', 'lib/store-report'],
    suites: ['lib-handler', 'deliveries-ids', 'deliveries'],
    further: ['delivery', 'deliveries-faults', 'compose', 'outcomes']
  },
  keys: {
    files: ['lib/keys', 'lib/secrets', 'lib/api-keys'],
    suites: ['lib-keys', 'lib-api-keys', 'identity-validation', 'pure'],
    further: ['aghanim', 'altdentifier', 'options', 'humandetect-api', 'compose']
  },
  time: {
    files: ['lib/deadlines', 'lib/time-limit', 'lib/thenable', 'lib/slots'],
    suites: ['lib-deadlines', 'lib-time-limit', 'lib-thenable', 'lib-slots'],
    further: ['lib-raw-body', 'humandetect', 'delivery']
  },
  options: {
    files: ['lib/options', 'lib/pure', 'lib/base-url', 'lib/settings'],
    suites: ['lib-base-url', 'lib-options', 'pure', 'options'],
    further: ['altdentifier', 'humandetect', 'humandetect-api', 'delivery', 'compose', 'provider']
  },
  replies: {
    files: ['lib/json', 'lib/reply', 'lib/schema-check', 'lib/deny', 'lib/errors', 'lib/log'],
    suites: ['lib-json', 'lib-errors', 'lib-reply', 'lib-schema-check', 'lib-log', 'aghanim', 'delivery'],
    further: ['altdentifier', 'humandetect', 'options', 'compose', 'outcomes']
  },
  tokens: {
    files: ['humandetect-api', 'lib/seal', 'lib/json-client'],
    suites: ['lib-seal', 'humandetect', 'humandetect-api'],
    further: ['humandetect-upstream']
  },
  guard: {
    files: ['humandetect', 'lib/guard', 'lib/verdict'],
    suites: ['lib-verdict', 'humandetect'],
    further: ['deliveries-ids', 'humandetect-upstream', 'outcomes', 'compose']
  },
  routes: {
    files: ['lib/verified-route', 'lib/answer', 'lib/delivery', 'lib/raw-body', 'lib/report', 'lib/scope'],
    suites: ['lib-raw-body', 'aghanim', 'altdentifier', 'delivery', 'outcomes'],
    further: ['identity-validation', 'humandetect', 'compose', 'provider', 'doctor', 'queue', 'openapi']
  },
  providers: {
    files: ['aghanim', 'altdentifier', 'identity-validation', 'metrics', 'index'],
    suites: ['aghanim', 'altdentifier', 'identity-validation', 'metrics', 'deliveries-ids'],
    further: ['lib-mac', 'pure', 'outcomes', 'options', 'delivery', 'compose', 'openapi', 'doctor', 'queue']
  },
  own: {
    files: ['provider', 'lib/reading', 'lib/signed-routes'],
    suites: ['provider', 'identity-validation'],
    further: ['options', 'altdentifier', 'aghanim']
  },
  queue: {
    files: ['queue', 'queue/*', 'lib/queue-unavailable'],
    suites: ['queue', 'queue-worker'],
    further: ['delivery']
  },
  diagnosis: {
    files: ['lib/diagnosis/*'],
    suites: ['lib-diagnosis', 'lib-diagnosis-body', 'doctor'],
    further: []
  },
  tools: {
    files: ['tools/*'],
    suites: ['tools', 'cli'],
    further: ['doctor-cli']
  }
}

const RESULTS = 'coverage/mutation' // a file a group
// They read files that lie beside their own.
const EXTERNAL = ['tap', '@tapjs/*', 'typescript', 'bullmq', '@fastify/swagger-ui', '@seriousme/*']
// What a bundle of ESM lacks, without a space: Stryker runs the command without a shell.
const REQUIRE = 'globalThis.require=process.getBuiltinModule("node:module").createRequire(import.meta.url)'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    left: { type: 'boolean' }, // only what was not killed the last time, while the code is the same
    report: { type: 'boolean' }, // of what was found the last time
    sample: { type: 'string', default: '1' }, // one in how many mutants is tried
    patience: { type: 'string', default: '30' } // in seconds: on a busy machine a suite may just be slow
  }
})
const names = positionals.length > 0 ? positionals : Object.keys(GROUPS)
const patience = Number(values.patience)

interface Mutant {
  file: string
  /** As Stryker takes it: lines from 1, columns from 0. */
  range: string
  replacement: string
  status: MutantResult['status']
}

function toMutant ({ fileName, location: { start, end }, status, replacement }: MutantResult): Mutant {
  const range = `${start.line}:${start.column - 1}-${end.line}:${end.column - 1}`
  return { file: relative('', fileName), range, status, replacement }
}

/**
 * Changes the code in every way Stryker knows. Suites are bundled, as each mutant is a new process for each of them.
 * What they share with the example is in files of their own: in the file of a suite a program would take itself for
 * what was started. These lie where the example's page looks for its HTML.
 */
async function mutate (places: string[], suites: string[]): Promise<Mutant[]> {
  const inputs = ['example-server.ts', ...suites.map((suite) => `test/${suite}.ts`)]
  const results = await new Stryker({
    mutate: places,
    testRunner: 'tap',
    plugins: ['@stryker-mutator/tap-runner', new URL('mutation-sample.ts', import.meta.url).pathname],
    checkers: ['sample'],
    checkerNodeArgs: ['--import', 'tsx'],
    testRunnerNodeArgs: ['--import', 'tsx'], // it loads all plugins, too
    tap: { testFiles: suites.map((suite) => `test/${suite}.js`), nodeArgs: [], forceBail: true },
    buildCommand: `esbuild ${inputs.join(' ')} --bundle --splitting --platform=node --format=esm --outbase=. ` +
      '--outdir=. --chunk-names=docs/deliveries-page/[hash] ' +
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

/** The mutants again, some of them with what other suites say of them. */
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
// A suite's own time is up later than ours; Node 22 and later compile the bundles but once.
Object.assign(process.env, {
  TAP_TIMEOUT: `${patience * 2}`, NODE_COMPILE_CACHE: resolve('coverage/compiled'), MUTATION_SAMPLE: values.sample
})
if (!values.report) {
  for (const name of names) {
    const { files, suites } = GROUPS[name]!
    write(name, values.left
      ? await mutateAgain(read(name), suites, (mutant) => mutant.status !== 'Killed')
      : await mutate(files.map((file) => `plugins/${file}.ts`), suites))
  }
  for (const name of names) write(name, await mutateAgain(read(name), GROUPS[name]!.further))
}
report(names.flatMap(read))
const grouped = new Set(Object.values(GROUPS).flatMap(({ files }) => files.map((file) => file.replace('/*', ''))))
const forgotten = readdirSync('plugins', { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts') && !grouped.has(file.slice(0, -3)) && !grouped.has(dirname(file)))
if (forgotten.length > 0) console.log('in no group:', ...forgotten)
