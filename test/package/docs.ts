import { existsSync, readdirSync } from 'node:fs'
import type { TSchema } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { REASONS } from '../../examples/deliveries-page/reasons.js'
import * as errors from '../../plugins/lib/errors.js'
import {
  aghanimPlugin, altdentifierPlugin, humandetectApiPlugin, humandetectPlugin, identityValidationPlugin, signAghanim,
  signAltdentifier, signIdentityValidation, type Player
} from '../../plugins/index.js'
import { DOCTOR_HELP } from '../../cli/doctor.js'
import { SEND_HELP } from '../../cli/send.js'
import { AghanimExamples } from '../../schemas/aghanim.js'
import { AltDentifierExamples } from '../../schemas/altdentifier.js'
import { GuardErrorResponses, HumanDetectExamples, type HumanDetectResult } from '../../schemas/humandetect.js'
import { IdentityValidationExamples } from '../../schemas/identity-validation.js'
import { run } from '../support/command-line.js'
import { checkBlocks, createOptionsReader } from '../support/compile.js'
import { API_KEY, API_SECRET, SECRET } from '../support/deliveries.js'
import {
  ALL_PAGES, anchorsOf, blocksOf, codesIn, PAGES, proseOf, sectionOf, tableOf, tablesIn, type Table
} from '../support/docs.js'
import { read, root } from '../support/project.js'
import { quiet } from '../support/quiet.js'

// Compares what the pages claim with the source. Other suites check the rest: docs-examples.ts runs the examples, the
// suites of their subjects check the lists in diagnostics.md, command-line.md, signature-doctor.md and peers.md, and
// openapi.ts checks the list of the example server in docs/README.md.

const readme = read('README.md')
const { scripts } = JSON.parse(read('package.json'))

const sorted = (values: Iterable<string>): string[] => [...new Set(values)].sort()
const filesIn = (...folders: string[]): string[] => folders.flatMap((folder) =>
  readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
    .map((name) => read(`${folder}/${name}`)))

t.test('the README is short', async (t) => {
  t.ok(readme.split('\n').length < 400, `${readme.split('\n').length} lines`)
})

t.test('the README leaves production to other pages', async (t) => {
  const section = sectionOf(readme, '## In production').trim()
  t.ok(section.split('\n').length < 10)
  const pages = [...section.matchAll(/\]\(docs\/([\w-]+)\.md\)/g)].map(([, page]) => page)
  t.strictSame(pages, ['production', 'several-instances', 'queue', 'scale'])
})

t.test('every link leads somewhere', quiet(async (t) => {
  let links = 0
  for (const page of [...ALL_PAGES, 'test/README.md']) {
    const text = proseOf(read(page))
    for (const [, link] of text.matchAll(/\]\(([^()\s]+)\)/g)) {
      if (/^(https?|mailto):/.test(link!)) continue
      links++
      const { pathname, hash } = new URL(link!, new URL(page, root))
      const there = existsSync(pathname)
      t.ok(there, `${page}: ${link}`)
      if (there && hash !== '') {
        const path = pathname.slice(root.pathname.length)
        t.ok(anchorsOf(read(path)).includes(hash.slice(1)), `${page}: ${link}`)
      }
    }
  }
  t.ok(links > 80, `${links} links`)
}))

t.test('docs/README.md lists every page', async (t) => {
  const listed = [...read('docs/README.md').split('\n## ')[0]!.matchAll(/\]\(([\w-]+\.md)\)/g)]
  t.strictSame(sorted(listed.map(([, name]) => `docs/${name}`)),
    sorted(PAGES.filter((page) => page.startsWith('docs/') && page !== 'docs/README.md')))
})

const OF_NPM = new Set(['ci', 'install', 'i', 'run', 'version', 'pack', 'publish', 'dedupe', 'ls'])

t.test('every script of npm exists', async (t) => {
  const named = ALL_PAGES.flatMap((page) => [...read(page).matchAll(/\bnpm (?:run (?:-s )?)?([\w:-]+)/g)]
    .map(([, name]) => name!).filter((name) => !OF_NPM.has(name)))
  t.ok(named.includes('start') && named.includes('soak'))
  t.strictSame(sorted(named).filter((name) => !(name in scripts)), [])
})

