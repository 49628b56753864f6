import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { redisDeliveries, type Claim } from '../../plugins/index.js'
import { createHost } from '../support/host.js'
import { quiet } from '../support/quiet.js'
import { gateOf, watchRejections } from '../support/waiting.js'
import { granted, scriptedClient, type Call } from '../support/stores.js'

const LEASE = 60_000
const WINDOW = 360_000
const REPLY = { statusCode: 200, body: '"é\n"' }
/** Timeout in milliseconds, for calls that must not reach it. */
const LONG = 1000
const UNREACHABLE = { code: 'FST_VERIFICATION_STORE_UNREACHABLE' }
const TIMED_OUT = { code: 'FST_VERIFICATION_CALL_TIMEOUT' }

const sha1 = (text: string) => createHash('sha1').update(text).digest('hex')
const rejections = watchRejections()

function createStore (answer?: (call: Call, count: number) => unknown, timeout = LONG) {
  const scripted = scriptedClient(answer)
  return { ...scripted, store: redisDeliveries({ client: scripted.client, timeout }) }
}

type Store = ReturnType<typeof createStore>['store']
const VERBS: Record<string, (store: Store) => unknown> = {
  claim: (store) => store.claim('key', 'content', LEASE),
  complete: (store) => store.complete('key', 'token', REPLY, WINDOW),
  release: (store) => store.release('key', 'token')
}

/** Resolves after all pending microtasks. */
const settled = () => new Promise((resolve) => setImmediate(resolve))
const noRejections = async (t: Test) => {
  await settled()
  t.strictSame(rejections.splice(0), [])
}

t.test('a claim sends its token, content and lease, and returns the answer of Redis', quiet(async (t) => {
  const answers: [unknown, object][] = [
    [['claimed'], { state: 'claimed' }], [['running'], { state: 'running' }], [['conflict'], { state: 'conflict' }],
    [['done', '{"statusCode":204}'], { state: 'done', reply: { statusCode: 204 } }],
    [['done', JSON.stringify(REPLY)], { state: 'done', reply: REPLY }]
  ]
  for (const [answer, expected] of answers) {
    const { store, calls } = createStore(() => answer)
    const claim = await store.claim('a\nkey', 'con\ntent', 1234.2)
    const [{ args: [token, ...rest], ...call }] = calls as [Call]
    t.match(call, { verb: 'evalsha', script: /^[0-9a-f]{40}$/, keys: 1, key: 'fastify-verification:a\nkey' })
    t.strictSame(rest, ['"con\\ntent"', '1235'])
    t.match(token, /^"[0-9a-f-]{36}"$/)
    t.strictSame(claim, claim.state === 'claimed' ? { ...expected, token } : expected)
    t.equal(calls.length, 1)
  }
}))

t.test('no two claims send the same token', async (t) => {
  const { store, calls } = createStore()
  for (let count = 0; count < 100; count++) await store.claim('key', 'content', LEASE)
  t.equal(new Set(calls.map(({ args: [token] }) => token)).size, 100)
})

t.test('complete sends the reply, and its retention: the longer of both times, or exactly one', quiet(async (t) => {
  for (const [ttl, window, exactly, sent] of [
    [undefined, WINDOW, false, '345600000'], [undefined, WINDOW, undefined, '345600000'], [60, 59_999, false, '60000'], [60, 60_000.5, false, '60001'],
    [60, 1, true, '1'], [60, 70_000, true, '70000']
  ] as const) {
    for (const [answer, held] of [[1, true], [0, false]]) {
      const { client, calls } = scriptedClient(() => answer)
      const store = redisDeliveries({ client, ttl, prefix: 'p:', timeout: LONG })
      t.equal(await store.complete('key', 'token', REPLY, window, exactly), held)
      t.match(calls, [{ verb: 'evalsha', keys: 1, key: 'p:key', args: ['token', JSON.stringify(REPLY), sent] }])
      t.equal(calls.length, 1)
    }
  }
}))

t.test('release sends the token', async (t) => {
  for (const [answer, held] of [[1, true], [0, false]]) {
    const { store, calls } = createStore(() => answer)
    t.equal(await store.release('key', 'token'), held)
    t.strictSame(calls.map(({ verb, key, args }) => [verb, key, args]), [
      ['evalsha', 'fastify-verification:key', ['token']]
    ])
  }
})

