import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis, type RedisOptions } from 'ioredis'
import t, { type Test as TapTest } from 'tap'
import { aghanimPlugin, redisDeliveries, signAghanim } from '../../plugins/index.js'
import { NOW, now, PLAYER, SECRET, VERIFY_EVENT } from '../support/deliveries.js'
import { createHost, type Test } from '../support/host.js'
import { noRedis, startRedis, type RedisServer } from '../support/redis.js'
import { gateOf, watchLag, watchRejections } from '../support/waiting.js'

type ClientOptions = Omit<RedisOptions, 'replyMapping'>

const PASSWORD = 'canary-password'
const MESSAGE = 'canary-message'
const BOUND = 1000 // ms; at most two calls of 250 ms each are waited for
const RECOVERY = 8000 // ms, far less than the lease of a claim that nobody releases: 60 s
const OK = '200'
const REPLAYED = '200 replayed'
const UNAVAILABLE = 'FST_VERIFICATION_STORE_UNAVAILABLE'
const FAILED = 'FST_VERIFICATION_HANDLER_FAILED'
const IN_PROGRESS = 'FST_VERIFICATION_IN_PROGRESS'
const SCENES = 8 // simultaneous; each has its own Redis, and waits most of the time

const rejections = watchRejections()
const lag = watchLag()

/** A stand-in for Redis, with functions that start and end its outage. */
interface Stage {
  readonly port: number
  readonly strike: (host: Host) => unknown
  /** Runs while a call is in progress. */
  readonly meanwhile?: () => unknown
  /** Commands that it received from the host. */
  readonly heard?: readonly (readonly string[])[]
  readonly mend: () => unknown
}

interface Outage {
  readonly name: string
  readonly stage: (test: Test) => Promise<Stage>
  readonly client?: ClientOptions
  /** Accepted answers to a delivery that arrives during the outage. */
  readonly during?: readonly string[]
  /** Accepted answers to a copy after an outage that began after a claim. Absent: no copy is sent. */
  readonly after?: readonly string[]
  /** Accepted answers to a copy where the handler failed. */
  readonly afterFailure?: readonly string[]
  /** Number of deliveries during the outage. */
  readonly burst?: number
  /** Set if a connecting client notices the outage, so that it matters if the outage has already begun. */
  readonly toConnect?: boolean
}

type Host = ReturnType<typeof createScene>

/** Creates a host on a Redis that may fail. Checks each answer, and collects what is wrong in `broken`. */
function createScene (test: Test, port: number, options: ClientOptions = {}) {
  const { app, lines } = createHost(test)
  const client = new Redis(port, '127.0.0.1', { password: PASSWORD, ...options })
  client.on('error', () => {})
  test.teardown(() => client.disconnect())
  const [begun, done] = [new Map<string, number>(), new Map<string, number>()]
  const count = (of: Map<string, number>, id: string) => { of.set(id, (of.get(id) ?? 0) + 1) }
  const broken: string[] = []
  let gate = Promise.resolve()
  let opened = 0

  app.register(aghanimPlugin, {
    secret: SECRET,
    now,
    deliveries: redisDeliveries({ client }),
    verifyPlayer: () => PLAYER,
    handleEvent: async ({ event_id: id }) => {
      count(begun, id)
      await gate
      if (id.startsWith('fails') && begun.get(id) === 1) throw new Error('on purpose')
      count(done, id)
    }
  })

  return {
    app,
    lines,
    client,
    broken,
    begun: (id: string) => begun.get(id) ?? 0,
    /** Holds handlers back until the function it returns is called. */
    hold () {
      let open!: () => void
      gate = new Promise((resolve) => { open = resolve })
      return () => {
        opened = performance.now()
        open()
      }
    },
    /** Sends an event, and returns the code of the answer, or `200`. */
    async send (id: string): Promise<string> {
      const payload = JSON.stringify({ ...VERIFY_EVENT, event_type: 'item.add', event_id: id, event_data: { id } })
      const headers = signAghanim({ secret: SECRET, body: payload, timestamp: NOW })
      const before = begun.get(id)
      const start = performance.now()
      const reply = await app.inject({ method: 'POST', url: '/aghanim', headers, payload })
      const ms = performance.now() - Math.max(start, opened)
      const { statusCode, body, headers: { 'retry-after': retryAfter, 'idempotency-replayed': replayed } } = reply
      const answer = statusCode === 200 ? (replayed ? REPLAYED : OK) : reply.json().code
      const expect = (holds: boolean, what: string) => { if (!holds) broken.push(`${id}: ${answer} ${what}`) }
      expect(ms < BOUND + lag(), `took ${Math.round(ms)} ms`)
      expect([200, 500, 503].includes(statusCode), `with ${statusCode}`)
      expect(statusCode !== 503 || retryAfter === '5', `with Retry-After ${retryAfter}`)
      expect(statusCode !== 200 || done.has(id), 'without a handler run')
      expect(answer !== UNAVAILABLE || begun.get(id) === before, 'although the handler ran')
      expect(!/canary/.test(body), 'shows a canary')
      return answer
    }
  }
}