t.test('every command and option of the command line exists', async (t) => {
  const inline = PAGES.flatMap((page) => codesIn(proseOf(read(page))))
  const commands = sorted(inline.flatMap((code) => /^npx fastify-verification (\S+)/.exec(code)?.[1] ?? []))
  t.ok(commands.length > 0)
  for (const command of commands) t.equal((await run([command, '--help'])).status, 0, command)
  const options = sorted(inline.flatMap((code) => code.match(/(?<!\S)--[a-z][a-z-]*/g) ?? []))
  t.ok(options.length > 8)
  const known = new Set((SEND_HELP + DOCTOR_HELP).match(/--[a-z][a-z-]*/g))
  t.strictSame(options.filter((option) => !known.has(option)), [])
})

const blocks = Object.fromEntries(PAGES.flatMap((page) =>
  blocksOf(read(page), 'ts').map((block, index) => [`${page.replace('/', '-')}-${index}.ts`, block])))
// A block may import the plugin that the first block of its page defines.
const github = blocksOf(read('docs/your-own-provider.md'), 'ts')[0]!
const complaints = checkBlocks(t, { ...blocks, 'github.ts': github })

t.test('the TypeScript of all pages compiles as strictly as the project itself', async (t) => {
  t.ok(Object.keys(blocks).length > 15)
  t.strictSame(await complaints, [])
})

/** Reads the options of an exported type, with the defaults that their comments state. */
const optionsOf = createOptionsReader(['plugins/index.ts', 'plugins/queue.ts'])

/** Returns the options in a table, with the defaults that it states. */
function optionsIn ({ rows }: Table): Map<string, string> {
  return new Map(rows.flatMap(([names, told]) =>
    codesIn(names!).map((name) => [/^\w+/.exec(name)![0], told!.replaceAll('`', '')])))
}

const [common, ...own] = tablesIn(readme).filter(({ head }) => head[0] === 'option').map(optionsIn)
const PLUGINS = [
  ['AltDentifierOptions', altdentifierPlugin], ['AghanimOptions', aghanimPlugin],
  ['IdentityValidationOptions', identityValidationPlugin], ['HumanDetectOptions', humandetectPlugin],
  ['HumanDetectApiOptions', humandetectApiPlugin]
] as const

for (const [index, [type, plugin]] of PLUGINS.entries()) {
  t.test(`the README lists every option of ${type}, with its default, and no other`, async (t) => {
    const isWebhook = index < 3
    const listed = new Map([...isWebhook ? common! : [], ...own[index]!])
    t.equal(listed.size, own[index]!.size + (isWebhook ? common!.size : 0), 'each once')
    const options = optionsOf(type)
    t.strictSame(sorted(listed.keys()), sorted(options.keys()))
    const app = Fastify()
    t.teardown(() => app.close())
    for (const [name, told] of options) {
      // The page of the webhooks states the defaults of the webhook options.
      if (told !== undefined && (isWebhook || !common!.has(name) || name === 'now')) {
        t.ok(listed.get(name)!.includes(told), `${name}: ${listed.get(name)} has ${told}`)
      }
      const failure = await (plugin as typeof aghanimPlugin)(app, { [name]: undefined } as never)
        .then(() => '', ({ message }: Error) => message)
      t.notMatch(failure, 'is not known', `the plugin knows ${name}`)
    }
    const untold = [...listed].filter(([name, told]) => /^[\d,]+$|^false$/.test(told) && options.get(name) === undefined)
    t.strictSame(untold, [], 'figures that the source does not state')
  })
}

t.test('the other tables of options are complete', async (t) => {
  const tables = new Map(tablesIn(read('docs/production.md')).map((table) => [table.head[0]!.replaceAll('`', ''), table]))
  const [guard] = tablesIn(sectionOf(read('docs/humandetect.md'), '## The guard'))
  const [producer, worker] = tablesIn(read('docs/queue.md')).filter(({ head }) => head[0] === 'option')
  for (const [type, table, file] of [
    ['EnqueueOptions', producer, 'plugins/queue.ts'], ['WorkerOptions', worker, 'plugins/queue.ts'],
    ['MemoryDeliveriesOptions', tables.get('memoryDeliveries')], ['RedisDeliveriesOptions', tables.get('redisDeliveries')],
    ['RequireHumanOptions', guard]
  ] as const) {
    const [listed, options] = [optionsIn(table!), optionsOf(type, file)]
    t.strictSame(sorted(listed.keys()), sorted(options.keys()), type)
    for (const [name, told] of options) if (told !== undefined) t.equal(listed.get(name), told, `${type}: ${name}`)
  }
})

