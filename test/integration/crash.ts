import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Pool } from 'undici'
import {
  bundleInstance, deliveryOf, KINDS, readLedger, startInstance, type Answer, type Instance
} from '../support/instances.js'
import { noRedis, startRedis } from '../support/redis.js'
import { randomOf } from '../support/stores.js'

const KILLS = 30 // servers killed, each with a delivery of every kind
const LANES = 6 // each with a server that receives deliveries, and one on standby
const TIMES = { lease: 1200, handlerTimeout: 1000, work: [1, 8] } as const // ms
const LATEST = 24 // maximum delay of a kill in ms: some servers have answered by then
const PATIENCE = 15_000

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 32)

t.test('a delivery whose server is killed is neither lost nor, once it is completed, handled again', {
  skip: noRedis
}, async (t) => {
  const [redis, { program, ledger }] = await Promise.all([startRedis(t), bundleInstance(t)])
  const admin = redis.connect()
  const { below } = randomOf(SEED)
  const todo = Array.from({ length: KILLS }, (_, kill) =>
    KINDS.map((kind) => ({ kind, id: `${kind.name}-${kill}`, after: below(LATEST * 1000) / 1000 })))
  const killed = { before: 0, while: 0, after: 0 }
  let [lost, doubles, started] = [0, 0, 0]

  interface Server extends Instance { readonly pool: Pool, readonly name: string }

  /** Starts a server, and sends it its first deliveries, which are slow. */
  async function start (prefix: string): Promise<Server> {
    const name = `server-${++started}`
    const instance = await startInstance(t, program, redis.url, { name, ledger, prefix, ...TIMES })
    const pool = new Pool(instance.origin, { connections: KINDS.length })
    await Promise.all(KINDS.map((kind) => deliveryOf(kind, `first of ${name}`)(pool)))
    return { ...instance, pool, name }
  }

  /** Kills a server; resolves once Redis has run all of its commands. */
  async function kill ({ process, exit, name }: Server): Promise<void> {
    process.kill('SIGKILL')
    await exit
    while (String(await admin.client('LIST')).includes(` name=${name} `)) await sleep(1)
  }

  async function forget (prefix: string): Promise<void> {
    const keys = await admin.keys(`${prefix}:*`)
    if (keys.length > 0) await admin.del(keys)
  }

  /** Tells the time of the kill: before the only claim of that kind, while it was held, or after its completion. */
  async function readState (prefix: string, kind: string): Promise<keyof typeof killed> {
    const [key] = await admin.keys(`${prefix}:${kind}:*`)
    if (key === undefined) return 'before'
    const [, , reply] = (await admin.get(key))!.split('\n')
    return reply === '' ? 'while' : 'after'
  }

  async function redeliver (deliver: () => Promise<Answer>): Promise<Answer> {
    const start = performance.now()
    for (;;) {
      const answer = await deliver()
      if (answer.status !== 503 || performance.now() - start > PATIENCE) return answer
      await sleep(25)
    }
  }

  async function run (prefix: string): Promise<void> {
    let [server, standby] = await Promise.all([start(prefix), start(prefix)])
    for (let next = todo.shift(); next !== undefined; next = todo.shift()) {
      await forget(prefix) // removes earlier deliveries, so that there is one key of each kind
      const latest = Math.max(...next.map(({ after }) => after))
      const { pool } = server
      const sent = next.map(({ kind, id, after }) => {
        const deliver = deliveryOf(kind, id)
        return { kind, id, deliver, answer: sleep(latest - after).then(() => deliver(pool)).catch(() => undefined) }
      })
      await sleep(latest)
      await kill(server)
      const before = readLedger(ledger)
      const states = await Promise.all(next.map(({ kind }) => readState(prefix, kind.name)))
      await pool.destroy()
      const replacement = start(prefix)

      await Promise.all(sent.map(async ({ kind, id, deliver, answer }, index) => {
        const [first, state] = [await answer, states[index]!]
        const reply = await redeliver(() => deliver(standby.pool))
        const done = readLedger(ledger)(`done ${id}`)
        // The kill happened between the work and its completion: nobody can know that it was done.
        const doubled = state === 'while' && before(`done ${id}`) === 1
        killed[state]++
        if (done === 0) lost++
        if (doubled) doubles++
        t.equal(reply.status, kind.provider.success, `${id}, killed ${state}: is answered in the end`)
        t.equal(done, doubled ? 2 : 1, `${id}, killed ${state}: is handled ${doubled ? 'again' : 'once'}`)
        t.equal(reply.replayed, state === 'after', `${id}, killed ${state}: is handled again unless it is completed`)
        if (state === 'before') t.equal(before(`begin ${id}`), 0, `${id}: is not handled before it is claimed`)
        if (first !== undefined) {
          t.strictSame([state, first.status, first.text], ['after', reply.status, reply.text],
            `${id}: is completed before it is answered, and answered with the same reply`)
        }
      }))
      server = standby
      standby = await replacement
    }
    for (const { process, pool } of [server, standby]) {
      process.kill('SIGTERM')
      await pool.destroy()
    }
  }

  t.comment(`SEED=${SEED}`)
  await Promise.all(Array.from({ length: LANES }, (_, lane) => run(`lane-${lane}`)))
  t.equal(killed.before + killed.while + killed.after, KILLS * KINDS.length)
  t.equal(lost, 0)
  t.ok(Object.values(killed).every((count) => count > 0), `before, while and after its claim: ${JSON.stringify(killed)}`)
  t.comment(`lost ${lost}, doubles ${doubles}`)
})
