import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster } from 'ioredis'
import t, { type Test } from 'tap'
import { redisDeliveries } from '../../plugins/stores/redis.js'
import { noRedis, startRedis, type RedisServer } from '../support/redis.js'

// A real Redis Cluster: the key of a delivery decides which node stores it, and each call uses that key only.

const NODES = 3
const SLOTS = 16_384
const REPLY = { statusCode: 200, body: '{"status":"ok"}' }

async function startCluster (t: Test): Promise<{ cluster: Cluster, nodes: RedisServer[] }> {
  const nodes = []
  const folder = t.testdir()
  for (let index = 0; index < NODES; index++) {
    const file = join(folder, `nodes-${index}.conf`)
    nodes.push(await startRedis(t, '--cluster-enabled', 'yes', '--cluster-config-file', file))
  }
  const clients = nodes.map((node) => node.connect())
  const first = (index: number): number => Math.floor(index * SLOTS / NODES)
  for (const [index, client] of clients.entries()) {
    await client.call('CLUSTER', 'ADDSLOTSRANGE', first(index), first(index + 1) - 1)
    await client.call('CLUSTER', 'MEET', '127.0.0.1', nodes[0]!.port)
  }
  const isWhole = async (): Promise<boolean> => (await Promise.all(clients.map((client) => client.cluster('INFO'))))
    .every((info) => info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${NODES}`))
  while (!await isWhole()) await sleep(20)
  const cluster = new Cluster([{ host: '127.0.0.1', port: nodes[0]!.port }], { redisOptions: { maxRetriesPerRequest: 1 } })
  t.teardown(() => cluster.disconnect())
  await once(cluster, 'ready')
  return { cluster, nodes }
}

t.test('deliveries spread over a Redis Cluster, and each is handled once', { skip: noRedis }, async (t) => {
  const { cluster, nodes } = await startCluster(t)
  const store = redisDeliveries({ client: cluster, timeout: 1000 })
  const keys = Array.from({ length: 300 }, (_, index) => `delivery-${index}`)
  for (const round of ['first', 'second']) {
    const claims = await Promise.all(keys.map((key) => store.claim(key, 'f', 5000)))
    t.ok(claims.every(({ state }) => state === (round === 'first' ? 'claimed' : 'done')), round)
    await Promise.all(claims.map(async (claim, index) => {
      if (claim.state === 'claimed') t.equal(await store.complete(keys[index]!, claim.token, REPLY, 5000), true)
      else t.strictSame(claim, { state: 'done', reply: REPLY })
    }))
  }
  const sizes = await Promise.all(nodes.map((node) => node.connect().dbsize()))
  t.equal(sizes.reduce((sum, size) => sum + size, 0), keys.length)
  t.ok(sizes.every((size) => size > keys.length / NODES / 2), `on every node: ${sizes}`)

  for (const key of ['given-back-1', 'given-back-2', 'given-back-3']) {
    const claim = await store.claim(key, 'f', 5000)
    t.equal(claim.state === 'claimed' && await store.release(key, claim.token), true)
    t.equal((await store.claim(key, 'f', 5000)).state, 'claimed', 'a released claim can be granted again')
  }
})