/** Sends until the answer is one of `wanted`, or the time is up; returns the last answer. */
async function sendUntil (host: Host, id: string, wanted: readonly string[]): Promise<string> {
  const start = performance.now()
  for (;;) {
    const answer = await host.send(id)
    if (wanted.includes(answer) || performance.now() - start > RECOVERY) return answer
    await sleep(25)
  }
}

/**
 * Loads each script into Redis. On a busy machine an impatient client may lose the answer to a release, so that its
 * claim stays: then another delivery is tried.
 */
async function teachScripts (t: TapTest, host: Host): Promise<void> {
  let answer = FAILED
  for (let time = 0; time < 5 && answer !== OK; time++) {
    const id = `fails before the outage ${time}`
    t.equal(await sendUntil(host, id, [FAILED]), FAILED)
    answer = await host.send(id)
  }
  t.equal(answer, OK)
}

/** Sends until the handler runs, and returns the answer of that delivery. */
async function begin (host: Host, id: string): Promise<{ answered: Promise<string> }> {
  for (;;) {
    const answered = host.send(id)
    const answers: string[] = []
    answered.then((answer) => answers.push(answer))
    while (host.begun(id) === 0 && answers.length === 0) await sleep(1)
    if (host.begun(id) > 0) return { answered }
  }
}

/** Checks after an outage that the same host accepts deliveries, and that its log contains no secret. */
async function checkRecovery (t: TapTest, host: Host) {
  const id = 'after the outage'
  t.equal(await sendUntil(host, id, [OK]), OK, 'a new delivery is accepted, without a restart of the host')
  t.equal(host.begun(id), 1)
  t.strictSame(host.broken, [])
  t.notMatch(JSON.stringify(host.lines), /canary/)
}

function testBefore (t: TapTest, outage: Outage, early = false): void {
  const { name, stage, client, during = [UNAVAILABLE], burst = 3 } = outage
  const title = `where ${early ? 'from the start ' : ''}${name}, nothing is handled without a claim`
  t.test(title, async (t) => {
    const { port, strike, meanwhile, mend } = await stage(t)
    let host!: Host
    if (early) {
      await strike(host)
      host = createScene(t, port, client)
    } else {
      host = createScene(t, port, client)
      t.equal(await sendUntil(host, 'before the outage', [OK]), OK)
      await strike(host)
    }
    const ids = Array.from({ length: burst }, (_, index) => `struck ${index}`)
    const runs = ids.map(host.begun)
    const from = host.lines.length
    const answers = Promise.all(ids.map(host.send))
    await meanwhile?.()
    for (const answer of new Set(await answers)) t.ok(during.includes(answer), answer)
    if (!during.includes(OK)) {
      t.strictSame(ids.map(host.begun), runs, 'no handler ran')
      const told = host.lines.slice(from).filter(({ level, reason }) => level === 50 && reason === 'store_unavailable')
      t.equal(told.length, burst, 'and the log has each of them')
    }
    await mend()
    await Promise.all(ids.map((id) => sendUntil(host, id, [OK, REPLAYED])))
    t.strictSame(ids.map(host.begun), runs.map((count) => count + 1), 'each runs once when it is sent again')
    await checkRecovery(t, host)
  })
}