/** Returns the responses by status and code, in the form of the API pages. openapi.ts compares them with real ones. */
function answersOf (responses: Readonly<Record<string, TSchema>>): string[] {
  return sorted(Object.entries(responses).flatMap(([status, { 'x-examples': examples = {} }]) => {
    if (status === '4xx' || status === 'default') return [] // chosen by the user, through deny() or a hook
    // Other names belong to examples: of a player, a denial, a verdict.
    const codes = Object.keys(examples).filter((name) => status >= '400' && /^FST_|^[A-Za-z]+$/.test(name))
    return codes.length > 0 ? codes.map((code) => `${status} ${code}`) : [status]
  }))
}

/** Returns the responses in the tables whose first two columns are status and code. */
function answersIn (text: string): string[] {
  const tables = tablesIn(text).filter(({ head }) => head[0] === 'status' && head[1] === 'code')
  return sorted(tables.flatMap(({ rows }) => rows).flatMap(([statuses, codes]) =>
    statuses!.split(', ').flatMap((status) => codes === '' ? [status] : codesIn(codes!).map((code) => `${status} ${code}`))))
}

const humandetect = read('docs/humandetect.md')
const SERVICE = '## Run the token service yourself'

/** The responses that the route of a plugin documents. */
async function responsesOf (register: (app: FastifyInstance) => unknown): Promise<Record<string, TSchema>> {
  const app = Fastify({ exposeHeadRoutes: false })
  const found: unknown[] = []
  app.addHook('onRoute', ({ schema }) => { found.push(schema!.response) })
  await register(app)
  await app.close()
  return found[0] as Record<string, TSchema>
}

const API_KEYS = { apiKeys: { k: API_SECRET }, handleSession () {} }
const ANSWERS = [
  ['docs/altdentifier.md', read('docs/altdentifier.md'), await responsesOf((app) =>
    app.register(altdentifierPlugin, { secret: SECRET, handleEvent () {} }))],
  ['docs/aghanim.md', read('docs/aghanim.md'), await responsesOf((app) =>
    app.register(aghanimPlugin, { secret: SECRET, verifyPlayer: () => null }))],
  ['docs/identity-validation.md', read('docs/identity-validation.md'), await responsesOf((app) =>
    app.register(identityValidationPlugin, API_KEYS))],
  ['docs/humandetect.md, the guard', sectionOf(humandetect, '## Answers').split('own route')[0]!, GuardErrorResponses],
  ['docs/humandetect.md, the own route', sectionOf(humandetect, '## Answers'), await responsesOf((app) =>
    app.register(humandetectPlugin, { apiKey: 'key-1', baseUrl: 'https://tokens.example', handleResult () {} }))],
  ['docs/humandetect.md, the service', sectionOf(humandetect, SERVICE), await responsesOf((app) =>
    app.register(humandetectApiPlugin, { apiKeys: ['key-1'], verifyToken: () => null }))]
] as const

for (const [page, text, responses] of ANSWERS) {
  t.test(`${page}: every status and code, and no other`, async (t) => {
    t.strictSame(answersIn(text), answersOf(responses))
  })
}

t.test('the README lists the answers of the webhooks', async (t) => {
  const webhooks = ANSWERS.slice(0, 3).flatMap(([,, responses]) => answersOf(responses)).filter((answer) => answer !== '401')
  t.strictSame(answersIn(sectionOf(readme, '## The way of a delivery')), sorted(webhooks))
})

t.test('every code of the source is documented, and every documented code is in the source', async (t) => {
  const literals = filesIn('plugins', 'schemas').flatMap((text) => text.match(/FST_[A-Z_]+[A-Z]\b/g) ?? [])
  const answers = Object.values(errors).flatMap((value) => typeof value === 'object' && 'body' in value
    ? JSON.parse((value as errors.Answer).body!).code as string
    : [])
  t.ok(answers.length > 5)
  const told = PAGES.flatMap((page) => read(page).match(/FST_[A-Z_]+[A-Z]\b/g) ?? [])
  t.strictSame(sorted(told), sorted([...literals, ...answers]))
})

