import { Transform } from 'node:stream'
import { createGunzip, gzipSync } from 'node:zlib'
import sensible from '@fastify/sensible'
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify'
import rawBody from 'fastify-raw-body'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import t, { type Test } from 'tap'
import { z } from 'zod'
import {
  aghanimPlugin, altdentifierPlugin, humandetectApiPlugin, humandetectPlugin, identityValidationPlugin, signAghanim,
  signAltdentifier, signIdentityValidation, type WebhookOptions
} from '../../plugins/index.js'
import {
  API_KEY, API_SECRET, bodyOf, FORBIDDEN, NOW, now, PLAYER, PROVIDERS, SECRET, SESSIONS, VERIFY_EVENT,
  type ProviderCase
} from '../support/deliveries.js'
import { createHost, type Line } from '../support/host.js'
import { read } from '../support/project.js'
import { quiet } from '../support/quiet.js'

const [ALTDENTIFIER, AGHANIM, IDENTITY] = PROVIDERS as [ProviderCase, ProviderCase, ProviderCase]
const PREFIX = '/webhooks'
const OTHER_SECRET = 'b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC1vdGhlci4=' // valid both as base64 and as UTF-8

/** Notes of hosts and handlers. Each test empties it. */
const seen: unknown[] = []

type Headers = Record<string, string>
const ORDERS = ['before', 'after'] as const
type Order = typeof ORDERS[number]
type Setup = (app: FastifyInstance) => unknown
type Verify = (t: Test, app: FastifyInstance, lines: Line[], order: Order) => Promise<unknown>

interface Delivery {
  url?: string
  secret?: string
  body?: string
  headers?: Headers
}

function signed ({ name }: ProviderCase, endpoint: string, body: string | Uint8Array, secret?: string): Headers {
  if (name === 'altdentifier') return signAltdentifier({ secret: secret ?? SECRET, body })
  if (name === 'aghanim') return signAghanim({ secret: secret ?? SECRET, body, timestamp: NOW })
  return signIdentityValidation({ apiKey: API_KEY, secret: secret ?? API_SECRET, endpoint, body, timestamp: NOW })
}

/** Sends a delivery as the provider would, by default to `PREFIX`. */
function deliver (app: FastifyInstance, provider: ProviderCase, delivery: Delivery = {}) {
  const { url = PREFIX + provider.url, secret, body = bodyOf(provider), headers } = delivery
  return app.inject({
    method: 'POST', url, headers: { ...signed(provider, url, body, secret), ...headers }, payload: body
  })
}

function post (app: FastifyInstance, url: string, payload: string | object, type = 'application/json') {
  return app.inject({ method: 'POST', url, headers: { 'content-type': type }, payload })
}

/** Checks that the provider's delivery is accepted, handled and answered exactly, and another secret's is rejected. */
async function works (
  t: Test, app: FastifyInstance, provider: ProviderCase, calls: unknown[], delivery: Delivery = {}
): Promise<void> {
  calls.length = 0
  const taken = await deliver(app, provider, delivery)
  t.equal(taken.statusCode, provider.success, `${provider.name} is accepted`)
  t.equal(taken.body, provider.success === 200 ? JSON.stringify(PLAYER) : '', `${provider.name} is answered`)
  t.same(calls, [provider.event], `${provider.name} is handled`)
  const forged = await deliver(app, provider, { ...delivery, secret: delivery.secret ? SECRET + SECRET : OTHER_SECRET })
  t.equal(forged.statusCode, 403)
  t.equal(forged.body, FORBIDDEN)
  t.equal(calls.length, 1, `${provider.name} handles no forgery`)
}

function registerAll (app: FastifyInstance, calls: unknown[], options: WebhookOptions = {}): void {
  for (const { register } of PROVIDERS) register(app, calls, { prefix: PREFIX, ...options })
}

/** Tests the webhooks with a host that runs `setup` before it registers them, and with one that runs it afterwards. */
function beside (host: string, setup: Setup, verify: Verify): void {
  for (const order of ORDERS) {
    t.test(`together with ${host} from ${order} them, the webhooks and the host work`, quiet(async (t) => {
      const { app, lines } = createHost(t)
      const calls: unknown[] = []
      if (order === 'before') await setup(app)
      registerAll(app, calls)
      await app.register(async () => {}) // waits until all plugins before it have loaded
      if (order === 'after') await setup(app)
      await t.resolves(async () => { await app.ready() })
      for (const provider of PROVIDERS) await works(t, app, provider, calls)
      await verify(t, app, lines, order)
    }))
  }
}