function testBetween (t: TapTest, { name, stage, client, after, afterFailure }: Outage): void {
  const test = (title: string, id: string, answer: string, copies: readonly string[] | undefined) => {
    t.test(`if ${name} during a handler ${title}`, async (t) => {
      const { port, strike, meanwhile, mend } = await stage(t)
      const host = createScene(t, port, client)
      await teachScripts(t, host)
      const open = host.hold()
      const { answered } = await begin(host, id)
      await strike(host)
      open()
      await meanwhile?.()
      t.equal(await answered, answer)
      t.equal(host.begun(id), 1)
      await mend()
      if (copies !== undefined) {
        const copy = await sendUntil(host, id, copies)
        t.ok(copies.includes(copy), `a copy is answered with ${copy}`)
        t.equal(host.begun(id), copy === OK ? 2 : 1)
      }
      await checkRecovery(t, host)
    })
  }
  test('that succeeds, the sender gets its reply', 'struck', OK, after)
  if (afterFailure !== undefined) {
    test('that fails, its claim is released if possible', 'fails', FAILED, afterFailure)
  }
}

// Real ones

/** Sends Redis a command on a separate connection. */
type Say = (words: string) => Promise<unknown>
type Act = (say: Say, redis: RedisServer) => unknown
type Strike = (say: Say, redis: RedisServer, host: Host) => unknown

interface Real {
  readonly redis: RedisServer
  readonly say: Say
}

const idle: Real[] = []

/** Takes an empty, working Redis that requires the password. The next scene reuses it, unless it cannot. */
async function takeRedis (test: Test): Promise<Real> {
  const real = idle.pop() ?? await createRedis()
  test.teardown(async () => {
    real.redis.process.kill('SIGCONT')
    try {
      for (const words of [
        `CONFIG SET requirepass ${PASSWORD}`, 'CONFIG SET maxmemory 0', 'REPLICAOF NO ONE', 'CLIENT UNPAUSE', 'FLUSHALL',
        'SCRIPT FLUSH'
      ]) await real.say(words)
      idle.push(real)
    } catch {
      await real.redis.stop()
    }
  })
  return real
}

async function createRedis (): Promise<Real> {
  const redis = await startRedis(t, '--requirepass', PASSWORD)
  const admin = redis.connect({ password: PASSWORD, retryStrategy: () => 20 })
  const say: Say = (words) => {
    const [verb, ...args] = words.split(' ')
    return admin.call(verb!, ...args)
  }
  return { redis, say }
}

const onRedis = (strike: Strike, mend: Act, meanwhile?: Act) => async (test: Test): Promise<Stage> => {
  const { redis, say } = await takeRedis(test)
  return {
    port: redis.port,
    strike: (host) => strike(say, redis, host),
    mend: () => mend(say, redis),
    ...(meanwhile && { meanwhile: () => meanwhile(say, redis) })
  }
}

const freeze: Act = (_say, redis) => { redis.process.kill('SIGSTOP') }
const thaw: Act = (_say, redis) => { redis.process.kill('SIGCONT') }
const cutOff: Act = (say) => say('CLIENT KILL TYPE normal SKIPME yes')
const pause: Act = (say) => say('CLIENT PAUSE 60000 WRITE')
/** Resolves once a call waits for the end of the pause. */
const called = async (say: Say) => { while (!/ flags=\w*b/.test(String(await say('CLIENT LIST')))) await sleep(1) }

