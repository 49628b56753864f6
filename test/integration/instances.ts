import t from 'tap'
import { Pool } from 'undici'
import { bundleInstance, deliveryOf, KINDS, readLedger, startInstance } from '../support/instances.js'
import { noRedis, startRedis } from '../support/redis.js'

const ROUNDS = 10
const COPIES = 1000

t.test('one of many copies of a delivery to two servers on one Redis is handled', { skip: noRedis }, async (t) => {
  const [redis, { program, ledger }] = await Promise.all([startRedis(t), bundleInstance(t)])
  const servers = await Promise.all(['first', 'second'].map((name) =>
    startInstance(t, program, redis.url, { name, ledger, prefix: 'shared', work: [10, 40] })))
  const pools = servers.map(({ origin }) => new Pool(origin, { connections: 100 }))
  const winners = new Set<number>()
  let refused = 0

  for (let round = 0; round < ROUNDS; round++) {
    const kind = KINDS[round % KINDS.length]!
    const { success } = kind.provider
    await t.test(`round ${round + 1}: ${kind.name}`, async (t) => {
      const id = `round-${round}`
      const deliver = deliveryOf(kind, id)
      const send = async (server: number) => ({ server, ...await deliver(pools[server]!) })
      // Alternates the server that receives the first copy.
      const sent = Array.from({ length: COPIES }, (_, copy) => send((copy + (round >> 1)) % servers.length))
      const answers = await Promise.all(sent)
      const taken = answers.filter(({ status }) => status === success)
      const running = answers.filter(({ status, retryAfter, text }) =>
        status === 503 && retryAfter === '5' && text.includes('"FST_VERIFICATION_IN_PROGRESS"'))
      const first = taken.filter(({ replayed }) => !replayed)
      refused += running.length
      for (const { server } of first) winners.add(server)

      const entries = readLedger(ledger)
      t.equal(entries(`begin ${id}`), 1, 'the handler ran once')
      t.equal(entries(`done ${id}`), 1)
      t.equal(taken.length + running.length, COPIES, 'each copy is answered with the reply, or asked to retry')
      t.equal(first.length, 1, 'one answer is not a replay')
      t.equal(new Set(taken.map(({ text }) => text)).size, 1, 'all replies are the same')
      for (const server of servers.keys()) {
        const { status, replayed, text } = await send(server)
        t.strictSame([status, replayed, text], [success, true, first[0]?.text])
      }
      t.equal(readLedger(ledger)(`begin ${id}`), 1, 'afterwards, too')
    })
  }
  t.ok(refused > 0, 'copies arrived while another one was handled')
  t.comment(`${ROUNDS * COPIES} copies, of which ${refused} arrived while another one was handled`)
  t.strictSame([...winners].sort(), [0, 1], 'both servers handled some')

  await Promise.all(pools.map((pool) => pool.close()))
  for (const { process, exit } of servers) {
    process.kill('SIGTERM')
    t.strictSame(await exit, [0, null])
  }
})