/** Returns a list whose `push` throws, so that every handler throws. */
function failing (): unknown[] {
  return Object.assign([], { push () { throw new Error('canary') } })
}

t.test('three webhooks share a server and a prefix, and none accepts a delivery of another', quiet(async (t) => {
  const { app } = createHost(t)
  const calls: unknown[] = []
  registerAll(app, calls)
  for (const provider of PROVIDERS) {
    await works(t, app, provider, calls)
    for (const other of PROVIDERS.filter((other) => other !== provider)) {
      const reply = await deliver(app, provider, { url: PREFIX + other.url })
      t.equal(reply.statusCode, 403, `${provider.name} at ${other.name}`)
      t.equal(reply.body, FORBIDDEN)
    }
    t.equal(calls.length, 1)
  }
}))

const inspect = (request: FastifyRequest) =>
  ({ buffer: Buffer.isBuffer(request.body), body: request.body, rawBody: String(request.rawBody) })

beside('a JSON route of its own', (app) => {
  const body = { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } }
  app.post('/host', { schema: { body } }, inspect)
}, async (t, app) => {
  const reply = await post(app, '/host', { n: '5' })
  t.strictSame(reply.json(), { buffer: false, body: { n: 5 }, rawBody: 'undefined' }, 'parsed and coerced')
  t.strictSame((await post(app, '/host', {})).json(), {
    statusCode: 400, code: 'FST_ERR_VALIDATION', error: 'Bad Request', message: "body must have required property 'n'"
  })
  t.equal((await post(app, '/host', '{')).statusCode, 400)
  t.equal((await post(app, '/host', 'text', 'text/plain')).statusCode, 400, 'its text parser has run')
})

for (const [type, content, sent] of [
  ['application/json', 'application/json', '{"n":1}'], ['*', 'application/x-thing', 'thing'],
  ['text/plain', 'text/plain', 'text']
] as const) {
  beside(`a ${type} parser of its own`, (app) => {
    app.addContentTypeParser(type, { parseAs: 'string' }, (_request, body, done) => done(null, { custom: body }))
    app.post('/host', inspect)
  }, async (t, app) => {
    t.strictSame((await post(app, '/host', sent, content)).json(),
      { buffer: false, body: { custom: sent }, rawBody: 'undefined' })
    if (type === 'application/json') return
    for (const provider of PROVIDERS) {
      const reply = await deliver(app, provider, { headers: { 'content-type': content } })
      t.equal(reply.statusCode, 415, "the host's parser does not apply to the webhooks")
    }
  })
}

for (const options of [{}, { sharedSchemaId: 'HttpError' }]) {
  beside(`sensible ${JSON.stringify(options)}`, async (app) => {
    await app.register(sensible, options)
    const schema = options.sharedSchemaId ? { response: { '4xx': { $ref: 'HttpError#' } } } : {}
    app.get('/host', { schema }, () => { throw app.httpErrors.conflict('taken') })
    app.get('/gone', (_request, reply) => reply.gone('lost'))
  }, async (t, app) => {
    t.strictSame((await app.inject('/host')).json(), { statusCode: 409, error: 'Conflict', message: 'taken' })
    t.equal((await app.inject('/gone')).json().message, 'lost')
  })
}

t.test('a host without sensible stays without it, and the handlers have it', async (t) => {
  const { app } = createHost(t)
  const has: unknown[] = []
  const look = (_event: unknown, { server }: FastifyRequest) => { has.push(server.httpErrors.imateapot().statusCode) }
  const common = { prefix: PREFIX, now }
  app.register(altdentifierPlugin, { ...common, secret: SECRET, handleEvent: look })
  app.register(aghanimPlugin, {
    ...common,
    secret: SECRET,
    verifyPlayer (event, request) {
      look(event, request)
      return PLAYER
    }
  })
  app.register(identityValidationPlugin, { ...common, apiKeys: { [API_KEY]: API_SECRET }, handleSession: look })
  for (const provider of PROVIDERS) t.equal((await deliver(app, provider)).statusCode, provider.success)
  t.same(has, [418, 418, 418])
  t.notOk(app.hasDecorator('httpErrors'))
  t.notOk(app.hasReplyDecorator('notFound'))
  t.notOk(app.hasRequestDecorator('rawBody'))
})

