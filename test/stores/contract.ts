import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { memoryDeliveries, redisDeliveries, type DeliveryStore, type StoredReply } from '../../plugins/index.js'
import { createHost } from '../support/host.js'
import { noRedis, startRedis, type RedisServer } from '../support/redis.js'
import { granted, scriptedClient } from '../support/stores.js'

const LEASE = 60_000
const WINDOW = 360_000
/** Lease or retention in milliseconds, short enough to wait for. */
const SHORT = 40
const REPLY: StoredReply = { statusCode: 200, body: '{"status":"ok"}' }

/** A store and a way to let time pass for it. */
interface Opened {
  readonly store: DeliveryStore
  /** Waits until a claim or a reply of exactly `SHORT` has expired. */
  readonly pass: (key: string) => Promise<void>
}

let running: Promise<{ server: RedisServer, client: Redis }> | undefined
let opened = 0

function redis () {
  running ??= startRedis(t).then((server) => ({ server, client: server.connect() }))
  return running
}

/** Opens a store with its own keys. Its timeout is long: Redis may be slow on a busy machine. */
async function openRedis (options: { ttl?: number } = {}) {
  const { server, client } = await redis()
  const prefix = `store-${++opened}:`
  return { server, client, prefix, store: redisDeliveries({ client, prefix, timeout: 1000, ...options }) }
}

