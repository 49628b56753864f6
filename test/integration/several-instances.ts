import t, { type Test } from 'tap'
import { Pool } from 'undici'
import {
  aghanimPlugin, identityValidationPlugin, memoryDeliveries, signAghanim, signIdentityValidation, type DeliveryStore
} from '../../plugins/index.js'
import { PROVIDERS } from '../../cli/providers.js'
import { API_KEY, API_SECRET, PLAYER, SECRET, VERIFY_EVENT } from '../support/deliveries.js'
import { blocksOf } from '../support/docs.js'
import { read } from '../support/project.js'
import { createHost, listen, portOf } from '../support/host.js'
import { CONFIGURATION, noNginx, startNginx } from '../support/nginx.js'
import { freePort, noRedis } from '../support/redis.js'
import { restartAll, runsIn, startLoad, startSeveral } from '../support/several.js'
import { gateOf, until } from '../support/waiting.js'

// docs/several-instances.md: its nginx.conf in front of real servers.

const RATE = 200 // deliveries per second
const SOME = 100 // deliveries, enough for several providers to send to both servers
const NEXT = 'the next secret of aghanim, of 32 bytes'
const NEXT_IDENTITY = Buffer.from('the next secret of identity').toString('base64')
const NEXT_ALTDENTIFIER = 'the next secret of altdentifier'

t.test('two servers are restarted, and three secrets replaced, while deliveries arrive', {
  skip: noRedis || noNginx
}, async (t) => {
  const { servers, nginx, lines } = await startSeveral(t)
  const load = startLoad(nginx.origin, RATE)
  t.teardown(() => load.stop())
  const providers = ['aghanim', 'identity-validation', 'altdentifier'] as const
  /** Counts the deliveries of each provider that were signed with the secret at this index, on both servers. */
  const signedWith = async (index: number): Promise<number[]> => Promise.all(providers.map(async (provider) => {
    const counts = await Promise.all(servers.map(({ matches }) => matches(provider)))
    return counts.reduce((sum, count) => sum + (count[index] ?? 0), 0)
  }))
  const answered = async (count: number): Promise<void> => {
    const wanted = load.answers.length + count
    await until(() => load.answers.length >= wanted)
  }

  await answered(SOME)
  const both = {
    AGHANIM_SECRET_NEXT: NEXT, IDENTITY_API_SECRET_NEXT: NEXT_IDENTITY, ALTDENTIFIER_SECRET_NEXT: NEXT_ALTDENTIFIER
  }
  t.strictSame(await restartAll(servers, both), [0, 0], 'old and new secrets are valid, and both servers exited with status 0')
  await answered(SOME)
  t.ok((await signedWith(0)).every((count) => count > 0), 'all deliveries are signed with the old ones so far')
  t.strictSame(await signedWith(1), [0, 0, 0])

  load.sign({ aghanim: NEXT, 'identity-validation': NEXT_IDENTITY, altdentifier: NEXT_ALTDENTIFIER })
  await answered(SOME) // requests in transit have arrived
  const [old, next] = [await signedWith(0), await signedWith(1)]
  await answered(SOME)
  t.strictSame(await signedWith(0), old, 'the metrics show that the old ones are no longer used')
  t.ok((await signedWith(1)).every((count, index) => count > next[index]!), 'and that the new ones are in use')

  const only = { AGHANIM_SECRET: NEXT, IDENTITY_API_SECRET: NEXT_IDENTITY, ALTDENTIFIER_SECRET: NEXT_ALTDENTIFIER }
  t.strictSame(await restartAll(servers, only), [0, 0], 'the old ones are removed')
  await answered(SOME)
  await load.stop()

  const { answers } = load
  t.strictSame(answers.filter(({ provider, status }) => status !== (provider === 'aghanim' ? 200 : 204)), [],
    'each delivery was accepted at its first attempt')
  for (const server of servers) await server.stop()
  t.equal(runsIn(lines), answers.length, 'and handled once, those without a key, too')
  const log = nginx.log()
  t.equal(log.length, answers.length)
  for (const { port } of servers) t.ok(log.some(({ tries }) => tries.at(-1)!.includes(`:${port}:`)), `${port} received some`)
  const again = log.filter(({ tries }) => tries.length > 1).length
  const slowest = Math.max(...answers.map(({ milliseconds }) => milliseconds))
  t.comment(`${answers.length} deliveries, ${again} of them passed on to the other server, ${Math.round(slowest)} ms at most`)
})