const AT_SECOND: Record<string, object> = {
  altdentifier: { secret: OTHER_SECRET, path: '/second' },
  aghanim: { secret: OTHER_SECRET, path: '/second' },
  'identity-validation': { apiKeys: { [API_KEY]: OTHER_SECRET }, paths: { sessions: '/second' } }
}

for (const provider of PROVIDERS) {
  t.test(`${provider.name} twice on a server: each secret is accepted on its own path only`, quiet(async (t) => {
    const { app } = createHost(t)
    const calls: { first: unknown[], second: unknown[] } = { first: [], second: [] }
    provider.register(app, calls.first)
    provider.register(app, calls.second, AT_SECOND[provider.name])
    await works(t, app, provider, calls.first, { url: provider.url })
    t.equal(calls.second.length, 0)
    await works(t, app, provider, calls.second, { url: '/second', secret: OTHER_SECRET })
    t.equal((await deliver(app, provider, { url: '/second' })).body, FORBIDDEN)
    t.equal(calls.first.length, 1)
  }))

  t.test(`${provider.name} in two scopes: prefixes add up, each secret is accepted on its own path only`, quiet(async (t) => {
    const { app } = createHost(t)
    const calls: { eu: unknown[], us: unknown[] } = { eu: [], us: [] }
    app.register(async (scope) => provider.register(scope, calls.eu, { prefix: PREFIX }), { prefix: '/eu' })
    app.register(async (scope) => {
      provider.register(scope, calls.us, { ...AT_SECOND[provider.name], prefix: '/b/c' })
    }, { prefix: '/us' })
    await works(t, app, provider, calls.eu, { url: `/eu${PREFIX}${provider.url}` })
    t.equal(calls.us.length, 0)
    await works(t, app, provider, calls.us, { url: '/us/b/c/second', secret: OTHER_SECRET })
    t.equal((await deliver(app, provider, { url: '/us/b/c/second' })).body, FORBIDDEN)
    for (const url of [provider.url, `/us${PREFIX}${provider.url}`, '/second']) {
      t.equal((await deliver(app, provider, { url })).statusCode, 404)
    }
  }))

  for (const prefix of [undefined, '/webhooks', '/webhooks/', 'webhooks', '/v1/web-hooks']) {
    t.test(`${provider.name} under the prefix ${prefix}`, async (t) => {
      const { app } = createHost(t)
      const calls: unknown[] = []
      provider.register(app, calls, prefix === undefined ? {} : { prefix })
      const url = `/${prefix ?? ''}${provider.url}`.replaceAll('//', '/')
      await works(t, app, provider, calls, { url })
    })
  }

  t.test(`${provider.name} twice on one path prevents the start of the server`, async (t) => {
    const { app } = createHost(t)
    provider.register(app, [])
    provider.register(app, [])
    await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_DUPLICATED_ROUTE' })
  })

  t.test(`${provider.name} accepts logLevel and logSerializers`, async (t) => {
    const { app, lines } = createHost(t)
    const logSerializers = { provider: (name: string) => `<${name}>` }
    provider.register(app, [], { prefix: '/quiet', logLevel: 'error' })
    provider.register(app, [], { prefix: '/told', logSerializers })
    const rejectedAt = async (prefix: string) => {
      await deliver(app, provider, { url: prefix + provider.url, secret: OTHER_SECRET })
      return lines.filter(({ msg }) => msg === 'delivery rejected')
    }
    t.same(await rejectedAt('/quiet'), [])
    t.match(await rejectedAt('/told'), [{ provider: `<${provider.name}>` }])
  })
}

beside("zod's compilers on the root", (app) => {
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  const schema = { body: z.object({ n: z.coerce.number() }), response: { 200: z.object({ n: z.number() }) } }
  app.withTypeProvider<ZodTypeProvider>().post('/host', { schema }, (request) => ({ n: request.body.n + 1 }))
}, async (t, app) => {
  t.same((await post(app, '/host', { n: '1' })).json(), { n: 2 })
  t.match((await post(app, '/host', {})).json(), { statusCode: 400, code: 'FST_ERR_VALIDATION' })
})