const stopped = onRedis((_say, redis) => redis.stop(), (_say, redis) => redis.start())
const frozen = onRedis(freeze, thaw)
const frozenForLong = onRedis(freeze, async (say, redis) => {
  await sleep(600)
  thaw(say, redis)
})
const diesOverCall = onRedis(pause, (_say, redis) => redis.start(), async (say, redis) => {
  await called(say)
  await redis.stop()
})
/** Changes the password and closes all connections, which then have to authenticate again. */
const locked = (password: string, before = PASSWORD) => onRedis(async (say, redis, { client }) => {
  await say(`CONFIG SET requirepass ${password}`)
  await cutOff(say, redis)
  while (client.status === 'ready') await sleep(1)
}, (say) => say(`CONFIG SET requirepass ${before}`))
const keyIs = (type: 'list' | 'text') => onRedis(async (say, _redis, host) => {
  if (host.begun('struck') + host.begun('fails') === 0) await host.send('struck 0') // creates the key
  for (const key of await say('KEYS *') as string[]) {
    await say(`DEL ${key}`)
    await say(type === 'list' ? `RPUSH ${key} ${MESSAGE}` : `SET ${key} ${MESSAGE}`)
  }
}, (say) => say('FLUSHALL'))

const soon: ClientOptions = { retryStrategy: () => 50 }

const REAL: readonly Outage[] = [
  { name: 'Redis is killed, and started empty later', stage: stopped, after: [OK], afterFailure: [OK] },
  {
    name: 'Redis is restarted, empty',
    stage: onRedis(async (_say, redis) => { await redis.stop(); await redis.start() }, () => {}),
    during: [OK, UNAVAILABLE],
    after: [OK],
    afterFailure: [OK]
  },
  {
    name: 'Redis is emptied',
    stage: onRedis((say) => say('FLUSHALL'), () => {}),
    during: [OK],
    after: [OK],
    afterFailure: [OK]
  },
  {
    name: 'Redis forgets its scripts',
    stage: onRedis((say) => say('SCRIPT FLUSH'), () => {}),
    during: [OK],
    after: [REPLAYED],
    afterFailure: [OK]
  },
  { name: 'Redis is frozen, and goes on later', stage: frozen, after: [REPLAYED], afterFailure: [OK] },
  {
    name: 'Redis has no memory left',
    stage: onRedis((say) => say('CONFIG SET maxmemory 1'), (say) => say('CONFIG SET maxmemory 0')),
    after: [IN_PROGRESS],
    afterFailure: [OK]
  },
  {
    name: 'Redis is a replica',
    stage: onRedis((say) => say('REPLICAOF 127.0.0.1 1'), (say) => say('REPLICAOF NO ONE')),
    after: [IN_PROGRESS],
    afterFailure: [IN_PROGRESS]
  },
  { name: 'Redis has another password', client: soon, stage: locked('another'), after: [IN_PROGRESS, REPLAYED] },
  {
    name: 'Redis asks for a password all at once',
    client: { ...soon, password: '' },
    stage: async (test) => {
      const stage = await locked(PASSWORD, '')(test)
      await stage.mend()
      return stage
    },
    after: [IN_PROGRESS, REPLAYED]
  },
  { name: 'the key holds a list', stage: keyIs('list'), burst: 1, after: [OK], afterFailure: [OK] },
  { name: 'the key holds another string', stage: keyIs('text'), burst: 1, after: [OK], afterFailure: [OK] },
  {
    name: 'the connection is cut while a call is under way',
    client: soon,
    stage: onRedis(pause, () => {}, async (say, redis) => {
      await called(say)
      await cutOff(say, redis)
      await say('CLIENT UNPAUSE')
    }),
    during: [OK, UNAVAILABLE],
    after: [REPLAYED],
    afterFailure: [OK]
  }
]