t.test('a script that Redis does not have is sent with the same arguments, and by its SHA-1 the next time', quiet(async (t) => {
  for (const verb of Object.values(VERBS)) {
    const { store, calls } = createStore(({ verb, args }, count) => {
      if (verb === 'evalsha' && count === 1) throw new Error('NOSCRIPT No matching script. Please use EVAL.')
      return args.length === 1 ? 1 : ['claimed']
    })
    await verb(store)
    await verb(store)
    const [first, second, third] = calls as [Call, Call, Call]
    t.strictSame(calls.map(({ verb }) => verb), ['evalsha', 'eval', 'evalsha'])
    t.equal(sha1(second.script), first.script)
    t.equal(third.script, first.script)
    t.strictSame({ ...second, verb: '', script: '' }, { ...first, verb: '', script: '' })
  }
}))

t.test('an error of Redis is passed on, and nothing is sent again or released', async (t) => {
  const failure = Object.assign(new Error('ERR value is not an integer or NOSCRIPT'), { name: 'ReplyError' })
  for (const verb of Object.values(VERBS)) {
    const { store, calls } = createStore(() => { throw failure })
    for (let count = 1; count <= 300; count++) {
      const error = await Promise.resolve(verb(store)).catch((error: unknown) => error)
      if (error !== failure || calls.length !== count) t.fail('is not passed on')
    }
    const together = await Promise.allSettled(Array.from({ length: 300 }, () => verb(store)))
    t.ok(together.every((outcome) => outcome.status === 'rejected' && outcome.reason === failure))
    t.equal(calls.length, 600, 'and it does not count as no answer')
  }
  await noRejections(t)
})

t.test('any other failure is passed on; a claim, which may have been granted all the same, is released', async (t) => {
  const failure = new Error('Connection is closed.')
  for (const [name, verb] of Object.entries(VERBS)) {
    const { store, calls } = createStore(() => { throw failure })
    await t.rejects(async () => verb(store), failure)
    await settled()
    t.strictSame(calls.slice(1).map(({ key, args }) => [key, ...args]),
      name === 'claim' ? [[calls[0]!.key, calls[0]!.args[0]]] : [])
  }
  await noRejections(t)
})

t.test('a failure of the script that is sent in full is passed on', async (t) => {
  for (const verb of Object.values(VERBS)) {
    const { store, calls } = createStore(({ verb }) => { throw new Error(verb === 'eval' ? 'NOSCRIPT again' : 'NOSCRIPT') })
    await t.rejects(async () => verb(store), { message: 'NOSCRIPT again' })
    t.strictSame(calls.slice(0, 2).map(({ verb }) => verb), ['evalsha', 'eval'])
  }
})

t.test('if a client rejects or throws, with any value, a method rejects', quiet(async (t) => {
  for (const value of [undefined, null, 'NOSCRIPT', { message: 5 }, Symbol('x')]) {
    for (const verb of Object.values(VERBS)) {
      const { store, client, calls } = createStore(() => { throw value })
      const outcome = await Promise.allSettled([verb(store)])
      t.match(outcome, [{ status: 'rejected' }])
      t.equal(calls[0]?.verb, 'evalsha')
      client.evalsha = () => { throw value }
      t.match(await Promise.allSettled([verb(store)]), [{ status: 'rejected' }])
    }
  }
}))

t.test('an invalid answer never counts as a claim, a completed delivery or a held token', quiet(async (t) => {
  const garbage = [
    undefined, null, 0, 1, '1', 5, '', 'claimed', 'OK', {}, { 0: 'claimed' }, [], [undefined], [['claimed']], ['CLAIMED'],
    ['done'], ['done', ''], ['done', 'no JSON'], ['done', undefined], Buffer.from('claimed'), NaN, -1, 2
  ]
  for (const answer of garbage) {
    const { store } = createStore(() => answer)
    const [outcome] = await Promise.allSettled([store.claim('key', 'content', LEASE)]) as [PromiseSettledResult<Claim>]
    t.notOk(outcome.status === 'fulfilled' && ['claimed', 'running', 'done', 'conflict'].includes(outcome.value.state))
    for (const verb of [VERBS['complete']!, VERBS['release']!]) t.equal(await verb(store), answer === 1 || answer === '1')
  }
}))

