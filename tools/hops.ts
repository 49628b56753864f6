import Fastify from 'fastify'
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import ts from 'typescript'

// Follows one delivery from socket to reply through the functions of this package, and fails if it crosses more files,
// or changes from one file to another more often, than a reader can follow. `npm run hops`.

const MAX_FILES = 17
const MAX_HOPS = 60
const BUILT = new URL('../', import.meta.url)
const COPY = new URL('../node_modules/.cache/hops/', BUILT) // where no coverage is measured

/** Makes each function of a module report its file and its name when it is called. */
function instrument (path: string, code: string): string {
  const insertions: { at: number, text: string }[] = []
  const visit = (node: ts.Node): void => {
    const { body, name } = node as { body?: ts.Block | ts.Expression, name?: ts.Node }
    if (ts.isFunctionLike(node) && body !== undefined) {
      const called = (name ?? (node.parent as { name?: ts.Node }).name)?.getText() ?? 'anonymous'
      const report = `globalThis.entered(${JSON.stringify(path)}, ${JSON.stringify(called)})`
      if (ts.isBlock(body)) {
        insertions.push({ at: body.getStart() + 1, text: `${report};` })
      } else {
        insertions.push({ at: body.getStart(), text: `(${report}, ` }, { at: body.getEnd(), text: ')' })
      }
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(path, code, ts.ScriptTarget.ESNext, true))
  insertions.sort((one, other) => other.at - one.at)
  return insertions.reduce((text, { at, text: more }) => text.slice(0, at) + more + text.slice(at), code)
}

for (const folder of ['plugins', 'schemas']) {
  cpSync(new URL(folder, BUILT), new URL(folder, COPY), { recursive: true })
  for (const file of readdirSync(new URL(folder, COPY), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.js')) continue
    const path = new URL(`${folder}/${file}`, COPY)
    writeFileSync(path, instrument(`${folder}/${file}`, readFileSync(path, 'utf8')))
  }
}

let trace: [file: string, name: string][] | undefined
Object.assign(globalThis, { entered: (file: string, name: string) => { trace?.push([file, name]) } })
const { aghanimPlugin, signAghanim } = await import(
  new URL('plugins/aghanim.js', COPY).href) as typeof import('../plugins/aghanim.js')

const app = Fastify()
const secret = 'a secret of this script, long enough'
app.register(aghanimPlugin, {
  secret,
  verifyPlayer: () => ({ player_id: '1', name: 'Ada', attributes: { level: 2 } }),
  handleEvent: () => {}
})
const url = `${await app.listen({ port: 0 })}/aghanim`

/** Sends a delivery that is handled once and returns the functions that it went through, in their order. */
async function follow (id: string): Promise<[file: string, name: string][]> {
  const body = JSON.stringify({ event_type: 'item.add', event_id: id, event_data: { player_id: '1' } })
  const headers = signAghanim({ secret, body })
  trace = []
  const { status } = await fetch(url, { method: 'POST', headers, body })
  const followed = trace
  trace = undefined
  if (status !== 200) throw new Error(`The delivery was answered with ${status}`)
  return followed
}

await follow('first') // what is done once for all deliveries is not counted
const functions = await follow('second')
await app.close()

const files = new Set(functions.map(([file]) => file))
const hops = functions.filter(([file], index) => index > 0 && functions[index - 1]![0] !== file).length
for (const [index, [file, name]] of functions.entries()) {
  const isHop = index === 0 || functions[index - 1]![0] !== file
  console.log(`${isHop ? file.replace(/\.js$/, '.ts').padEnd(42) : ''.padEnd(42)} ${name}`)
}
console.log(`\n${files.size} files (at most ${MAX_FILES}), ${hops} hops (at most ${MAX_HOPS}), ` +
  `${functions.length} calls of ${new Set(functions.map(String)).size} functions`)
if (files.size > MAX_FILES || hops > MAX_HOPS) process.exitCode = 1