/** Starts a real Redis that receives every command; its answers are lost, and then the connection. */
async function answersLost (test: Test): Promise<Stage> {
  const { redis } = await takeRedis(test)
  const sockets = new Set<Socket>()
  let lost = false
  const kept = gateOf<void>()
  const proxy = createServer({ noDelay: true }, (socket) => {
    const upstream = connect({ port: redis.port, host: '127.0.0.1', noDelay: true })
    const close = () => { for (const end of [socket, upstream]) end.destroy() }
    for (const end of [socket, upstream]) end.on('error', () => {}).on('close', close)
    socket.pipe(upstream)
    upstream.on('data', (chunk) => {
      if (lost) kept.resolve()
      else socket.write(chunk)
    })
    sockets.add(socket)
  })
  const port = await listenOn(test, proxy, sockets)
  return {
    port,
    async strike ({ client }) {
      while (await client.ping().then(() => false, () => true)) await sleep(1) // until all earlier ones have arrived
      lost = true
    },
    async meanwhile () {
      await kept.promise
      lost = false
      for (const socket of sockets) socket.destroy()
    },
    mend: () => {}
  }
}

async function listenOn (test: Test, server: Server, sockets: Set<Socket>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  test.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** Failure of a call: `away` has no connection, `mute` gets no answer, `cut` loses its connection. */
type Trouble = 'away' | 'mute' | 'cut'

/** Options of a client, each with the troubles in which they affect a call of the store. */
const CLIENTS: readonly [how: string, client: ClientOptions, troubles: readonly Trouble[]][] = [
  ['has its defaults', {}, ['away', 'mute', 'cut']],
  ['has no offline queue', { enableOfflineQueue: false }, ['away', 'mute', 'cut']],
  ['tries for ever', { maxRetriesPerRequest: null }, ['away', 'cut']],
  ['has less patience than the store', { commandTimeout: 100 }, ['mute', 'cut']],
  ['has more patience than the store', { commandTimeout: 400 }, ['mute', 'cut']],
  ['has no queue and no patience, and tries for ever', {
    enableOfflineQueue: false, maxRetriesPerRequest: null, commandTimeout: 100
  }, ['away', 'mute', 'cut']],
  ['tries once', { maxRetriesPerRequest: 0 }, ['away', 'cut']],
  ['sends nothing again', { autoResendUnfulfilledCommands: false }, ['cut']],
  ['sends in batches', { enableAutoPipelining: true }, ['mute', 'cut']],
  ['connects when it is asked', { lazyConnect: true }, ['away', 'mute']],
  ['speaks RESP2', { protocol: 2 }, ['cut']]
]

t.test('with a real Redis', { skip: noRedis }, async (t) => {
  t.jobs = SCENES
  for (const outage of REAL) {
    testBefore(t, outage)
    testBetween(t, outage)
  }
  for (const [how, client, troubles] of CLIENTS) {
    if (troubles.includes('away')) {
      testBefore(t, { name: `Redis is not there and the client ${how}`, client, stage: stopped }, true)
    }
    if (troubles.includes('mute')) {
      const mute = { name: `Redis is frozen and the client ${how}`, client, stage: frozen }
      testBefore(t, mute, true)
      testBefore(t, mute)
      testBetween(t, { ...mute, after: [REPLAYED] })
    }
    if (troubles.includes('cut')) {
      const lost = { name: `an answer is lost and the client ${how}`, client: { ...soon, ...client }, stage: answersLost }
      const { enableOfflineQueue: queue = true, commandTimeout } = client
      // An impatient client without a queue cannot release a claim that it does not know of: the lease ends it.
      if (queue || commandTimeout === undefined) testBefore(t, { ...lost, during: [OK, UNAVAILABLE] })
      testBetween(t, { ...lost, after: [REPLAYED] })
      testBefore(t, { name: `Redis dies over a call and the client ${how}`, client, stage: diesOverCall })
    }
  }
  for (const client of [{}, { commandTimeout: 100 }]) {
    testBefore(t, { name: `Redis is frozen for long and a client has ${JSON.stringify(client)}`, client, stage: frozenForLong })
  }
})

// Scripted ones

/** Returns a server's answer to a command. */
type Script = (command: readonly string[], socket: Socket) => string | undefined

const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`
const CLAIMED = `*1\r\n${bulk('claimed')}`
const argsOf = (command: readonly string[]) => command.slice(4) // EVALSHA, the script, 1 and the key
const isClaim = (command: readonly string[]) => isScript(command) && argsOf(command)[1]?.startsWith('"') === true
const isRelease = (command: readonly string[]) => isScript(command) && argsOf(command).length === 1
const isScript = ([verb]: readonly string[]) => /^eval/i.test(verb!)

/** Implements the part of Redis that a store needs, and grants every claim. */
const healthy: Script = (command) => {
  switch (command[0]!.toUpperCase()) {
    case 'HELLO': return "-ERR unknown command 'HELLO'\r\n"
    case 'INFO': return bulk('redis_version:7.0.0\r\nloading:0\r\nmaxmemory_policy:noeviction\r\n')
    case 'EVAL':
    case 'EVALSHA': return isClaim(command) ? CLAIMED : ':1\r\n'
    default: return '+OK\r\n'
  }
}

/** Parses the first command in `text`, and returns it with the rest. */
function readCommand (text: string): [command: string[], rest: string] | undefined {
  const head = /^\*(\d+)\r\n/.exec(text)
  if (head === null) return undefined
  const command: string[] = []
  let at = head[0].length
  while (command.length < Number(head[1])) {
    const size = /^\$(\d+)\r\n/.exec(text.slice(at, at + 20))
    if (size === null) return undefined
    const start = at + size[0].length
    at = start + Number(size[1]) + 2
    if (text.length < at) return undefined
    command.push(text.slice(start, at - 2))
  }
  return [command, text.slice(at)]
}

const scripted = (struck: Script, { reconnects = false, rest = '' } = {}) => async (test: Test): Promise<Stage> => {
  const sockets = new Set<Socket>()
  const heard: string[][] = []
  let script = healthy
  const server = createServer({ noDelay: true }, (socket) => {
    let text = ''
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      for (let next = readCommand(text); next !== undefined; next = readCommand(text)) {
        const [command, unread] = next
        text = unread
        heard.push(command)
        const answer = script(command, socket)
        if (answer !== undefined) socket.write(answer)
      }
    })
  })
  return {
    port: await listenOn(test, server, sockets),
    heard,
    strike: () => { script = struck },
    mend () {
      script = healthy
      for (const socket of sockets) {
        if (rest !== '') socket.write(rest)
        if (reconnects) socket.destroy()
      }
    }
  }
}

/** Answers only the scripts of the store like this; connecting clients notice nothing. */
const toScripts = (answer: string | ((socket: Socket) => void)): Script => (command, socket) => {
  if (!isScript(command)) return healthy(command, socket)
  if (typeof answer === 'string') return answer
  answer(socket)
  return undefined
}

const done = (stored: string) => `*2\r\n${bulk('done')}${bulk(stored)}`
const NONSENSE = [
  '+OK\r\n', `+${MESSAGE}\r\n`, ':1\r\n', '$-1\r\n', '*-1\r\n', '*0\r\n', '*1\r\n$-1\r\n', '*1\r\n*0\r\n',
  bulk('claimed'),
  `*1\r\n${bulk('CLAIMED')}`, `*1\r\n${bulk('done')}`, done(MESSAGE), done(''), done('null'), done('[]'), done('{}'),
  done('{"statusCode":500}'), done('{"statusCode":"200"}'), done('{"statusCode":200,"body":{}}')
]

const SCRIPTED: readonly Outage[] = [
  { name: 'Redis loads its data, and accepts no connection', stage: scripted(() => `-LOADING ${MESSAGE}\r\n`), client: soon, toConnect: true },
  { name: 'Redis loads its data', stage: scripted(toScripts(`-LOADING ${MESSAGE}\r\n`)) },
  {
    name: 'Redis loads its data, according to INFO',
    toConnect: true,
    stage: scripted((command, socket) => command[0]!.toUpperCase() === 'INFO'
      ? bulk('redis_version:7.0.0\r\nloading:1\r\nloading_eta_seconds:1\r\n')
      : toScripts(`-LOADING ${MESSAGE}\r\n`)(command, socket))
  },
  { name: 'a web server is in its place', stage: scripted(() => `HTTP/1.1 400 ${MESSAGE}\r\n\r\n`), client: soon, toConnect: true },
  { name: 'its answer breaks off', stage: scripted(toScripts('*1\r\n$7\r\ncla'), { reconnects: true }), client: soon },
  { name: 'its answer breaks off, and continues later', stage: scripted(toScripts('*1\r\n$7\r\ncla'), { rest: 'imed\r\n' }) },
  { name: 'there is no answer', stage: scripted(() => undefined, { reconnects: true }), client: soon, burst: 120, toConnect: true },
  { name: 'the store is never answered', stage: scripted(toScripts(() => {}), { reconnects: true }), client: soon },
  { name: 'the connection is closed at each call', stage: scripted(toScripts((socket) => socket.end())), client: soon },
  { name: 'the connection is reset at each call', stage: scripted(toScripts((socket) => socket.resetAndDestroy())), client: soon },
  { name: 'scripts are never known', stage: scripted(toScripts(`-NOSCRIPT ${MESSAGE}\r\n`)) },
  ...NONSENSE.map((answer): Outage => ({
    name: `the store receives ${JSON.stringify(answer)}`, stage: scripted(toScripts(answer))
  }))
]

t.test('with a server that is not Redis, or not yet', async (t) => {
  t.jobs = SCENES
  for (const outage of SCRIPTED) {
    testBefore(t, outage)
    if (outage.toConnect) testBefore(t, outage, true)
    testBetween(t, outage)
  }
})

t.test('with a real Redis under load', { skip: noRedis }, async (t) => {
  testBefore(t, { name: 'Redis is frozen under many deliveries', stage: frozen, burst: 90 })
  testBefore(t, { name: 'Redis is frozen under more deliveries than may wait', stage: frozen, burst: 500 })
})

for (const [title, burst] of [
  ['a claim that is granted too late is released by its token', 1],
  ['each of many claims that are granted too late is released by its token', 150]
] as const) {
  t.test(title, async (t) => {
    const held: Socket[] = []
    const { port, heard, strike, mend } = await scripted(toScripts((socket) => { held.push(socket) }))(t)
    const host = createScene(t, port)
    t.equal(await sendUntil(host, 'before the outage', [OK]), OK)
    await strike(host)
    const from = heard!.length
    const answers = Array.from({ length: burst }, (_, index) => host.send(`struck ${index}`))
    t.strictSame(new Set(await Promise.all(answers)), new Set([UNAVAILABLE]))
    const claims = heard!.slice(from).filter(isClaim).map((command) => command.slice(3, 5).join())
    t.equal(claims.length, burst)
    await mend()
    for (const socket of held) {
      socket.write(CLAIMED)
      await sleep(2)
    }
    await sleep(100)
    const released = heard!.slice(from).filter(isRelease).map((command) => command.slice(3).join())
    t.strictSame(new Set(released), new Set(claims))
    await checkRecovery(t, host)
  })
}

t.test('a claim that reaches Redis too late is released, or not made', async (t) => {
  const { port, heard, strike, mend } = await scripted(toScripts((socket) => {
    if (!isRelease(heard!.at(-1)!)) return
    socket.write('-NOSCRIPT none\r\n:0\r\n')
    mend()
  }))(t)
  const host = createScene(t, port)
  t.equal(await sendUntil(host, 'before the outage', [OK]), OK)
  await strike(host)
  const from = heard!.length
  t.equal(await host.send('struck'), UNAVAILABLE)
  while (heard!.length < from + 2) await sleep(1)
  await sleep(100)
  const calls = heard!.slice(from).filter(isScript)
  t.ok(isClaim(calls[0]!))
  t.ok(isRelease(calls.at(-1)!), 'the last that is heard of it')
  await checkRecovery(t, host)
})

t.test('no rejection was unhandled', async (t) => {
  await new Promise(setImmediate)
  t.strictSame(rejections, [])
})