t.test('a method that Redis does not answer in time rejects; a later answer is ignored', quiet(async (t) => {
  for (const [name, verb] of Object.entries(VERBS)) {
    for (const late of [
      ['claimed'], ['running'], ['done', 'no JSON'], null, undefined, 1, 'x', {}, new Error('late')
    ]) {
      const gate = gateOf<unknown>()
      const { store, calls } = createStore((_call, count) => count === 1 ? gate.promise : 0, 5)
      await t.rejects(async () => verb(store), TIMED_OUT)
      if (late instanceof Error) gate.reject(late)
      else gate.resolve(late)
      await settled()
      const [first, ...rest] = calls as [Call]
      if (name !== 'claim') t.strictSame(rest, [], 'nothing is sent again')
      else t.strictSame(rest.map(({ args }) => args), Array(late instanceof Error ? 1 : 2).fill([first.args[0]]), 'released')
    }
  }
  await noRejections(t)
}))

t.test('a claim that is not answered in time is released by its token, at once', async (t) => {
  const { store, calls } = createStore(({ args }) => args.length === 1 ? 1 : new Promise(() => {}), 5)
  await t.rejects(async () => store.claim('key', 'content', LEASE), TIMED_OUT)
  const [claim, release, ...more] = calls as [Call, Call]
  t.strictSame(more, [])
  t.strictSame([release.key, ...release.args], [claim.key, claim.args[0]])
  t.equal(release.verb, 'eval', 'in full, since no other answer is awaited')
  await store.release('key', 'another token')
  t.equal(calls[2]?.script, sha1(release.script))
})

t.test('each of many claims that are not answered in time is released', async (t) => {
  const { store, calls, releases } = createStore(({ args }) => args.length === 1 ? 1 : new Promise(() => {}), 5)
  await Promise.allSettled(Array.from({ length: 150 }, (_, index) => store.claim(`key ${index}`, 'content', LEASE)))
  const claims = calls.filter(({ args }) => args.length > 1)
  t.equal(claims.length, 150)
  t.strictSame(releases().map(({ key, args }) => [key, ...args]), claims.map(({ key, args: [token] }) => [key, token]))
})

t.test('a claim is released after its own script has been sent in full', async (t) => {
  const { store, calls, releases } = createStore(({ verb, args }) => {
    if (args.length === 1) return 1
    if (verb === 'evalsha') throw new Error('NOSCRIPT')
    return new Promise(() => {})
  }, 5)
  await t.rejects(async () => store.claim('key', 'content', LEASE), TIMED_OUT)
  t.strictSame(calls.map(({ verb, args }) => [verb, args.length]), [['evalsha', 3], ['eval', 3], ['eval', 1]])
  t.strictSame(releases()[0]?.args, [calls[0]!.args[0]])
})

t.test('a claim whose script turns out too late to be unknown is released once it is made', async (t) => {
  const gate = gateOf<unknown>()
  const { store, calls } = createStore(({ args }, count) => {
    if (args.length === 1) return 0
    return count === 1 ? gate.promise : ['claimed']
  }, 5)
  await t.rejects(async () => store.claim('key', 'content', LEASE), TIMED_OUT)
  gate.reject(new Error('NOSCRIPT'))
  await settled()
  t.strictSame(calls.map(({ verb, args }) => [verb, args.length]), [['evalsha', 3], ['eval', 1], ['eval', 3], ['eval', 1]])
  t.equal(new Set(calls.map(({ args: [token] }) => token)).size, 1)
})

t.test('that a cannot release the claim disturbs nobody: its lease ends it', async (t) => {
  for (const fail of [() => { throw new Error('canary') }, () => new Promise(() => {})]) {
    const { store, releases } = createStore(({ args }) => args.length === 1 ? fail() : new Promise(() => {}), 5)
    await t.rejects(async () => store.claim('key', 'content', LEASE), TIMED_OUT)
    await new Promise((resolve) => setTimeout(resolve, 20))
    t.equal(releases().length, 1)
  }
  await noRejections(t)
})

t.test('a claim that is answered in time is not released', async (t) => {
  for (const answer of [['claimed'], ['running']]) {
    const { store, calls } = createStore(() => answer)
    await store.claim('key', 'content', LEASE)
    await settled()
    t.equal(calls.length, 1)
  }
})

t.test('the default timeout is a quarter of a second', async (t) => {
  const { client } = scriptedClient(() => new Promise(() => {}))
  await t.rejects(async () => redisDeliveries({ client }).release('key', 'token'), { ...TIMED_OUT, message: /\b250 ms/ })
})