beside('an error handler of its own', (app) => {
  registerAll(app, failing(), { prefix: '/failing' })
  app.setErrorHandler<FastifyError>((error, _request, reply) => {
    seen.push(error.message)
    reply.code(418).send({ host: true })
  })
  app.get('/host', () => { throw new Error('of the host') })
}, async (t, app, lines) => {
  t.same(seen, [], 'a 403 does not reach it')
  for (const provider of PROVIDERS) {
    const url = `/failing${provider.url}`
    for (const [statusCode, code, delivery] of [
      [403, 'FST_VERIFICATION_FORBIDDEN', { url, secret: OTHER_SECRET }],
      [500, 'FST_VERIFICATION_HANDLER_FAILED', { url }],
      [415, 'FST_ERR_CTP_INVALID_MEDIA_TYPE', { url, headers: { 'content-type': 'text/plain' } }],
      [413, 'FST_ERR_CTP_BODY_TOO_LARGE', { url, body: ' '.repeat(262_145) }],
      [400, 'FST_VERIFICATION_INVALID_JSON', { url, body: '{' }]
    ] as const) t.match((await deliver(app, provider, delivery)).json(), { statusCode, code })
  }
  t.same(seen, [], 'and neither does anything else')
  t.notMatch(JSON.stringify(lines), /canary/)
  const reply = await app.inject('/host')
  t.equal(reply.statusCode, 418)
  t.strictSame(reply.json(), { host: true })
  t.same(seen.splice(0), ['of the host'])
})

const wrapped = { type: 'object', additionalProperties: true }
const wrapper = { response: { 200: { type: 'object', properties: { wrapped } } } }

beside('a preSerialization hook that wraps every reply', (app) => {
  app.addHook('preSerialization', async (_request, _reply, payload) => ({ wrapped: payload }))
  app.get('/host', { schema: wrapper }, () => ({ a: 1 }))
}, async (t, app) => t.strictSame((await app.inject('/host')).json(), { wrapped: { a: 1 } }))

beside('a reply serializer', (app) => {
  app.setReplySerializer((payload) => `of the host: ${JSON.stringify(payload)}`)
  app.get('/host', () => ({ a: 1 }))
}, async (t, app) => t.equal((await app.inject('/host')).body, 'of the host: {"a":1}'))

beside('a hook that sets a serializer', (app) => {
  app.addHook('onRequest', async (_request, reply) => {
    reply.serializer((payload: unknown) => `of the host: ${JSON.stringify(payload)}`)
  })
  app.get('/host', () => ({ a: 1 }))
}, async (t, app) => t.equal((await app.inject('/host')).body, 'of the host: {"a":1}'))

beside('a serializer compiler', (app) => {
  app.setSerializerCompiler(() => (payload) => `of the host: ${JSON.stringify(payload)}`)
  app.get('/host', { schema: wrapper }, () => ({ a: 1 }))
}, async (t, app) => t.equal((await app.inject('/host')).body, 'of the host: {"a":1}'))

beside('an onSend hook that adds a header', (app) => {
  app.addHook('onSend', async (_request, reply) => { reply.header('x-host', 'was here') })
  app.get('/host', () => ({ a: 1 }))
}, async (t, app) => {
  t.equal((await app.inject('/host')).headers['x-host'], 'was here')
  for (const provider of PROVIDERS) {
    for (const secret of [{}, { secret: OTHER_SECRET }]) {
      t.equal((await deliver(app, provider, secret)).headers['x-host'], 'was here')
    }
  }
})

beside('a 404 handler of its own', (app) => {
  app.setNotFoundHandler((request, reply) => reply.code(404).send({ host: true, body: request.body }))
}, async (t, app) => {
  for (const url of ['/nowhere', `${PREFIX}/nowhere`]) {
    t.strictSame((await post(app, url, { n: 1 })).json(), { host: true, body: { n: 1 } })
  }
})