/** Starts two servers with one store behind nginx, in this process. Their handler is `handle`. */
async function createPair (
  test: Test, handle: (event: { event_id: string }, server: number) => unknown,
  deliveries: DeliveryStore = memoryDeliveries()
) {
  const apps = [0, 1].map((server) => {
    const { app } = createHost(test)
    app.register(aghanimPlugin, {
      prefix: '/webhooks',
      secret: SECRET,
      deliveries,
      verifyPlayer: async (event) => { await handle(event, server); return PLAYER },
      handleEvent: async (event) => { await handle(event, server) }
    })
    return app
  })
  await Promise.all(apps.map(listen))
  return { apps, nginx: await startNginx(test, apps.map(portOf)) }
}

function senderOf (test: Test, origin: string) {
  const pool = new Pool(origin, { connections: 32 })
  test.teardown(() => pool.close())
  return async (event: object) => {
    const body = JSON.stringify(event)
    const headers = signAghanim({ secret: SECRET, body })
    const reply = await pool.request({ path: '/webhooks/aghanim', method: 'POST', headers, body })
    const text = await reply.body.text()
    return { status: reply.statusCode, headers: reply.headers, code: text.startsWith('{') ? JSON.parse(text).code : text }
  }
}

const item = (id: string) => ({ event_type: 'item.add', event_id: id, event_data: {} })

t.test('copies of a running delivery are asked to retry, and no server counts as failed', {
  skip: noNginx
}, async (t) => {
  const [begun, gate] = [gateOf<void>(), gateOf<void>()]
  const { nginx } = await createPair(t, ({ event_id: id }) => {
    if (id !== 'slow') return
    begun.resolve()
    return gate.promise
  })
  const send = senderOf(t, nginx.origin)
  const first = send(item('slow'))
  await begun.promise
  const copies = await Promise.all(Array.from({ length: 12 }, () => send(item('slow')).then((answer) => {
    t.equal(answer.status, 503)
    t.equal(answer.headers['retry-after'], '5')
    t.equal(answer.code, 'FST_VERIFICATION_IN_PROGRESS')
    return answer
  })))
  t.equal(copies.length, 12)
  for (let index = 0; index < 4; index++) t.equal((await send(item(`quick-${index}`))).status, 200)
  gate.resolve()
  t.equal((await first).status, 200)
  t.strictSame(nginx.log().filter(({ tries }) => tries.length !== 1), [], 'none was passed on to another server')
})

t.test('a delivery whose server dies is not handled twice, unless it has no key', {
  skip: noNginx
}, async (t) => {
  const runs: string[] = []
  const gate = gateOf<void>()
  const { apps, nginx } = await createPair(t, async ({ event_id: id }, server) => {
    runs.push(id)
    if (runs.filter((run) => run === id).length > 1) return
    apps[server]!.server.closeAllConnections() // looks like a crash from outside
    await gate.promise
  })
  t.teardown(() => gate.resolve())
  const send = senderOf(t, nginx.origin)
  const keyed = await send(item('keyed'))
  t.match(keyed, { status: 503, code: 'FST_VERIFICATION_IN_PROGRESS' }, 'its claim is held')
  const bare = await send({ ...VERIFY_EVENT, event_id: 'bare' })
  t.equal(bare.status, 200)
  t.strictSame(runs, ['keyed', 'bare', 'bare'])
  t.strictSame(nginx.log().map(({ tries }) => tries.length), [2, 2])
})