t.test('without a connection nothing new is claimed; claims in progress are settled once there is one', quiet(async (t) => {
  const { store, client, calls } = createStore(({ args }) => args.length === 3 && args[2] === `${LEASE}` ? ['claimed'] : 1)
  for (const status of ['close', 'reconnecting', 'disconnecting', 'end']) {
    client.status = status
    await t.rejects(async () => store.claim('key', 'content', LEASE), UNREACHABLE)
    t.strictSame(calls.splice(0), [])
    t.equal(await store.complete('key', 'token', REPLY, WINDOW), true)
    t.equal(await store.release('key', 'token'), true)
    t.equal(calls.splice(0).length, 2)
  }
  for (const status of ['wait', 'connecting', 'connect', 'ready']) {
    client.status = status
    t.match(await store.claim('key', 'content', LEASE), { state: 'claimed' })
  }
}))

/** Creates a store whose calls stay unanswered after the first `count`; `answer` lets Redis answer again. */
async function createSilenced (count: number) {
  const gates: ReturnType<typeof gateOf<unknown>>[] = []
  let silent = true
  const created = createStore(({ args }) => {
    if (!silent) return args.length === 1 ? 1 : ['claimed']
    const gate = gateOf<unknown>()
    gates.push(gate)
    return gate.promise
  }, 5)
  await Promise.allSettled(Array.from({ length: count }, () => created.store.release('key', 'token')))
  created.calls.splice(0)
  const claimBoth = async () => {
    const outcomes = await Promise.allSettled(['a', 'b'].map((key) => created.store.claim(key, 'content', LEASE)))
    const claims = created.calls.splice(0).filter(({ args }) => args.length > 1)
    return { outcomes, sent: claims.map(({ key }) => key.at(-1)) }
  }
  return { ...created, gates, claimBoth, answer: () => { silent = false } }
}

t.test('after a hundred calls without an answer one claim at a time is sent, and the others are refused', async (t) => {
  const few = await createSilenced(99)
  t.strictSame((await few.claimBoth()).sent, ['a', 'b'])
  const { claimBoth, store, calls } = await createSilenced(100)
  for (let times = 0; times < 3; times++) {
    const { outcomes, sent } = await claimBoth()
    t.strictSame(sent, ['a'])
    t.match(outcomes, [{ status: 'rejected', reason: TIMED_OUT }, { status: 'rejected', reason: UNREACHABLE }])
  }
  await Promise.allSettled([VERBS['complete']!(store), VERBS['release']!(store), VERBS['release']!(store)])
  t.equal(calls.length, 3, 'claims in progress are still settled')
  await noRejections(t)
})

t.test('only a hundred in a row count; a failure other than an error of Redis is no answer either', quiet(async (t) => {
  let failing = true
  const { store, calls } = createStore(() => {
    if (failing) throw new Error('Connection is closed.')
    return 1
  })
  for (const [failures, sent] of [[99, 2], [99, 2], [100, 1]] as const) {
    failing = false
    await store.release('key', 'token')
    failing = true
    for (let count = 0; count < failures; count++) await t.rejects(async () => store.release('key', 'token'))
    calls.splice(0)
    await Promise.allSettled(['a', 'b'].map((key) => store.claim(key, 'content', LEASE)))
    t.equal(calls.filter(({ args }) => args.length > 1).length, sent)
  }
}))

const ENDINGS: Record<string, (silenced: Awaited<ReturnType<typeof createSilenced>>) => unknown> = {
  'a claim is answered': ({ answer, store }) => {
    answer()
    return store.claim('probe', 'content', LEASE)
  },
  'something else is answered': ({ answer, store }) => {
    answer()
    return store.complete('key', 'token', REPLY, WINDOW)
  },
  'Redis refuses something': async ({ client, store }) => {
    const { evalsha } = client
    client.evalsha = async () => { throw Object.assign(new Error('ERR'), { name: 'ReplyError' }) }
    await t.rejects(async () => store.claim('probe', 'content', LEASE), { message: 'ERR' })
    client.evalsha = evalsha
  },
  'a late answer arrives': ({ gates }) => gates[0]!.resolve(0)
}
for (const [name, end] of Object.entries(ENDINGS)) {
  t.test(`once ${name} all claims are sent again`, async (t) => {
    const silenced = await createSilenced(150)
    t.strictSame((await silenced.claimBoth()).sent, ['a'])
    await end(silenced)
    await settled()
    silenced.calls.splice(0)
    t.strictSame((await silenced.claimBoth()).sent, ['a', 'b'])
  })
}