t.test("an error of a host's hook is answered with a fixed message, and of its headers with Retry-After only", quiet(async (t) => {
  const { app } = createHost(t, {}, ['canary']) // logged by Fastify, from a hook of the host
  const throwAt = (stage: string) => async ({ headers }: FastifyRequest) => {
    if (headers['x-throw-at'] !== stage) return
    throw Object.assign(new Error('canary'), { statusCode: 429, headers: { 'retry-after': '7', 'x-canary': 'canary' } })
  }
  app.addHook('onRequest', throwAt('onRequest'))
  app.addHook('preParsing', throwAt('preParsing'))
  app.addHook('preValidation', throwAt('preValidation'))
  app.addHook('preHandler', throwAt('preHandler'))
  const calls: unknown[] = []
  registerAll(app, calls)
  app.post('/host', inspect)
  for (const stage of ['onRequest', 'preParsing', 'preValidation', 'preHandler']) {
    const headers = { 'x-throw-at': stage }
    for (const provider of PROVIDERS) {
      const reply = await deliver(app, provider, { headers })
      t.equal(reply.statusCode, 429)
      t.equal(reply.body, '{"statusCode":429,"error":"Too Many Requests","message":"Too Many Requests"}')
      t.notMatch(JSON.stringify(reply.headers), /canary/)
      t.equal(reply.headers['retry-after'], '7')
    }
    const own = await app.inject({ method: 'POST', url: '/host', headers })
    t.equal(own.json().message, 'canary', 'on its own route it is answered as before')
    t.equal(own.headers['retry-after'], '7')
  }
  t.equal(calls.length, 0)
  for (const provider of PROVIDERS) await works(t, app, provider, calls)
}))

t.test('a host whose hook replaces the body by something other than a stream keeps running', quiet(async (t) => {
  const { app } = createHost(t)
  let replaces = true
  app.addHook('preParsing', async (_request, _reply, payload) => replaces ? {} as typeof payload : payload)
  const calls: unknown[] = []
  registerAll(app, calls)
  for (const provider of PROVIDERS) {
    replaces = true
    const reply = await deliver(app, provider)
    t.equal(reply.statusCode, 500)
    t.equal(reply.json().message, 'Internal Server Error')
    t.equal(calls.length, 0)
    replaces = false
    await works(t, app, provider, calls)
    calls.length = 0
  }
}))

for (const options of [{}, { encoding: false }, { runFirst: true }] as const) {
  beside(`fastify-raw-body ${JSON.stringify(options)}`, async (app) => {
    await app.register(rawBody, options)
    app.post('/host', (request) => ({ body: request.body, rawBody: String(request.rawBody) }))
  }, async (t, app) => {
    const text = '{ "n" : 1 }'
    t.strictSame((await post(app, '/host', text)).json(), { body: { n: 1 }, rawBody: text })
    for (const provider of PROVIDERS) {
      t.equal((await deliver(app, provider, { body: ' '.repeat(262_145) })).statusCode, 413)
      t.equal((await post(app, PREFIX + provider.url, {})).statusCode, 403)
    }
  })
}

for (const [name, decorate, { inHandler = 'bytes', onHost = 'undefined' }] of [
  ['no rawBody', () => {}, {}],
  ['fastify-raw-body', (app) => app.register(rawBody), {}],
  ['a rawBody decorator', (app) => app.decorateRequest('rawBody', 'host'), { onHost: 'host' }],
  ['a rawBody getter', (app) => app.decorateRequest('rawBody', { getter: () => 'host' }),
    { onHost: 'host', inHandler: 'host' }]
] as [string, Setup, { inHandler?: string, onHost?: string }][]) {
  beside(name, async (app) => {
    await decorate(app)
    app.register(altdentifierPlugin, {
      path: '/raw',
      secret: SECRET,
      handleEvent (_event, request) {
        seen.push(Buffer.isBuffer(request.rawBody) ? request.rawBody.toString() : request.rawBody)
      }
    })
    app.get('/host', inspect)
  }, async (t, app) => {
    const body = ` ${bodyOf(ALTDENTIFIER)} `
    t.equal((await deliver(app, ALTDENTIFIER, { url: '/raw', body })).statusCode, 204)
    t.same(seen.splice(0), [inHandler === 'bytes' ? body : inHandler])
    t.equal((await app.inject('/host')).json().rawBody, onHost)
  })
}

const HANDLERS = ['handleEvent', 'verifyPlayer', 'handleSession', 'handleRequiredFiles']

beside('an onRoute hook that adds to the hooks of every route', (app) => {
  app.addHook('onRoute', (route) => {
    route.preHandler = [...(route.preHandler as never[] | undefined ?? []), async () => { seen.push('hook') }] as never
  })
  app.get('/host', () => 'host')
}, async (t, app) => {
  seen.length = 0
  await app.inject('/host')
  t.strictSame(seen.splice(0), ['hook'])
})

