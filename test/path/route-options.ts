import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { humandetectApiPlugin, humandetectPlugin, issueToken, type WebhookOptions } from '../../plugins/index.js'
import { bodyOf, PROVIDERS, type ProviderCase } from '../support/deliveries.js'
import { createHost, type Test } from '../support/host.js'
import { quiet } from '../support/quiet.js'
import { watch } from '../support/watch.js'

type HostRouteOptions = NonNullable<WebhookOptions['routeOptions']>

/** Creates a host with the provider's webhook and a function that sends it a valid delivery. */
function createServer (test: Test, provider: ProviderCase, routeOptions: HostRouteOptions) {
  const { app } = createHost(test)
  const calls: unknown[] = []
  provider.register(app, calls, { routeOptions })
  const payload = bodyOf(provider)
  const deliver = (headers: Record<string, string> = {}, body = payload) => app.inject({
    method: 'POST', url: provider.url, headers: { ...provider.sign(payload), ...headers }, payload: body
  })
  return { app, calls, deliver }
}

for (const provider of PROVIDERS) {
  t.test(`${provider.name}: the application's hooks run in its order, before the delivery is verified`, quiet(async (t) => {
    const seen: string[] = []
    const note = (name: string) => async ({ body }: FastifyRequest) => {
      seen.push(`${name} ${body === undefined ? 'no body' : Buffer.isBuffer(body) ? 'bytes' : 'event'}`)
    }
    const { calls, deliver } = createServer(t, provider, {
      onRequest: note('onRequest'),
      preValidation: [note('preValidation')],
      preHandler: [note('preHandler 1'), note('preHandler 2')],
      onResponse: note('onResponse')
    })
    const expected = ['onRequest no body', 'preValidation bytes', 'preHandler 1 bytes', 'preHandler 2 bytes']
    t.equal((await deliver()).statusCode, provider.success)
    t.strictSame(seen.splice(0), [...expected, 'onResponse event'])
    t.equal((await deliver({}, `${bodyOf(provider)} `)).statusCode, 403)
    t.strictSame(seen, [...expected, 'onResponse bytes'], 'a forged one has not been parsed')
    t.equal(calls.length, 1)
  }))

  t.test(`${provider.name}: a hook of the application may refuse, and cannot replace the bytes`, quiet(async (t) => {
    const { reports } = watch(t)
    const { calls, deliver } = createServer(t, provider, {
      onRequest: (request, reply, done) => {
        if (request.headers['x-block'] === undefined) done()
        else reply.code(429).send({ of: 'the application' })
      },
      preHandler: async (request) => {
        if (request.headers['x-swap'] !== undefined) request.body = Buffer.from(bodyOf(provider))
        if (request.headers['x-throw'] !== undefined) throw Object.assign(new Error('canary'), { statusCode: 401 })
      }
    })
    const blocked = await deliver({ 'x-block': '1' })
    t.match([blocked.statusCode, blocked.json()], [429, { of: 'the application' }])
    t.equal((await deliver({ 'x-swap': '1' }, '{}')).statusCode, 403)
    t.equal((await deliver({ 'x-throw': '1' })).statusCode, 401)
    t.equal(calls.length, 0)
    t.strictSame(reports.map(({ reason }) => reason), ['bad_request', 'no_body', 'bad_request'])
  }))

  t.test(`${provider.name}: config and constraints reach the route`, quiet(async (t) => {
    const configs: unknown[] = []
    const preHandler = async ({ routeOptions }: FastifyRequest) => { configs.push(routeOptions.config) }
    const { app, deliver } = createServer(t, provider, {
      config: { rateLimit: { max: 1 } } as object, constraints: { host: 'a.example' }, preHandler
    })
    app.post(provider.url, async () => 'of the application')
    t.equal((await deliver({ host: 'a.example' })).statusCode, provider.success)
    t.equal((await deliver({ host: 'b.example' })).payload, 'of the application')
    t.match(configs, [{ rateLimit: { max: 1 }, swaggerTransform: false }])
  }))
}

t.test('two routes of a plugin do not share the lists of hooks', async (t) => {
  const { app } = createHost(t)
  const hooks: number[] = []
  const onRequest = [async () => {}]
  app.addHook('onRoute', (route) => {
    (route.onRequest as unknown[]).push(async () => {}) // like @fastify/rate-limit
    hooks.push((route.onRequest as unknown[]).length)
  })
  const [, , { register }] = PROVIDERS as [ProviderCase, ProviderCase, ProviderCase]
  register(app, [], { routeOptions: { onRequest }, handleRequiredFiles () {} } as object)
  await app.ready()
  t.strictSame([hooks, onRequest.length], [[2, 2], 1])
})

t.test('the routes of HumanDetect have them too', async (t) => {
  const { app } = createHost(t)
  const secret = 'a secret of at least 24 bytes'
  const apiKeys = ['key-of-the-backend']
  const seen: unknown[] = []
  const routeOptions: HostRouteOptions = { onRequest: async ({ url }) => { seen.push(url) } }
  app.register(humandetectApiPlugin, { apiKeys, verifyToken: () => null, routeOptions })
  app.register(humandetectPlugin, {
    apiKey: apiKeys[0]!, baseUrl: 'https://localhost:1', handleResult () {}, routeOptions
  })
  const token = issueToken({ secret, identifier: 'a', human: true })
  await app.inject({ method: 'POST', url: '/v1/humandetect/verify', payload: { token } })
  await app.inject({ method: 'POST', url: '/humandetect', payload: {} })
  t.strictSame(seen, ['/v1/humandetect/verify', '/humandetect'])
  const guardOnly = createHost(t).app.register(humandetectPlugin, { apiKey: apiKeys[0]!, routeOptions })
  await t.rejects(async () => { await guardOnly.ready() }, {
    message: 'humandetectPlugin: option "routeOptions" needs "handleResult"'
  })
})