const DROPS = 'used_memory:1\r\n# maxmemory_policy:x\r\nmaxmemory_policy:allkeys-lfu\r\nx:y\r\n'
const WARNING = { level: 40, policy: 'allkeys-lfu', msg: /maxmemory-policy to noeviction$/ }

function createWatched (test: Test, status: string, info: () => Promise<string>) {
  const { app, lines } = createHost(test)
  const { store, client } = createStore()
  const asked: string[] = []
  client.status = status
  client.info = (section) => {
    asked.push(section)
    return info()
  }
  store.watch!(app.log)
  return { app, lines, store, client, asked }
}

t.test('the eviction policy is read on each new connection, and at once if there is one', quiet(async (t) => {
  for (const status of ['ready', 'connecting', 'wait', 'end']) {
    const { client, asked, lines } = createWatched(t, status, async () => DROPS)
    const before = status === 'ready' ? 1 : 0
    for (let count = before; count < before + 3; count++) {
      await settled()
      t.strictSame(asked, Array(count).fill('memory'))
      t.match(lines, Array(count).fill(WARNING))
      t.equal(lines.length, count)
      client.emit('ready')
    }
  }
}))

t.test('a second log is not used, and no second listener is added to the client', async (t) => {
  const { store, client, asked, lines } = createWatched(t, 'ready', async () => DROPS)
  const other = createHost(t)
  store.watch!(other.app.log)
  t.strictSame(['ready', 'error'].map((event) => client.listenerCount(event)), [1, 1])
  client.emit('error', new Error('x'))
  await settled()
  t.equal(asked.length, 1)
  t.equal(lines.length, 2)
  t.strictSame(other.lines, [])
})

t.test('noeviction, and a Redis that does not report its policy, cause no warning', async (t) => {
  for (const text of ['', 'used_memory:1\r\n', 'maxmemory_policy:noeviction\r\n', 'maxmemory_policy:\r\n', 'a_maxmemory_policy:x']) {
    const { asked, lines } = createWatched(t, 'ready', async () => text)
    await settled()
    t.equal(asked.length, 1)
    t.strictSame(lines, [])
  }
})

t.test('an unknown policy is logged without the message of the error', async (t) => {
  const failure = Object.assign(new Error('canary redis://user:canary@host'), { code: 'NOPERM', command: { args: ['canary'] } })
  for (const reason of [failure, 'canary', undefined]) {
    const { lines } = createWatched(t, 'ready', async () => { throw reason })
    await settled()
    t.match(lines, [{ level: 40, msg: /cannot read the eviction policy of Redis$/, failure: { type: reason === failure ? 'Error' : typeof reason } }])
    t.equal(lines.length, 1)
    t.notMatch(JSON.stringify(lines), /canary/)
  }
  await noRejections(t)
})

t.test('an unreachable Redis is logged once until it is back, without the message of the error', async (t) => {
  const { client, lines } = createWatched(t, 'connecting', async () => '')
  const failure = Object.assign(new Error('connect ECONNREFUSED canary'), { code: 'ECONNREFUSED', address: 'canary' })
  for (const error of [failure, 'canary', undefined]) {
    for (let times = 0; times < 3; times++) client.emit('error', error)
    const told = lines.splice(0)
    t.match(told, [{
      level: 40,
      msg: 'delivery store: Redis is unreachable',
      failure: error === failure ? { type: 'Error', code: 'ECONNREFUSED', stack: String } : { type: typeof error }
    }])
    t.equal(told.length, 1)
    t.notMatch(JSON.stringify(told), /canary/)
    client.emit('ready')
    await settled()
  }
  t.strictSame(lines, [])
})

t.test('a log that throws affects neither the client nor the store', async (t) => {
  const { app } = createHost(t)
  const infos = [async () => DROPS, async () => { throw new Error('x') }]
  for (const info of infos) {
    const { store, client } = createStore()
    let told = 0
    const warn = () => {
      told++
      throw new Error('canary')
    }
    client.info = info
    store.watch!(Object.assign(Object.create(app.log), { warn }))
    t.doesNotThrow(() => client.emit('error', new Error('x')))
    t.doesNotThrow(() => client.emit('ready'))
    await settled()
    t.equal(told, 3, 'for two policies and one error')
    t.not(await granted(store.claim('key', 'content', LEASE)), '')
  }
  await noRejections(t)
})