t.test('an onSend hook that keeps throwing shows nothing of an error that serializes itself', quiet(async (t) => {
  for (const [statusCode, error] of [[500, 'Internal Server Error'], [429, 'Too Many Requests']] as const) {
    const { app } = createHost(t, {}, ['canary']) // logged by Fastify, from a hook of the host
    registerAll(app, [])
    app.addHook('onSend', async () => {
      throw Object.assign(new Error('x'), { statusCode, toJSON: () => ({ config: 'canary' }) })
    })
    for (const provider of PROVIDERS) {
      const reply = await deliver(app, provider)
      t.equal(reply.statusCode, statusCode)
      t.strictSame(reply.json(), { statusCode, error, message: error })
    }
  }
}))

beside('read-only decorators of the same names', (app) => {
  for (const name of HANDLERS) app.decorate(name, { getter: () => name })
}, async (t, app) => {
  for (const name of HANDLERS) t.equal(Reflect.get(app, name), name)
})

beside("decorators named like sensible's", (app) => {
  app.decorateReply<unknown>('maxAge', null)
  app.decorateRequest<unknown>('is', null)
  app.get('/host', (request, reply) => ({ is: request.is ?? null, maxAge: reply.maxAge ?? null }))
}, async (t, app, lines, order) => {
  t.strictSame((await app.inject('/host')).json(), { is: null, maxAge: null })
  const told = lines.filter(({ msg, level }) => level === 40 && msg.startsWith('@fastify/sensible is not'))
  t.equal(told.length, order === 'before' ? PROVIDERS.length : 0)
  for (const line of told) t.match(line, { failure: { type: String } })
})

t.test("where the host already has sensible, or its errors, they stay the host's, without a warning", quiet(async (t) => {
  for (const own of [undefined, { imateapot: () => 'of the host' }]) {
    const { app, lines } = createHost(t)
    if (own === undefined) await app.register(sensible)
    else app.decorate<unknown>('httpErrors', own)
    const found: unknown[] = []
    registerAll(app, [])
    app.register(altdentifierPlugin, {
      secret: SECRET, handleEvent: (_event, { server }) => { found.push(server.httpErrors) }
    })
    for (const provider of PROVIDERS) t.equal((await deliver(app, provider)).statusCode, provider.success)
    t.equal((await deliver(app, ALTDENTIFIER, { url: '/altdentifier' })).statusCode, 204)
    t.equal(found[0], app.httpErrors)
    t.strictSame(lines.filter(({ level }) => level >= 40), [])
  }
}))

beside('decorators of the same names', (app) => {
  for (const name of HANDLERS) app.decorate<unknown>(name, () => seen.push(name))
}, async (t, app) => {
  const body = JSON.stringify({ ...VERIFY_EVENT, event_type: 'item.add' })
  const reply = await deliver(app, AGHANIM, { body })
  t.equal(reply.statusCode, 400)
  t.equal(reply.json().code, 'FST_VERIFICATION_UNKNOWN_EVENT')
  t.same(seen, [], 'no handler of the host was called')
  for (const name of HANDLERS) Reflect.get(app, name)()
  t.same(seen.splice(0), HANDLERS, "and they are still the host's")
})

t.test('each plugin has a name and requires the Fastify versions of the package', async (t) => {
  const { fastify } = JSON.parse(read('package.json')).peerDependencies
  for (const [name, plugin] of Object.entries({
    altdentifier: altdentifierPlugin,
    aghanim: aghanimPlugin,
    'identity-validation': identityValidationPlugin,
    humandetect: humandetectPlugin,
    'humandetect-api': humandetectApiPlugin
  })) {
    const { [Symbol.for('plugin-meta')]: meta } = plugin as unknown as Record<symbol, unknown>
    t.has(meta, { name: `fastify-verification-${name}`, fastify })
  }
})