t.test('a stopped server is not noticed', { skip: noNginx }, async (t) => {
  const { app } = createHost(t)
  app.register(aghanimPlugin, { prefix: '/webhooks', secret: SECRET, verifyPlayer: () => PLAYER })
  await listen(app)
  const nginx = await startNginx(t, [await freePort(), portOf(app)])
  const send = senderOf(t, nginx.origin)
  for (let index = 0; index < 20; index++) t.equal((await send(VERIFY_EVENT)).status, 200)
  const failed = nginx.log().filter(({ tries }) => tries.length > 1).length
  t.ok(failed > 0, `${failed} of 20 were passed to it first`)
})

t.test('bodies pass unchanged, up to the limit of the largest', { skip: noNginx }, async (t) => {
  const { nginx } = await createPair(t, () => {})
  const send = senderOf(t, nginx.origin)
  const long = (bytes: number) => ({ ...item(`${bytes}`), event_data: { text: 'x'.repeat(bytes), odd: '\u2028 é \ud83d\ude00' } })
  t.equal((await send(long(60_000))).status, 200)
  t.match(await send(long(70_000)), { status: 413, code: 'FST_ERR_CTP_BODY_TOO_LARGE' }, 'by the plugin')
  t.match(await send(long(270_000)), { status: 413, code: /nginx/ }, 'by nginx')
})

t.test('only the webhooks can be reached from outside', { skip: noNginx }, async (t) => {
  const { nginx } = await createPair(t, () => {})
  for (const path of ['metrics', 'health', 'ready', 'docs']) {
    t.equal((await fetch(`${nginx.origin}/${path}`)).status, 404, path)
  }
  for (const provider of ['altdentifier', 'aghanim', 'identity-validation'] as const) {
    t.match(PROVIDERS[provider]!.path('session'), /^\/webhooks\//)
  }
})

t.test('X-Endpoint is the public path, if the internal path differs', { skip: noNginx }, async (t) => {
  const page = read('docs/several-instances.md')
  const [location] = blocksOf(page, 'nginx').filter((block) => block.includes('/public/kyc/'))
  const endpoint = '/public/kyc/sessions'
  t.match(page, `endpoints: { sessions: '${endpoint}' }`)
  const ports: number[] = []
  const seen: unknown[] = []
  for (const host of ['one', 'other']) {
    const { app } = createHost(t)
    app.register(identityValidationPlugin, {
      apiKeys: { [API_KEY]: API_SECRET },
      endpoints: { sessions: endpoint },
      handleSession: ({ session }) => { seen.push([host, session?.id]) }
    })
    await listen(app)
    ports.push(portOf(app))
  }
  const nginx = await startNginx(t, ports, CONFIGURATION.replace('  location / {', `${location}\n  location / {`))
  const post = async (signed: string, id: string) => {
    const body = JSON.stringify({ event_id: 'x', session: { id, status: 'VERIFIED' } })
    const headers = signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint: signed, body })
    return (await fetch(nginx.origin + endpoint, { method: 'POST', headers, body })).status
  }
  t.equal(await post(endpoint, 'a'), 204)
  t.equal(await post('/identity-validation/sessions', 'b'), 403, 'the internal path is not the signed one')
  t.strictSame(seen.map((entry) => (entry as string[])[1]), ['a'])
})

t.test('the statements of the page about nginx match its file', async (t) => {
  const page = read('docs/several-instances.md')
  const directives = [...CONFIGURATION.matchAll(/^ {2,4}([a-z_]+)(?: ([^;{]*))?;/gm)].map(([, name, value = '']) => ({ name, value }))
  const told = [...page.matchAll(/`([a-z_]+)(?: ([^`]*))?`/g)]
    .filter(([, name]) => /^(?:proxy|client|keepalive)_/.test(name!))
    .filter(([, name]) => name !== 'proxy_request_buffering') // must keep its default
  t.ok(told.length > 8)
  t.notMatch(CONFIGURATION, 'proxy_request_buffering')
  for (const [, name, value] of told) {
    t.ok(directives.some((directive) => directive.name === name && (value === undefined || directive.value === value)),
      `${name} ${value}`)
  }
  const compose = read('docs/several-instances/compose.yaml')
  t.match(compose, './nginx.conf:')
  for (const name of CONFIGURATION.match(/server-\d/g)!) t.match(compose, `\n  ${name}:\n`)
})
