import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Pool } from 'undici'
import { signAghanim, signAltdentifier, signIdentityValidation } from '../plugins/index.js'
import { API_KEY, API_SECRET, bodyOf, PROVIDERS, SECRET, SESSIONS } from '../test/support/deliveries.js'

// Checks that the server's memory does not grow under many deliveries on real connections, every second one forged:
// `npm run soak -- 1000000`; exit status 1 if it grows, or if any answer is wrong.

export interface SoakOptions { maxEntries: number, tolerance: number, futureTolerance: number }
export interface Reading { rss: number, handled: number, unhandled: number }
interface Delivery { path: string, headers: Record<string, string>, body: string, status: number }

const MEGABYTE = 2 ** 20
const GROWTH_ALLOWED = 30 * MEGABYTE
const IN_FLIGHT = 32
/** Options of the server. The store may forget a delivery six seconds after it was handled, and so it stays full. */
const OPTIONS: SoakOptions = { maxEntries: 50_000, tolerance: 5, futureTolerance: 1 }

/** Minimum number of deliveries. Fewer neither fill the store nor warm up the server. */
const FEWEST = 8 * OPTIONS.maxEntries
const COUNT = Number(process.argv[2] ?? 1_000_000)
if (!Number.isSafeInteger(COUNT) || COUNT < FEWEST) {
  console.error(`usage: npm run soak -- [deliveries = 1000000], at least ${FEWEST}`)
  process.exit(2)
}

const MEMBER_EVENT = bodyOf(PROVIDERS[0]!)
const [, AGHANIM, IDENTITY] = PROVIDERS.map(({ event }) => event)

const player = (id: number): Delivery => {
  const body = JSON.stringify({ ...AGHANIM, idempotency_key: `player ${id}` })
  return { path: '/aghanim', body, headers: signAghanim({ secret: SECRET, body }), status: 200 }
}
const session = (id: number): Delivery => {
  const body = JSON.stringify({ ...IDENTITY, idempotency_key: `session ${id}` })
  const headers = signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint: SESSIONS, body })
  return { path: SESSIONS, body, headers, status: 204 }
}
const member = (id: number): Delivery => {
  const body = MEMBER_EVENT.replace('"Auxim"', `"Auxim ${id}"`)
  return { path: '/altdentifier', body, headers: signAltdentifier({ secret: SECRET, body }), status: 204 }
}
const KINDS = [player, session, player, member]

/** Changes one character of the body, which remains valid JSON and satisfies the schema. */
const forge = ({ body, ...delivery }: Delivery): Delivery => ({ ...delivery, body: body.replace('e', 'f'), status: 403 })

const server = fork(new URL('./soak-server.ts', import.meta.url), [JSON.stringify(OPTIONS)], {
  execArgv: ['--import', 'tsx']
})
const [port] = await once(server, 'message') as [number]
const pool = new Pool(`http://127.0.0.1:${port}`, { connections: IN_FLIGHT })

async function read (): Promise<Reading> {
  const reading = once(server, 'message')
  server.send('')
  return (await reading)[0]
}

const answers = new Map<string, number>()
let wrong = 0
async function send ({ path, headers, body, status }: Delivery): Promise<void> {
  const { statusCode, body: answer } = await pool.request({ path, method: 'POST', headers, body })
  await answer.dump()
  if (statusCode !== status) wrong++
  const what = `${status === 403 ? 'forged' : 'honest'}: ${statusCode}`
  answers.set(what, (answers.get(what) ?? 0) + 1)
}

let next = 0
async function work (): Promise<void> {
  while (next < COUNT) {
    const id = next++
    const delivery = KINDS[(id >> 1) % KINDS.length]!(id)
    await send(id % 2 === 0 ? delivery : forge(delivery))
  }
}

const warmUp: number[] = []
const after: number[] = []
let tenthsTold = 0
let watching = Promise.resolve()
async function watch (): Promise<void> {
  const { rss } = await read();
  (next < COUNT / 4 ? warmUp : after).push(rss)
  const tenths = Math.floor(next / COUNT * 10)
  if (tenths === tenthsTold) return
  tenthsTold = tenths
  console.log(`${next} deliveries: ${(rss / MEGABYTE).toFixed(1)} MB`)
}
// Asks one question at a time, so that each gets its own answer.
const timer = setInterval(() => { watching = watching.then(watch) }, 250)

const began = performance.now()
await Promise.all(Array.from({ length: IN_FLIGHT }, work))
const seconds = (performance.now() - began) / 1000
clearInterval(timer)
await watching

// Checks the contents of the store: its newest deliveries, up to its limit. It keeps three of eight deliveries.
const { handled } = await read()
const keyed = (back: number): Delivery => player(COUNT - COUNT % 8 - 8 * Math.ceil(back / 3))
await send(keyed(OPTIONS.maxEntries * 0.8))
const remembered = (await read()).handled === handled
await send(keyed(OPTIONS.maxEntries * 1.2))
const { handled: handledAgain, unhandled } = await read()
const forgotten = handledAgain === handled + 1
await pool.close()
server.disconnect()

const growth = Math.max(...after) - Math.max(...warmUp)
const bounded = remembered && forgotten
console.log(`${COUNT} deliveries in ${seconds.toFixed(0)} s, ${(COUNT / seconds).toFixed(0)} a second`)
for (const [what, times] of [...answers].sort()) console.log(`  ${what}  ${times}`)
console.log(`highest RSS in the first quarter ${(Math.max(...warmUp) / MEGABYTE).toFixed(1)} MB, ` +
  `after it ${(Math.max(...after) / MEGABYTE).toFixed(1)} MB: ${(growth / MEGABYTE).toFixed(1)} MB more`)
console.log(`store of ${OPTIONS.maxEntries}: ${bounded ? 'keeps' : 'does not keep'} to its bound`)
console.log(`unhandled rejections and exceptions: ${unhandled}; wrong answers: ${wrong}`)
if (growth > GROWTH_ALLOWED || !bounded || wrong > 0 || unhandled > 0) process.exitCode = 1