t.test("each handler is a decorator of its plugin's scope, and not of the host", async (t) => {
  const { app } = createHost(t)
  const handlers: Record<string, Function> = {}
  const noted = (name: string) => {
    handlers[name] = (_event: unknown, { server }: FastifyRequest) => {
      t.equal(Reflect.get(server, name), handlers[name], name)
      seen.push([name, HANDLERS.filter((other) => server.hasDecorator(other))])
      return PLAYER
    }
    return handlers[name] as (event: unknown, request: FastifyRequest) => typeof PLAYER
  }
  const common = { prefix: PREFIX, now }
  app.register(altdentifierPlugin, { ...common, secret: SECRET, handleEvent: noted('handleEvent') })
  app.register(aghanimPlugin, { ...common, secret: SECRET, verifyPlayer: noted('verifyPlayer') })
  app.register(identityValidationPlugin, {
    ...common,
    apiKeys: { [API_KEY]: API_SECRET },
    handleSession: noted('handleSession'),
    handleRequiredFiles: noted('handleRequiredFiles')
  })
  for (const provider of PROVIDERS) await deliver(app, provider)
  await deliver(app, IDENTITY, { url: `${PREFIX}/identity-validation/required-files` })
  const session = ['handleSession', 'handleRequiredFiles']
  t.same(seen.splice(0), [
    ['handleEvent', ['handleEvent']], ['verifyPlayer', ['verifyPlayer']], ['handleSession', session],
    ['handleRequiredFiles', session]
  ])
  t.notOk(HANDLERS.some((name) => app.hasDecorator(name)))
})

t.test('a hook of the host that changes the body admits no forgery', quiet(async (t) => {
  const parse = (bytes: unknown) => JSON.parse(String(bytes))
  type Add = (app: FastifyInstance, signed: string) => unknown
  const hooks: [what: string, add: Add, sent: (signed: string) => string | Buffer][] = [
    ['the signed body instead of the sent one', (app, signed) => {
      app.addHook('preValidation', async (request) => { request.body = Buffer.from(signed) })
    }, (signed) => signed.replace('{', '{"forged":true,')],
    ['a copy of what was sent', (app) => {
      app.addHook('preValidation', async (request) => { request.body = Buffer.from(request.body as Buffer) })
    }, (signed) => signed],
    ['the sent body, in other bytes', (app) => {
      app.addHook('preValidation', async (request) => { request.body = Buffer.from(JSON.stringify(parse(request.body), null, 1)) })
    }, (signed) => signed],
    ['the same bytes, overwritten', (app) => {
      app.addHook('preValidation', async (request) => { (request.body as Buffer).write('[') })
    }, (signed) => signed],
    ['an object', (app) => {
      app.addHook('preValidation', async (request) => { request.body = parse(request.body) })
    }, (signed) => signed],
    ['another stream of the same length', (app) => {
      app.addHook('preParsing', async (_request, _reply, payload) => payload.pipe(new Transform({
        transform: (chunk, _encoding, done) => { done(null, String(chunk).replace('"', "'")) }
      })))
    }, (signed) => signed],
    ['a compressed body', (app) => {
      app.addHook('preParsing', async (_request, _reply, payload) =>
        Object.assign(payload.pipe(createGunzip()), { receivedEncodedLength: undefined }))
    }, (signed) => gzipSync(signed)]
  ]
  for (const [what, add, sent] of hooks) {
    for (const provider of PROVIDERS) {
      const { app } = createHost(t)
      const calls: unknown[] = []
      const body = bodyOf(provider)
      add(app, body)
      registerAll(app, calls)
      const url = PREFIX + provider.url
      const payload = sent(body)
      const headers = signed(provider, url, typeof payload === 'string' ? body : payload)
      const reply = await app.inject({ method: 'POST', url, headers, payload })
      t.ok([400, 403].includes(reply.statusCode), `${provider.name}, ${what}: ${reply.body}`)
      t.strictSame(calls, [], `${provider.name}, ${what}: nothing is handled`)
    }
  }
}))

t.test('forwarded headers change nothing, with and without trustProxy', quiet(async (t) => {
  const headers = {
    'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https', 'x-forwarded-for': '9.9.9.9', 'x-forwarded-prefix': '/evil'
  }
  for (const trustProxy of [true, false]) {
    const { app } = createHost(t, { trustProxy })
    const calls: unknown[] = []
    registerAll(app, calls)
    app.get('/host', (request) => request.host)
    t.equal((await app.inject({ url: '/host', headers })).body === 'evil.example', trustProxy)
    for (const provider of PROVIDERS) await works(t, app, provider, calls, { headers })
    for (const endpoint of [`/evil${PREFIX}${SESSIONS}`, `https://evil.example${PREFIX}${SESSIONS}`, SESSIONS]) {
      const elsewhere = signed(IDENTITY, endpoint, bodyOf(IDENTITY))
      t.equal((await deliver(app, IDENTITY, { headers: { ...headers, ...elsewhere } })).body, FORBIDDEN, endpoint)
    }
  }
}))