async function eventually (condition: () => Promise<boolean>): Promise<void> {
  while (!await condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

const STORES: { name: string, skip: string | false, open: () => Promise<Opened> }[] = [
  {
    name: 'memory',
    skip: false,
    async open () {
      let time = 0
      return { store: memoryDeliveries({ now: () => time }), pass: async () => { time += SHORT } }
    }
  },
  {
    name: 'Redis',
    skip: noRedis,
    async open () {
      const { client, prefix, store } = await openRedis()
      return { store, pass: (key) => eventually(async () => await client.exists(prefix + key) === 0) }
    }
  }
]

const CONTRACT: Record<string, (t: Test, opened: Opened) => Promise<void>> = {
  'a claim is granted once; until it is done the same delivery is running, and other content a conflict':
  async (t, { store }) => {
    const token = await granted(store.claim('key', 'content', LEASE))
    t.not(token, '')
    for (let times = 0; times < 2; times++) {
      t.strictSame(await store.claim('key', 'content', LEASE), { state: 'running' })
      t.strictSame(await store.claim('key', 'other content', LEASE), { state: 'conflict' })
    }
    t.match(await store.claim('other key', 'content', LEASE), { state: 'claimed' })
    t.equal(await store.complete('key', token, REPLY, WINDOW), true)
  },

  'a completed delivery is answered with its reply each time, and other content is a conflict': async (t, { store }) => {
    const token = await granted(store.claim('key', 'content', LEASE))
    t.equal(await store.complete('key', token, REPLY, WINDOW), true)
    for (let times = 0; times < 3; times++) {
      t.strictSame(await store.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
      t.strictSame(await store.claim('key', 'other content', LEASE), { state: 'conflict' })
    }
  },

  'no two claims have the same token, whether of one key or of many': async (t, { store }) => {
    const tokens = new Set<string>()
    for (let count = 0; count < 100; count++) {
      const token = await granted(store.claim('same', 'content', LEASE))
      tokens.add(token).add(await granted(store.claim(`key ${count}`, 'content', LEASE)))
      await store.release('same', token)
    }
    t.equal(tokens.size, 200)
  },

  'a released delivery can be claimed again, by other content too, and its old token is invalid':
  async (t, { store }) => {
    const first = await granted(store.claim('key', 'content', LEASE))
    t.equal(await store.release('key', first), true)
    t.equal(await store.release('key', first), false, 'once')
    t.equal(await store.complete('key', first, REPLY, WINDOW), false)
    const second = await granted(store.claim('key', 'other content', LEASE))
    t.not(second, first)
    t.equal(await store.release('key', first), false)
    t.equal(await store.complete('key', first, REPLY, WINDOW), false)
    t.strictSame(await store.claim('key', 'other content', LEASE), { state: 'running' })
    t.equal(await store.complete('key', second, REPLY, WINDOW), true)
  },

  'a wrong token changes nothing': async (t, { store }) => {
    const token = await granted(store.claim('key', 'content', LEASE))
    const another = await granted(store.claim('another', 'content', LEASE))
    const wrong = ['', ' ', another, `${token} `, token.slice(1), token.slice(0, -1), `${token}\n`, '^', '.*', '\u0000']
    for (const guess of wrong) {
      t.equal(await store.release('key', guess), false)
      t.equal(await store.complete('key', guess, { statusCode: 299 }, WINDOW), false)
      t.equal(await store.release('unknown', guess), false)
      t.equal(await store.complete('unknown', guess, { statusCode: 299 }, WINDOW), false)
    }
    t.strictSame(await store.claim('key', 'content', LEASE), { state: 'running' })
    t.equal(await store.complete('key', token, REPLY, WINDOW), true)
    for (const guess of wrong) t.equal(await store.complete('key', guess, { statusCode: 299 }, WINDOW), false)
    t.strictSame(await store.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
    t.match(await store.claim('unknown', 'content', LEASE), { state: 'claimed' }, 'and no delivery is made up')
  },

  'once the lease is over another claim is granted, for other content too': async (t, { store, pass }) => {
    for (const content of ['content', 'other content']) {
      const first = await granted(store.claim(content, 'content', SHORT))
      await pass(content)
      t.not(await granted(store.claim(content, content, LEASE)), first)
      t.strictSame(await store.claim(content, content, LEASE), { state: 'running' })
    }
  },

  'a lease or a window need not be whole milliseconds': async (t, { store, pass }) => {
    const first = await granted(store.claim('key', 'content', SHORT - 0.5))
    t.not(first, '')
    await pass('key')
    const second = await granted(store.claim('key', 'content', LEASE + 0.1))
    t.equal(await store.complete('key', second, REPLY, SHORT - 0.5, true), true)
    await pass('key')
    t.match(await store.claim('key', 'content', 0.1), { state: 'claimed' })
  },

  'one whose lease is over can change nothing of what another does': async (t, { store, pass }) => {
    const first = await granted(store.claim('key', 'content', SHORT))
    await pass('key')
    const second = await granted(store.claim('key', 'content', LEASE))
    t.equal(await store.complete('key', first, { statusCode: 299 }, WINDOW), false)
    t.equal(await store.release('key', first), false)
    t.strictSame(await store.claim('key', 'content', LEASE), { state: 'running' })
    t.equal(await store.complete('key', second, REPLY, WINDOW), true)
    t.equal(await store.complete('key', first, { statusCode: 299 }, WINDOW), false)
    t.equal(await store.release('key', first), false)
    t.strictSame(await store.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
  },

  'a reply is returned unchanged, whatever its characters': async (t, { store }) => {
    const bodies = [
      undefined, '', '{}', 'null', '"', '\\', '\n', '\r\n\n', '\u0000', 'Zoë 日本 🙂 \u2028', '\ud800', '\ufeff', 'é'.repeat(100_000)
    ]
    for (const [index, body] of bodies.entries()) {
      for (const statusCode of [200, 204, 299]) {
        const key = `key ${index} ${statusCode}`
        const token = await granted(store.claim(key, 'content', LEASE))
        await store.complete(key, token, body === undefined ? { statusCode } : { statusCode, body }, WINDOW)
        const claim = await store.claim(key, 'content', LEASE)
        t.equal(claim.state, 'done')
        const { reply } = claim as { reply: StoredReply }
        t.ok(reply.statusCode === statusCode && reply.body === body)
      }
    }
    const token = await granted(store.claim('key', 'content', LEASE))
    await store.complete('key', token, { statusCode: 204, body: undefined }, WINDOW)
    const claim = await store.claim('key', 'content', LEASE)
    t.equal((claim as { reply: StoredReply }).reply.body, undefined)
  },

  'keys and contents are any strings, and no two are confused': async (t, { store }) => {
    const long = 'x'.repeat(10_240)
    const texts = [
      '', ' ', '\n', '\n\n', 'a\nb', 'a\nb\n', '\r', '\u0000', 'a\u0000b', '"', '\\', '\\n', '""', 'null', '%', '{x}', '*', '__proto__',
      'constructor', 'é', 'e\u0301', '日本', '🙂', '\u2028', '\ufeff', '\ufffd', long, `${long}y`, 'key', 'KEY', 'key '
    ]
    const contents = [...texts, '\ud800', '\udfff']
    const tokens: string[] = []
    for (const key of texts) tokens.push(await granted(store.claim(key, key, LEASE)))
    for (const [index, key] of texts.entries()) {
      const states = await Promise.all(contents.map(async (content) => (await store.claim(key, content, LEASE)).state))
      t.strictSame(states, contents.map((content) => content === key ? 'running' : 'conflict'))
      t.equal(await store.complete(key, tokens[index]!, { statusCode: 200, body: key }, WINDOW), true)
    }
    for (const key of texts) {
      t.strictSame(await store.claim(key, key, LEASE), { state: 'done', reply: { statusCode: 200, body: key } })
      t.strictSame(await store.claim(key, '\ud800', LEASE), { state: 'conflict' })
    }
  },

  'contents that no encoding distinguishes are distinguished': async (t, { store }) => {
    const token = await granted(store.claim('key', '\ud800', LEASE))
    for (const done of [false, true]) {
      if (done) t.equal(await store.complete('key', token, REPLY, WINDOW), true)
      t.equal((await store.claim('key', '\ud800', LEASE)).state, done ? 'done' : 'running')
      for (const other of ['\ud801', '\ufffd']) t.equal((await store.claim('key', other, LEASE)).state, 'conflict')
    }
  },

  'one of a thousand simultaneous claims is granted': async (t, { store }) => {
    const claims = await Promise.all(Array.from({ length: 1000 }, () => store.claim('key', 'content', LEASE)))
    const states = claims.map(({ state }) => state)
    t.equal(states.filter((state) => state === 'claimed').length, 1)
    t.equal(states.filter((state) => state === 'running').length, 999)
  },

  'a claim that is completed and released at the same time is one of both': async (t, { store }) => {
    for (let count = 0; count < 20; count++) {
      const key = `key ${count}`
      const token = await granted(store.claim(key, 'content', LEASE))
      const [completed, released] = count % 2 === 0
        ? await Promise.all([store.complete(key, token, REPLY, WINDOW), store.release(key, token)])
        : (await Promise.all([store.release(key, token), store.complete(key, token, REPLY, WINDOW)])).toReversed()
      t.not(completed, released)
      t.equal((await store.claim(key, 'content', LEASE)).state, completed ? 'done' : 'claimed')
    }
  },

  'a completed delivery cannot be released': async (t, { store }) => {
    const token = await granted(store.claim('key', 'content', LEASE))
    await store.complete('key', token, REPLY, WINDOW)
    t.equal(await store.release('key', token), false)
    t.strictSame(await store.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
  },

  'completing twice is completing once': async (t, { store }) => {
    const token = await granted(store.claim('key', 'content', LEASE))
    t.equal(await store.complete('key', token, REPLY, WINDOW), true)
    t.equal(await store.complete('key', token, REPLY, WINDOW), true)
    t.strictSame(await store.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
    t.equal(await store.release('key', token), false)
  },

  'a reply with an exact retention is forgotten then, however long others are remembered':
  async (t, { store, pass }) => {
    const kept = await granted(store.claim('kept', 'content', LEASE))
    await store.complete('kept', kept, REPLY, SHORT)
    const token = await granted(store.claim('key', 'content', LEASE))
    t.equal(await store.complete('key', token, REPLY, SHORT, true), true)
    await pass('key')
    t.equal(await store.complete('kept', kept, REPLY, WINDOW), true)
    t.strictSame(await store.claim('kept', 'content', LEASE), { state: 'done', reply: REPLY })
    t.not(await granted(store.claim('key', 'other content', LEASE)), token)
  }
}

for (const { name, skip, open } of STORES) {
  t.test(`a store in ${name} satisfies the contract`, { skip }, async (t) => {
    for (const [sentence, check] of Object.entries(CONTRACT)) t.test(sentence, async (t) => check(t, await open()))
  })
}

const UNKNOWN = 'is not known'
const YEAR = 365 * 24 * 3600
const RETENTION = `must be a number of seconds from 1 to ${YEAR}`
const NO_RETENTION = [0, 0.9, -1, NaN, Infinity, YEAR + 1, 'canary', null]
const whole = (most: number) => `must be an integer from 1 to ${most}`
const NO_WHOLE = [0, -1, 1.5, NaN, Infinity, 'canary', null]

type Wrong = Record<string, [expected: string, ...values: unknown[]]>
const WRONG: [string, (options: object) => unknown, Wrong][] = [
  ['memoryDeliveries', memoryDeliveries, {
    maxEntries: [whole(2 ** 23), ...NO_WHOLE, 2 ** 23 + 1],
    ttl: [RETENTION, ...NO_RETENTION],
    now: ['must be a function', 0, 'canary', null, {}],
    timeout: [UNKNOWN, 100],
    maxentries: [UNKNOWN, 5]
  }],
  ['redisDeliveries', (options) => redisDeliveries({ client: scriptedClient().client, ...options }), {
    client: [
      'must be an ioredis client', null, 'canary', 5, {}, [], () => {}, { ...scriptedClient().client, on: undefined },
      { ...scriptedClient().client, status: undefined },
      ...['eval', 'evalsha', 'info'].map((name) => Object.assign(scriptedClient().client, { [name]: 'canary' }))
    ],
    prefix: ['must be a string', 5, null, ['canary']],
    ttl: [RETENTION, ...NO_RETENTION],
    timeout: [whole(1000), ...NO_WHOLE, 1001],
    maxEntries: [UNKNOWN, 5],
    keyPrefix: [UNKNOWN, 'canary']
  }]
]

for (const [name, create, options] of WRONG) {
  t.test(`${name} refuses invalid options by name, and shows no value`, async (t) => {
    for (const [option, [expected, ...values]] of Object.entries(options)) {
      for (const value of values) {
        t.throws(() => create({ [option]: value }), {
          code: 'FST_VERIFICATION_INVALID_OPTION', message: `${name}: option "${option}" ${expected}`
        })
      }
    }
  })
}

t.test('options that are not an object are refused like any other', async (t) => {
  for (const [name, create] of [['memoryDeliveries', memoryDeliveries], ['redisDeliveries', redisDeliveries]] as const) {
    for (const options of [null, 5, 'canary', () => {}]) {
      t.throws(() => create(options as never), {
        code: 'FST_VERIFICATION_INVALID_OPTION', message: `${name}: option "options" must be an object`
      })
    }
  }
  t.throws(() => redisDeliveries(undefined as never), { code: 'FST_VERIFICATION_INVALID_OPTION' })
  t.throws(() => redisDeliveries({} as never), { message: 'redisDeliveries: option "client" is required' })
})

t.test('options at their limits, absent or undefined are valid', async (t) => {
  const { client } = scriptedClient()
  for (const options of [
    {}, { maxEntries: undefined, ttl: undefined, now: undefined }, { maxEntries: 1, ttl: 1 },
    { maxEntries: 2 ** 23, ttl: YEAR }
  ]) t.match(memoryDeliveries(options), { claim: Function, complete: Function, release: Function })
  for (const options of [
    {}, { prefix: undefined, ttl: undefined, timeout: undefined }, { prefix: '', ttl: 1, timeout: 1 },
    { prefix: '日本\n', ttl: YEAR, timeout: 1000 }
  ]) t.match(redisDeliveries({ client, ...options }), { claim: Function, watch: Function })
  t.match(memoryDeliveries(), { claim: Function })
})

/** Returns the number of runs of each Redis command since the last call, including those in scripts. */
async function commandsOf (client: Redis): Promise<Record<string, number>> {
  const text = await client.info('commandstats')
  await client.config('RESETSTAT')
  const counts = [...text.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)].map(([, name, calls]) => [name, Number(calls)])
  return Object.fromEntries(counts.filter(([name]) => name !== 'config|resetstat' && name !== 'info'))
}

t.test('each method is one round trip, once Redis has the scripts', { skip: noRedis }, async (t) => {
  const { client, store } = await openRedis()
  await client.script('FLUSH')
  await commandsOf(client)
  const round = async (key: string): Promise<void> => {
    await store.release(key, await granted(store.claim(key, 'content', LEASE)))
    const token = await granted(store.claim(key, 'content', LEASE))
    await store.claim(key, 'content', LEASE)
    await store.complete(key, token, REPLY, WINDOW)
    await store.claim(key, 'content', LEASE)
    await store.claim(key, 'other content', LEASE)
    await store.release(key, token)
  }
  await round('first')
  const { evalsha, eval: learnt } = await commandsOf(client)
  t.strictSame([evalsha, learnt], [8, 3], 'each script is sent once')
  for (let count = 0; count < 10; count++) await round(`key ${count}`)
  const steady = await commandsOf(client)
  t.equal(steady.evalsha, 80)
  t.strictSame(Object.keys(steady).toSorted(), ['del', 'evalsha', 'get', 'set'])
})

t.test('the scripts are sent again to a Redis that has lost them', { skip: noRedis }, async (t) => {
  const { client, store } = await openRedis()
  const forget = () => client.script('FLUSH')
  await forget()
  const first = await granted(store.claim('key', 'content', LEASE))
  await forget()
  t.equal(await store.release('key', first), true)
  const second = await granted(store.claim('key', 'content', LEASE))
  await forget()
  t.equal(await store.complete('key', second, REPLY, WINDOW), true)
  await forget()
  t.strictSame(await store.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
  await forget()
  const claims = await Promise.all(Array.from({ length: 50 }, () => store.claim('many', 'content', LEASE)))
  t.equal(claims.filter(({ state }) => state === 'claimed').length, 1)
})

t.test('each key in Redis has the prefix, and only claimed deliveries have a key', { skip: noRedis }, async (t) => {
  const { client } = await redis()
  for (const given of [undefined, 'a{b}*:', '']) {
    await client.flushall()
    const prefix = given ?? 'fastify-verification:'
    const store = redisDeliveries({ client, timeout: 1000, prefix: given })
    t.equal(await store.complete('none', 'token', REPLY, WINDOW), false)
    t.equal(await store.release('none', 'token'), false)
    t.strictSame(await client.keys('*'), [])
    const token = await granted(store.claim('a', 'content', LEASE))
    await store.complete('a', token, REPLY, WINDOW)
    const other = await granted(store.claim('b', 'content', LEASE))
    t.strictSame((await client.keys('*')).toSorted(), [`${prefix}a`, `${prefix}b`])
    await store.release('b', other)
    t.strictSame(await client.keys('*'), [`${prefix}a`])
  }
})

t.test('a key in Redis expires with the lease, or with the retention of a completed delivery', { skip: noRedis }, async (t) => {
  const HOUR = 3_600_000
  const slack = 60_000 // tolerance for a slow machine
  const cases = [
    [{}, WINDOW, false, 96 * HOUR], [{}, 100 * HOUR, false, 100 * HOUR], [{ ttl: 7200 }, WINDOW, false, 2 * HOUR],
    [{ ttl: 7200.5 }, WINDOW, false, 7_200_500], [{ ttl: 7200 }, 3 * HOUR, false, 3 * HOUR],
    [{ ttl: 1 }, HOUR, false, HOUR],
    [{ ttl: 7200 }, HOUR, true, HOUR], [{}, HOUR, true, HOUR], [{ ttl: 1 }, HOUR, true, HOUR]
  ] as const
  for (const [options, window, exactly, expected] of cases) {
    const { client, prefix, store } = await openRedis(options)
    const expiresIn = async (ms: number, message: string): Promise<void> => {
      const left = await client.pttl(`${prefix}key`)
      t.ok(left > ms - slack && left <= ms, `${message}: ${left} of ${ms} ms`)
    }
    const token = await granted(store.claim('key', 'content', 10 * LEASE))
    await expiresIn(10 * LEASE, 'claimed')
    await store.claim('key', 'content', HOUR)
    await store.claim('key', 'other content', HOUR)
    await store.complete('key', 'wrong token', REPLY, HOUR)
    await expiresIn(10 * LEASE, 'asked for while it is running')
    await store.complete('key', token, REPLY, window, exactly)
    await expiresIn(expected, 'done')
    await store.claim('key', 'content', LEASE)
    await store.release('key', token)
    await expiresIn(expected, 'asked for after it is done')
    await store.complete('key', token, REPLY, window, exactly)
    await expiresIn(expected, 'done again')
  }
})

t.test('a key of Redis with another type is an error, and is not changed', { skip: noRedis }, async (t) => {
  const { client, prefix, store } = await openRedis()
  const key = `${prefix}key`
  const texts = [
    '', 'x', '\n', '\n\n', 'a\nb', 'a\n\n', '\nb\n', 'a\n\nc', '\nb\nc', 'a\nb\nc\n', 'a\nb\nc\nd', '"token"\n"content"',
    '{"state":"done"}'
  ]
  const others: (() => Promise<unknown>)[] = [
    ...texts.map((text) => () => client.set(key, text)), () => client.set(key, Buffer.from([0, 255, 10, 0])),
    () => client.rpush(key, 'x'), () => client.hset(key, 'a', 'b'), () => client.sadd(key, 'x'),
    () => client.zadd(key, 1, 'x'), () => client.xadd(key, '1-1', 'a', 'b')
  ]
  for (const put of others) {
    await client.del(key)
    await put()
    const before = await client.dumpBuffer(key)
    for (const token of ['', 'a', '"token"', 'x']) {
      await t.rejects(async () => store.claim('key', 'content', LEASE), { name: 'ReplyError' })
      await t.rejects(async () => store.complete('key', token, REPLY, WINDOW), { name: 'ReplyError' })
      await t.rejects(async () => store.release('key', token), { name: 'ReplyError' })
    }
    t.ok(before!.equals((await client.dumpBuffer(key))!))
    t.equal(await client.pttl(key), -1)
  }
  await client.set(key, '"token"\n"content"\nno JSON')
  await t.rejects(async () => store.claim('key', 'content', LEASE), SyntaxError)
  t.equal(await client.get(key), '"token"\n"content"\nno JSON')
})

t.test('a Redis that may drop claims causes one warning, and any other none', { skip: noRedis }, async (t) => {
  const { client, store: quiet } = await openRedis()
  const { app, lines } = createHost(t)
  t.teardown(() => client.config('SET', 'maxmemory-policy', 'noeviction'))
  const answered = async () => {
    await client.info('memory') // resolves after all earlier commands have been answered
    await new Promise(setImmediate)
    return lines.splice(0)
  }
  const listeners = () => ['ready', 'error'].map((event) => client.listenerCount(event))
  quiet.watch!(app.log)
  t.strictSame(await answered(), [])

  for (const policy of ['allkeys-lru', 'volatile-ttl']) {
    await client.config('SET', 'maxmemory-policy', policy)
    const { store } = await openRedis()
    store.watch!(app.log)
    const warnings = await answered()
    t.match(warnings, [{ level: 40, policy, msg: /maxmemory-policy to noeviction$/ }])
    t.equal(warnings.length, 1)
    const before = listeners()
    store.watch!(app.log)
    quiet.watch!(app.log)
    t.strictSame(await answered(), [])
    t.strictSame(listeners(), before)
  }
})

t.test("a client's own prefix comes before the store's", { skip: noRedis }, async (t) => {
  const { server, client } = await redis()
  await client.flushall()
  const store = redisDeliveries({ client: server.connect({ keyPrefix: 'app:' }), prefix: 'p:', timeout: 1000 })
  const token = await granted(store.claim('key', 'content', LEASE))
  t.strictSame(await client.keys('*'), ['app:p:key'])
  t.strictSame(await store.claim('key', 'content', LEASE), { state: 'running' })
  t.equal(await store.complete('key', token, REPLY, WINDOW), true)
  t.strictSame(await store.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
  t.strictSame(await client.keys('*'), ['app:p:key'])
})

t.test('stores with different prefixes do not see each other', { skip: noRedis }, async (t) => {
  const [one, other] = [await openRedis(), await openRedis()]
  const token = await granted(one.store.claim('key', 'content', LEASE))
  t.equal(await other.store.release('key', token), false)
  t.equal(await other.store.complete('key', token, REPLY, WINDOW), false)
  const another = await granted(other.store.claim('key', 'other content', LEASE))
  t.equal(await one.store.complete('key', token, REPLY, WINDOW), true)
  t.strictSame(await other.store.claim('key', 'other content', LEASE), { state: 'running' })
  t.equal(await other.store.release('key', another), true)
  t.strictSame(await one.store.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
})

t.test('stores with the same prefix are one store, whatever their connections', { skip: noRedis }, async (t) => {
  const { server, prefix, store } = await openRedis()
  const twin = redisDeliveries({ client: server.connect(), prefix, timeout: 1000 })
  const claims = await Promise.all(Array.from({ length: 100 }, (_, count) =>
    (count % 2 === 0 ? store : twin).claim('key', 'content', LEASE)))
  const [claim, ...rest] = claims.filter(({ state }) => state === 'claimed')
  t.equal(rest.length, 0)
  t.equal(await twin.complete('key', await granted(claim!), REPLY, WINDOW), true)
  t.strictSame(await store.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
})

t.test('a call that the client repeats, as after a reconnect, has the same effect', { skip: noRedis }, async (t) => {
  const { client, prefix, store } = await openRedis()
  let again: () => Promise<unknown> = async () => undefined
  const twice = new Proxy(client, {
    get (target, name) {
      if (name !== 'evalsha' && name !== 'eval') return Reflect.get(target, name)
      return async (script: string, keys: number, ...args: string[]) => {
        again = () => target[name](script, keys, ...args)
        await again()
        return again()
      }
    }
  })
  const stubborn = redisDeliveries({ client: twice, prefix, timeout: 1000 })
  const token = await granted(stubborn.claim('key', 'content', LEASE))
  const claimAgain = again
  t.strictSame(await stubborn.claim('key', 'content', LEASE), { state: 'running' })
  t.equal(await stubborn.complete('key', token, REPLY, WINDOW), true)
  t.strictSame(await stubborn.claim('key', 'content', LEASE), { state: 'done', reply: REPLY })
  t.strictSame(await claimAgain(), ['done', JSON.stringify(REPLY)], 'at any delay')
  await stubborn.release('other', await granted(stubborn.claim('other', 'content', LEASE)))
  t.match(await store.claim('other', 'content', LEASE), { state: 'claimed' })
})

t.test('a claim that Redis grants too late is released', { skip: noRedis }, async (t) => {
  const { server, client, prefix, store: patient } = await openRedis()
  await patient.release('key', await granted(patient.claim('key', 'content', LEASE))) // loads the scripts
  const own = server.connect()
  await own.ping()
  const store = redisDeliveries({ client: own, prefix, timeout: 50 })
  await commandsOf(client)
  server.process.kill('SIGSTOP')
  try {
    await t.rejects(async () => store.claim('key', 'content', LEASE), { code: 'FST_VERIFICATION_CALL_TIMEOUT' })
  } finally {
    server.process.kill('SIGCONT')
  }
  await eventually(async () => /^cmdstat_del:calls=1,/m.test(await client.info('commandstats')))
  t.equal((await commandsOf(client)).set, 1, 'it was granted')
  t.match(await patient.claim('key', 'other content', LEASE), { state: 'claimed' })
})