t.test('every documented reason exists', async (t) => {
  const inTables = PAGES.flatMap((page) => tablesIn(read(page))).flatMap(({ head, rows }) => {
    const column = head.findIndex((cell) => /^reason( of the 403)?$/.test(cell))
    return column === -1 ? [] : rows.flatMap((cells) => codesIn(cells[column]!))
  })
  const quoted = PAGES.flatMap((page) => [...read(page).matchAll(/\breason(?:=|: )["'](\w+)["']/g)].map(([, reason]) => reason!))
  t.ok(inTables.length > 50 && quoted.length > 2)
  t.strictSame(sorted([...inTables, ...quoted]).filter((reason) => !(reason in REASONS)), [])
})

/** Parses the JSON of a section. */
function jsonIn (page: string, heading: string): any[] {
  const text = sectionOf(page, heading)
  const lines = blocksOf(text, 'jsonl').flatMap((block) => block.trim().split('\n'))
  return [...blocksOf(text, 'json'), ...lines].map((json) => JSON.parse(json))
}

type Headers = Record<string, string>

/** Posts the payloads that a page shows to a plugin. */
async function post (
  plugin: unknown, options: object, url: string, payloads: readonly unknown[], sign: (body: string) => Headers
) {
  const app = Fastify()
  await app.register(plugin as typeof aghanimPlugin, options as never)
  const replies = []
  for (const payload of payloads) {
    const body = JSON.stringify(payload)
    replies.push(await app.inject({ method: 'POST', url, headers: sign(body), payload: body }))
  }
  await app.close()
  return replies
}

const statuses = (replies: readonly { statusCode: number }[]): number[] => replies.map(({ statusCode }) => statusCode)

t.test('docs/altdentifier.md: its samples are those of the schema, and are accepted', async (t) => {
  const samples = jsonIn(read('docs/altdentifier.md'), '## Samples')
  t.strictSame(samples, Object.values(AltDentifierExamples))
  const events: unknown[] = []
  const options = { secret: SECRET, handleEvent: (event: unknown) => { events.push(event) } }
  const replies = await post(altdentifierPlugin, options, '/altdentifier', samples,
    (body) => signAltdentifier({ secret: SECRET, body }))
  t.strictSame(statuses(replies), samples.map(() => 204))
  t.strictSame(events, samples)
  t.strictSame(tableOf(read('docs/altdentifier.md'), '## What it sends').map(([op]) => Number(op)), samples.map(({ OP }) => OP))
})

t.test('docs/aghanim.md: its samples are those of the schema, and are accepted; its player is sent unchanged', async (t) => {
  const page = read('docs/aghanim.md')
  const samples = jsonIn(page, '## Samples')
  t.strictSame(samples, Object.values(AghanimExamples))
  const [player] = jsonIn(page, '## Answers') as [Player]
  const options = { secret: SECRET, verifyPlayer: () => player, handleEvent () {} }
  const replies = await post(aghanimPlugin, options, '/aghanim', samples, (body) => signAghanim({ secret: SECRET, body }))
  t.strictSame(statuses(replies), samples.map(() => 200))
  t.strictSame(replies[0]!.json(), player)
  const denied = await post(aghanimPlugin, { ...options, verifyPlayer: () => null }, '/aghanim', [samples[0]],
    (body) => signAghanim({ secret: SECRET, body }))
  t.equal(denied[0]!.statusCode, 401)
  t.match(tableOf(page, '## Answers')[1]![1], /^401 /)
  t.strictSame(JSON.parse(tableOf(page, '## Answers')[1]![1]!.slice(4)), denied[0]!.json())
})

t.test('docs/identity-validation.md: its samples are those of the schema, and are accepted', async (t) => {
  const samples = jsonIn(read('docs/identity-validation.md'), '## Samples')
  const { sessions, requiredFiles } = IdentityValidationExamples
  t.strictSame(samples, [...Object.values(sessions), ...Object.values(requiredFiles)])
  const options = { apiKeys: { [API_KEY]: API_SECRET }, handleSession () {}, handleRequiredFiles () {} }
  for (const [endpoint, sent] of [
    ['/identity-validation/sessions', samples.slice(0, 2)], ['/identity-validation/required-files', samples.slice(2)]
  ] as const) {
    const replies = await post(identityValidationPlugin, options, endpoint, sent,
      (body) => signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint, body }))
    t.strictSame(statuses(replies), sent.map(() => 204))
  }
})

t.test('docs/humandetect.md: its samples are those of the schema, and are accepted', async (t) => {
  const [result, asked, checked] = jsonIn(humandetect, '## Samples') as [HumanDetectResult, object, object]
  t.strictSame([asked, checked], Object.values(HumanDetectExamples))
  const api = { apiKeys: [API_KEY], verifyToken: () => result }
  const [answer] = await post(humandetectApiPlugin, api, '/v1/humandetect/verify', [asked],
    () => ({ 'content-type': 'application/json', 'x-api-key': API_KEY }))
  t.equal(answer!.statusCode, 200)
  t.strictSame(answer!.json(), result)

  const service = Fastify()
  service.register(humandetectApiPlugin, api)
  t.teardown(() => service.close())
  const guard = {
    apiKey: API_KEY,
    baseUrl: await service.listen({ port: 0, host: '127.0.0.1' }),
    allowHttp: true,
    now: () => Date.parse('2020-09-22T14:52:11.104-05:00'),
    handleResult () {}
  }
  const replies = await post(humandetectPlugin, guard, '/humandetect', [checked], () => ({ 'content-type': 'application/json' }))
  t.strictSame(statuses(replies), [204])
})

t.test('the picture has the steps of the README in their order, each with its status', async (t) => {
  const [names, below] = blocksOf(sectionOf(readme, '## The way of a delivery'), '')[0]!.split('\n') as [string, string]
  const steps = [...names.matchAll(/[^>]+?(?= ->|$)/g)].map(({ 0: name, index }) => {
    const begin = index + name.length - name.trimStart().length
    return { name: name.trim(), status: /^\d+/.exec(below.slice(begin))?.[0] }
  })
  t.equal(steps.filter(({ status }) => status !== undefined).length, 7)
  const texts = [...read('docs/delivery.svg').matchAll(/<text class="(\w+)" x="(\d+)" y="(\d+)">([^<]*)</g)]
    .map(([, kind, x, y, text]) => ({ kind, x: Number(x), y: Number(y), text: text! }))
  const drawn = texts.filter(({ kind }) => kind === 'text')
  t.strictSame(drawn.map(({ text }) => text), steps.map(({ name }) => name))
  for (const [index, { name, status }] of steps.entries()) {
    const { x, y } = drawn[index]!
    const beside = texts.find((text) => text.kind === 'status' && text.x === x && text.y > y && text.y < y + 80)
    if (status !== undefined) t.ok(beside?.text.split(', ').includes(status), `${name}: ${status}`)
  }
})

t.test('the picture of the path has the steps of the pipeline in their order', async (t) => {
  const steps = [...read('plugins/lib/pipeline.ts').matchAll(/(?:\/\/|and) (\d+ [a-zA-Z]+)/g)].map(([, step]) => step)
  t.equal(steps.length, 15)
  const drawn = [...read('docs/path.svg').matchAll(/<text class="text"[^>]*>([^<]*)</g)].map(([, text]) => text)
  t.strictSame(drawn, steps)
})

t.test('test/README.md has every room, and suites for every promise of SECURITY.md', async (t) => {
  const page = read('test/README.md')
  const rooms = readdirSync(new URL('test/', root), { withFileTypes: true }).filter((entry) => entry.isDirectory())
  t.strictSame(sorted(tablesIn(page)[0]!.rows.map(([room]) => room!.replace(/[`/]/g, ''))), sorted(rooms.map(({ name }) => name)))
  const promises = [...sectionOf(read('SECURITY.md'), '## Promised, and tested').matchAll(/^- \*\*([^*]+?)\.?\*\*/gm)]
  t.ok(promises.length > 10)
  t.strictSame(tableOf(page, '## Promises').map(([promise]) => promise), promises.map(([, promise]) => promise))
  for (const [promise = '', suites] of tableOf(page, '## Promises')) t.match(suites, /\]\([\w-]+\/[\w-]+\.ts\)/, promise)
})
