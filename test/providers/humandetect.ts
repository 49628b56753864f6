import { Type } from '@sinclair/typebox'
import t from 'tap'
import {
  aghanimPlugin, altdentifierPlugin, humandetectApiPlugin, humandetectPlugin, identityValidationPlugin, openToken,
  signAghanim, signAltdentifier, signIdentityValidation, type HumanDetectResult
} from '../../plugins/index.js'
import { API_KEY, API_SECRET, GUILD, MEMBER, PLAYER, SECRET, SESSIONS, VERIFY_EVENT } from '../support/deliveries.js'
import { createHost, exchange, rawRequest, statusOf, type Test } from '../support/host.js'
import { createGuardedHost, IDENTIFIER, mint, post, SERVICE_KEY, startService, TOKEN_SECRET } from '../support/humandetect.js'
import { quiet } from '../support/quiet.js'
import { json, startUpstream } from '../support/upstream.js'

const at = (seconds: number) => new Date(Date.now() + seconds * 1000)
const signup = (token: unknown, email = IDENTIFIER) => ({ email, token })

async function createCircle (test: Test, options = {}, server = {}) {
  const service = await startService(test)
  return { service, ...await createGuardedHost(test, service.baseUrl, options, server) }
}

t.test('a human is admitted, and the handler gets the result', async (t) => {
  const { app, lines, signedUp } = await createCircle(t)
  const token = mint()
  const reply = await post(app, '/signup', signup(token))
  t.equal(reply.statusCode, 201)
  t.strictSame(reply.json(), { status: 'created' })
  t.strictSame(signedUp, [openToken({ secret: TOKEN_SECRET, token })])
  t.notOk(lines.some(({ level }) => level as number > 30))
})

t.test('everyone who is not known to be human gets the same 403', quiet(async (t) => {
  const { app, lines, signedUp } = await createCircle(t)
  const used = mint()
  t.equal((await post(app, '/signup', signup(used))).statusCode, 201)
  const forged = Buffer.from(mint(), 'base64')
  forged[40]! ^= 1
  const cases: [reason: string, token: string, email?: string][] = [
    ['bot', mint({ human: false })],
    ['malformed_token', forged.toString('base64')],
    ['malformed_token', 'made up'],
    ['malformed_token', '\ud800'],
    ['malformed_token', 'x'.repeat(8192)],
    ['stale', mint({ timestamp: at(-302) })],
    ['stale', mint({ timestamp: '2020-09-22T14:52:11.104-0500' })],
    ['future', mint({ timestamp: at(302) })],
    ['used', used],
    ['other_identifier', mint({ identifier: 'eve@example.com' })],
    ['other_identifier', mint({ identifier: `${IDENTIFIER} ` })],
    ['other_identifier', mint({ identifier: IDENTIFIER.toUpperCase() })],
    ['other_identifier', mint({ identifier: '' })],
    ['other_identifier', mint({ identifier: '\ud800' }), '\ud801'],
    ['no_identifier', mint({ identifier: '' }), '']
  ]
  const answers = new Set<string>()
  for (const [reason, token, email] of cases) {
    const { statusCode, headers: { date, ...headers }, body } = await post(app, '/signup', signup(token, email))
    answers.add(JSON.stringify({ statusCode, headers, body }))
    t.match(lines.filter(({ msg }) => msg === 'delivery rejected').at(-1), { provider: 'humandetect', reason, level: 30 }, reason)
    t.match(JSON.parse(body), { statusCode: 403, code: 'FST_HUMANDETECT_NOT_HUMAN' })
  }
  t.equal(answers.size, 1)
  t.equal(signedUp.length, 1)
}))

t.test('without a token the service is not called', quiet(async (t) => {
  const { app, service, signedUp } = await createCircle(t)
  const answers = new Set<string>()
  for (const token of [undefined, null, '', 5, true, {}, [mint()], 'x'.repeat(8193), 'é'.repeat(4097)]) {
    const { statusCode, body } = await post(app, '/signup', signup(token))
    t.equal(statusCode, 400)
    answers.add(body)
  }
  for (const body of [null, [], 'text', 5]) {
    const reply = await post(app, '/signup', body)
    t.equal(reply.statusCode, 400)
    answers.add(reply.body)
  }
  t.equal(answers.size, 1)
  t.match([...answers][0], '"code":"FST_HUMANDETECT_TOKEN_REQUIRED"')
  t.strictSame(service.asked, [])
  t.strictSame(signedUp, [])
}))

t.test('exactly one of two requests with one token is admitted', quiet(async (t) => {
  const { app, signedUp } = await createCircle(t)
  for (let round = 1; round <= 20; round++) {
    const token = mint()
    const replies = await Promise.all([signup(token), signup(token), signup(token)].map((body) => post(app, '/signup', body)))
    t.strictSame(replies.map(({ statusCode }) => statusCode).sort(), [201, 403, 403])
    t.equal(signedUp.length, round)
  }
}))

t.test('a token at the bounds of freshness is fresh', async (t) => {
  let clock = Date.now()
  const { app } = await createCircle(t, { maxAge: 10, skew: 5, now: () => clock })
  const verify = async (offset: number) => {
    const token = mint({ timestamp: new Date(clock + offset) })
    return (await post(app, '/signup', signup(token))).statusCode
  }
  t.equal(await verify(-10_000), 201)
  t.equal(await verify(-10_001), 403)
  t.equal(await verify(5000), 201)
  t.equal(await verify(5001), 403)
  clock = Number.NaN
  t.equal((await post(app, '/signup', signup(mint()))).statusCode, 503, 'a broken clock admits nobody')
})

t.test('replacing the clock affects a guard that was registered before', async (t) => {
  const { app } = await createCircle(t)
  const token = mint()
  const clock = t.intercept(Date, 'now', { value: () => 1_600_000_000_000 })
  t.equal((await post(app, '/signup', signup(token))).statusCode, 403)
  clock.restore()
  t.equal((await post(app, '/signup', signup(mint()))).statusCode, 201)
})

t.test("with onBot 'flag' a bot passes with a mark, and all other checks still apply", async (t) => {
  const { app, service } = await createCircle(t)
  const host = createHost(t)
  await host.app.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl: service.baseUrl, allowHttp: true })
  const guard = host.app.humandetect.requireHuman({ identifier: IDENTIFIER, onBot: 'flag' })
  let comments = 0
  host.app.post('/comment', { preHandler: guard }, ({ humandetect }) => {
    comments++
    return { valid: humandetect?.valid }
  })
  const bot = mint({ human: false })
  t.strictSame((await post(host.app, '/comment', { token: bot })).json(), { valid: false })
  t.equal((await post(host.app, '/comment', { token: bot })).statusCode, 403, 'once only')
  t.strictSame((await post(host.app, '/comment', { token: mint() })).json(), { valid: true })
  for (const claims of [{ timestamp: at(-400) }, { identifier: 'eve' }]) {
    t.equal((await post(host.app, '/comment', { token: mint({ human: false, ...claims }) })).statusCode, 403)
  }
  t.equal(comments, 2)
  t.equal((await post(app, '/signup', signup(mint({ human: false })))).statusCode, 403, 'elsewhere it is refused')
})

t.test('the token may be outside of the body, and the identifier may be asynchronous', async (t) => {
  const { app } = createHost(t)
  const { baseUrl } = await startService(t)
  await app.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl, allowHttp: true })
  let shown = 0
  app.get('/profile', {
    preHandler: app.humandetect.requireHuman({
      token: (request) => request.headers['x-human-token'],
      identifier: async (request) => (request.query as { user: string }).user
    })
  }, ({ humandetect }) => {
    shown++
    return { user: humandetect?.identifier }
  })
  const url = `/profile?user=${IDENTIFIER}`
  const headers = { 'x-human-token': mint() }
  t.strictSame((await app.inject({ url, headers })).json(), { user: IDENTIFIER })
  t.equal((await app.inject({ url })).statusCode, 400)
  t.equal((await app.inject({ url: '/profile?user=eve', headers: { 'x-human-token': mint() } })).statusCode, 403)
  t.equal((await app.inject({ url: '/profile', headers: { 'x-human-token': mint() } })).statusCode, 403)
  t.equal(shown, 1)
})

t.test('callbacks that throw admit nobody', async (t) => {
  const { app } = createHost(t)
  const { baseUrl } = await startService(t)
  await app.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl, allowHttp: true })
  const fail = () => { throw new Error('of the host') }
  const letIn = () => t.fail('the handler ran')
  const { requireHuman } = app.humandetect
  app.post('/token', { preHandler: requireHuman({ identifier: IDENTIFIER, token: fail }) }, letIn)
  app.post('/identifier', { preHandler: requireHuman({ identifier: fail }) }, letIn)
  app.post('/promise', { preHandler: requireHuman({ identifier: async () => fail() }) }, letIn)
  for (const url of ['/token', '/identifier', '/promise']) {
    t.equal((await post(app, url, { token: mint() })).statusCode, 500, url)
  }
})

t.test('verify does the same when it is called directly', quiet(async (t) => {
  const { app } = await createCircle(t)
  const token = mint()
  const result = await app.humandetect.verify(token, { identifier: IDENTIFIER })
  t.strictSame(result, openToken({ secret: TOKEN_SECRET, token }))
  const notHuman = { code: 'FST_HUMANDETECT_NOT_HUMAN', statusCode: 403 }
  await t.rejects(app.humandetect.verify(token, { identifier: IDENTIFIER }), notHuman, 'used')
  await t.rejects(app.humandetect.verify(mint(), { identifier: 'eve' }), notHuman)
  await t.rejects(app.humandetect.verify(mint({ human: false }), { identifier: IDENTIFIER }), notHuman)
  t.match(await app.humandetect.verify(mint({ human: false }), { identifier: IDENTIFIER, onBot: 'flag' }), { valid: false })
  const required = { code: 'FST_HUMANDETECT_TOKEN_REQUIRED', statusCode: 400 }
  for (const none of ['', undefined, 5]) {
    await t.rejects(app.humandetect.verify(none as string, { identifier: IDENTIFIER }), required)
  }
  for (const options of [undefined, null, {}, { identifier: '' }, { identifier: 5 }, { identifier: [IDENTIFIER] }]) {
    await t.rejects(app.humandetect.verify(mint(), options as { identifier: string }), notHuman)
  }
  await t.rejects(app.humandetect.verify(mint(), { identifier: 'a', onbot: 'flag' } as { identifier: string }), {
    code: 'FST_VERIFICATION_INVALID_OPTION', message: 'verify: option "onbot" is not known'
  })
}))

t.test('an error of the guard contains only what is sent', async (t) => {
  const { app } = await createCircle(t)
  const token = mint({ human: false })
  const error = await app.humandetect.verify(token, { identifier: IDENTIFIER }).catch((error) => error)
  t.strictSame(Reflect.ownKeys(error).sort(), ['code', 'message', 'name', 'statusCode'])
  t.equal(error.cause, undefined)
})

t.test('a failing service is answered with 503 and Retry-After', async (t) => {
  const { app, lines, service, signedUp } = await createCircle(t, { timeout: 500 })
  await service.app.close()
  const { statusCode, headers, body } = await post(app, '/signup', signup(mint()))
  t.equal(statusCode, 503)
  t.equal(headers['retry-after'], '5')
  t.match(JSON.parse(body), { code: 'FST_HUMANDETECT_UNAVAILABLE' })
  t.strictSame(signedUp, [])
  t.match(lines.find(({ reason }) => reason === 'service_unavailable'), { level: 50, failure: { code: 'ECONNREFUSED' } })
})

t.test('a key that the service refuses is reported as such in the log', async (t) => {
  const service = await startService(t, { apiKeys: ['canary-key-of-another'] })
  const { app, lines, signedUp } = await createGuardedHost(t, service.baseUrl)
  t.equal((await post(app, '/signup', signup(mint()))).statusCode, 503)
  t.strictSame(signedUp, [])
  t.match(lines.find(({ reason }) => reason === 'service_unavailable'), { level: 50, serviceStatus: 401 })
})

t.test('only a 400 means that a token is unknown', quiet(async (t) => {
  for (const [status, expected] of [[400, 403], [422, 503], [500, 503]] as const) {
    const upstream = await startUpstream(t, [json('{"code":"invalidRequest"}', status)])
    const { app, signedUp } = await createGuardedHost(t, upstream.baseUrl)
    t.equal((await post(app, '/signup', signup(mint()))).statusCode, expected, `${status}`)
    t.strictSame(signedUp, [])
  }
}))

t.test("the plugin's own route passes the result to the callback", quiet(async (t) => {
  const service = await startService(t)
  const { app, lines } = createHost(t)
  const results: HumanDetectResult[] = []
  app.register(humandetectPlugin, {
    prefix: '/api',
    apiKey: SERVICE_KEY,
    baseUrl: service.baseUrl,
    allowHttp: true,
    reply: Type.Object({ welcome: Type.String() }),
    async handleResult (result, request) {
      t.equal(request.humandetect, result)
      results.push(result)
      return { welcome: result.identifier, more: 'is dropped' }
    }
  })
  const url = '/api/humandetect'
  const token = mint()
  const reply = await post(app, url, { token, identifier: IDENTIFIER })
  t.equal(reply.statusCode, 200)
  t.strictSame(reply.json(), { welcome: IDENTIFIER })
  t.strictSame(results, [openToken({ secret: TOKEN_SECRET, token })])

  const guarded = createGuardedHost(t, service.baseUrl)
  const likeTheGuard = (await post((await guarded).app, '/signup', signup(mint({ human: false })))).body
  for (const refused of [token, mint({ human: false }), 'made up', mint({ identifier: 'eve' })]) {
    const { statusCode, body } = await post(app, url, { token: refused, identifier: IDENTIFIER })
    t.equal(statusCode, 403)
    t.equal(body, likeTheGuard)
  }
  const fresh = mint()
  const cases: [payload: unknown, code: string][] = [
    [{ identifier: IDENTIFIER }, 'FST_HUMANDETECT_TOKEN_REQUIRED'],
    [{ token: '', identifier: IDENTIFIER }, 'FST_HUMANDETECT_TOKEN_REQUIRED'],
    [{ token: 'x'.repeat(8193), identifier: IDENTIFIER }, 'FST_HUMANDETECT_TOKEN_REQUIRED'],
    [{ token: fresh }, 'FST_VERIFICATION_INVALID_PAYLOAD'],
    [{ token: fresh, identifier: '' }, 'FST_VERIFICATION_INVALID_PAYLOAD'],
    [{ token: fresh, identifier: 5 }, 'FST_VERIFICATION_INVALID_PAYLOAD'],
    [[], 'FST_VERIFICATION_INVALID_JSON'],
    [null, 'FST_VERIFICATION_INVALID_JSON']
  ]
  for (const [payload, code] of cases) {
    const { statusCode, json } = await post(app, url, payload)
    t.equal(statusCode, 400)
    t.equal(json().code, code)
  }
  t.equal(results.length, 1)
  t.equal((await post(app, url, { token: fresh, identifier: IDENTIFIER })).statusCode, 200, 'these attempts did not use it up')
  t.notOk(lines.some(({ level }) => level as number > 30))

  const json = ['Content-Type', 'application/json'] as const
  const raw = async (headers: (readonly [string, string])[], body: string | Buffer) =>
    statusOf((await exchange(app, [rawRequest(url, headers, body)], (text) => text.includes('\r\n\r\n'))).text)
  t.equal(await raw([json, ['Content-Length', '1']], Buffer.from([0xff])), 400)
  t.equal(await raw([['Content-Type', 'text/plain'], ['Content-Length', '2']], '{}'), 415)
  t.equal(await raw([json, ['Content-Length', '65537']], ''), 413)
  t.equal(await raw([], ''), 400)
}))

t.test("allowed results of the callback of the plugin's own route", quiet(async (t) => {
  const { baseUrl } = await startService(t)
  const answer = async (handleResult: () => unknown, options = {}) => {
    const { app } = createHost(t)
    app.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl, allowHttp: true, path: '/verify', handleResult, ...options })
    const { statusCode, body } = await post(app, '/verify', { token: mint(), identifier: IDENTIFIER })
    return [statusCode, body && (JSON.parse(body)?.code ?? JSON.parse(body))]
  }
  t.strictSame(await answer(() => {}), [204, ''])
  t.strictSame(await answer(() => null), [200, null])
  t.strictSame(await answer(() => ['any', { thing: 1 }]), [200, ['any', { thing: 1 }]])
  t.strictSame(await answer(() => 'text'), [200, 'text'])
  t.strictSame(await answer(() => () => {}), [500, 'FST_VERIFICATION_INVALID_REPLY'])
  t.strictSame(await answer(() => { throw new Error(TOKEN_SECRET) }), [500, 'FST_VERIFICATION_HANDLER_FAILED'])
  const reply = Type.Union([Type.Object({ a: Type.Number() }), Type.Array(Type.String())])
  t.strictSame(await answer(() => ({ a: 1 }), { reply }), [200, { a: 1 }])
  t.strictSame(await answer(() => ['b'], { reply }), [200, ['b']])
  for (const wrong of [undefined, { a: '1' }, null]) {
    t.strictSame(await answer(() => wrong, { reply }), [500, 'FST_VERIFICATION_INVALID_REPLY'])
  }
  t.strictSame(await answer(() => new Promise(() => {}), { handlerTimeout: 50 }), [503, 'FST_VERIFICATION_TIMEOUT'])
}))

t.test('it works together with the webhooks, and on routes with their own schemas, hooks and error handlers', quiet(async (t) => {
  const service = await startService(t)
  const { app } = createHost(t)
  const ran: string[] = []
  app.register(altdentifierPlugin, { secret: SECRET, handleEvent: () => { ran.push('altdentifier') } })
  app.register(aghanimPlugin, { secret: SECRET, verifyPlayer: () => PLAYER })
  app.register(humandetectApiPlugin, { apiKeys: [SERVICE_KEY], verifyToken: () => null })
  await app.register(humandetectPlugin, {
    apiKey: SERVICE_KEY, baseUrl: service.baseUrl, allowHttp: true, handleResult: () => ({ route: 'own' })
  })
  app.register(identityValidationPlugin, {
    apiKeys: { [API_KEY]: API_SECRET },
    handleSession (_session, request) { ran.push(`session ${request.humandetect}`) }
  })
  app.addHook('preHandler', async (request) => {
    if (request.url === '/signup') ran.push(`before ${request.humandetect}`)
  })
  app.post<{ Body: { email: string } }>('/signup', {
    schema: {
      body: Type.Object({ email: Type.String(), token: Type.String(), age: Type.Number({ default: 18 }) }),
      response: { 201: Type.Object({ age: Type.Number() }) }
    },
    preHandler: [
      app.humandetect.requireHuman({ identifier: ({ body }) => body.email }),
      async ({ humandetect }) => { ran.push(`after ${humandetect?.valid}`) }
    ],
    errorHandler: (error, _request, reply) => { reply.code(418).send({ teapot: error.code }) }
  }, ({ body }, reply) => {
    ran.push('handler')
    reply.code(201)
    return body
  })
  app.get('/open', ({ humandetect }) => ({ humandetect }))

  const { statusCode, json } = await post(app, '/signup', signup(mint()))
  t.equal(statusCode, 201)
  t.strictSame(json(), { age: 18 }, "the host's defaults and serializer apply")
  t.strictSame(ran.splice(0), ['before null', 'after true', 'handler'])
  t.strictSame((await post(app, '/signup', signup(mint({ human: false })))).json(), { teapot: 'FST_HUMANDETECT_NOT_HUMAN' })
  t.strictSame((await post(app, '/signup', signup(5))).json(), { teapot: 'FST_HUMANDETECT_NOT_HUMAN' }, 'coerced by the host')
  t.strictSame((await post(app, '/signup', { token: mint() })).json(), { teapot: 'FST_ERR_VALIDATION' })
  t.strictSame(ran.splice(0), ['before null', 'before null'])
  t.strictSame((await app.inject('/open')).json(), { humandetect: null })
  t.strictSame((await post(app, '/humandetect', { token: mint(), identifier: IDENTIFIER })).json(), { route: 'own' })

  const send = (url: string, payload: string, headers: Record<string, string>) =>
    app.inject({ method: 'POST', url, payload, headers })
  const player = JSON.stringify(VERIFY_EVENT)
  t.equal((await send('/aghanim', player, signAghanim({ secret: SECRET, body: player }))).statusCode, 200)
  const member = JSON.stringify({ OP: 1, member: MEMBER, guild: GUILD })
  t.equal((await send('/altdentifier', member, signAltdentifier({ secret: SECRET, body: member }))).statusCode, 204)
  const session = '{"session":{"id":"iss-1","status":"VERIFIED"}}'
  const headers = signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint: SESSIONS, body: session })
  t.equal((await send(SESSIONS, session, headers)).statusCode, 204)
  t.strictSame(ran.splice(0), ['altdentifier', 'session null'])
}))

t.test('a guard for a whole scope, and instances in separate scopes', async (t) => {
  const service = await startService(t)
  const other = await startService(t, { verifyToken: () => null })
  const { app } = createHost(t)
  const options = { apiKey: SERVICE_KEY, allowHttp: true }
  await app.register(humandetectPlugin, { ...options, baseUrl: service.baseUrl })
  let entered = 0
  app.register(async (scope) => {
    scope.addHook('preHandler', scope.humandetect.requireHuman({ identifier: IDENTIFIER }))
    scope.post('/guarded', () => {
      entered++
      return 'in'
    })
  })
  app.register(async (scope) => {
    await scope.register(humandetectPlugin, { ...options, baseUrl: other.baseUrl })
    const preHandler = scope.humandetect.requireHuman({ identifier: IDENTIFIER })
    scope.post('/other', { preHandler }, () => t.fail('the handler ran'))
  })
  app.post('/open', () => 'in')
  t.equal((await post(app, '/open', {})).statusCode, 200)
  t.equal((await post(app, '/guarded', { token: mint() })).statusCode, 200)
  t.equal((await post(app, '/guarded', {})).statusCode, 400)
  t.equal(entered, 1)
  t.equal((await post(app, '/other', { token: mint() })).statusCode, 403)
})

t.test('a second one in the same scope is refused', async (t) => {
  const { app } = createHost(t)
  const options = { apiKey: SERVICE_KEY, baseUrl: 'https://localhost' }
  app.register(humandetectPlugin, options)
  app.register(humandetectPlugin, options)
  await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_DEC_ALREADY_PRESENT' })
})

t.test('a name conflict with a decorator of the host is an error at startup', async (t) => {
  const { app } = createHost(t)
  app.decorateRequest('humandetect', { getter: () => null })
  app.register(humandetectPlugin, { apiKey: SERVICE_KEY, baseUrl: 'https://localhost' })
  await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_DEC_ALREADY_PRESENT' })
})

t.test('inherited options count like any other', async (t) => {
  const { app } = createHost(t)
  const options = { apiKey: SERVICE_KEY, baseUrl: 'https://localhost', path: '/inherited', handleResult () {} }
  await app.register(humandetectPlugin, Object.create(options))
  t.ok(app.hasRoute({ method: 'POST', url: '/inherited' }))
  class Options {
    apiKey = SERVICE_KEY
    baseUrl = 'https://localhost'
    get maxAge () { return Number.NaN }
  }
  const other = createHost(t)
  await t.rejects(async () => other.app.register(humandetectPlugin, new Options()), { message: /"maxAge"/ })
})

t.test('later changes of the options have no effect', async (t) => {
  const { baseUrl, asked } = await startService(t)
  const { app } = createHost(t)
  const results: string[] = []
  const options = {
    apiKey: SERVICE_KEY,
    baseUrl,
    allowHttp: true,
    now: () => Date.now(),
    maxAge: 300,
    handleResult () { results.push('first') }
  }
  await app.register(humandetectPlugin, options)
  Object.assign(options, {
    apiKey: 'another',
    baseUrl: 'https://elsewhere.example',
    allowHttp: false,
    now: () => 0,
    maxAge: 1,
    path: '/elsewhere',
    handleResult () { results.push('second') }
  })
  for (const seconds of [0, -100]) {
    const { statusCode } = await post(app, '/humandetect', { identifier: IDENTIFIER, token: mint({ timestamp: at(seconds) }) })
    t.equal(statusCode, 204)
  }
  t.strictSame(results, ['first', 'first'])
  t.equal(asked.length, 2)
})

t.test('invalid options reject ready, and are not shown', quiet(async (t) => {
  const valid = { apiKey: 'key', baseUrl: 'https://localhost' }
  const cases: [option: string, given: object, expected?: string][] = [
    ...['', ' key', 'key ', 'key\n', 'canary\nkey', 'canary,key', 'canary kéy', 5, ['canary'], undefined, null]
      .map((apiKey): [string, object] => ['apiKey', { apiKey }]),
    ...['http://localhost', 'http://canary.example', 'https://canary:secret@localhost', 'https://api.unify.id@canary',
      'https://api.unify.id\\@canary', 'canary', '', 5, 'https://localhost?canary', 'https://localhost/#canary']
      .map((baseUrl): [string, object] => ['baseUrl', { baseUrl }]),
    ['baseUrl', { baseUrl: 'http://canary.example', allowHttp: true }],
    ['allowHttp', { allowHttp: 'yes' }],
    ...[0, -1, 1.5, '3000', 2 ** 31, Number.NaN].map((timeout): [string, object] => ['timeout', { timeout }]),
    ...[0, -1, '300', 604_801, Number.NaN].map((maxAge): [string, object] => ['maxAge', { maxAge }]),
    ...[-1, '300', 604_801, Number.NaN].map((skew): [string, object] => ['skew', { skew }]),
    ['now', { now: 5 }],
    ['handleResult', { handleResult: {} }],
    ['reply', { handleResult () {}, reply: 5 }],
    ['reply', { handleResult () {}, reply: Type.String({ format: 'canary' }) }],
    ...Object.entries({ reply: Type.Object({}), path: '/humandetect', bodyLimit: 5, bodyTimeout: 5, handlerTimeout: 5 })
      .map(([option, value]): [string, object, string] => [option, { [option]: value }, 'needs "handleResult"']),
    ['path', { handleResult () {}, path: 'canary' }],
    ['prefix', { prefix: 5 }],
    ['bodyLimit', { bodyLimit: 0 }],
    ['secret', { secret: 'canary' }],
    ['tolerance', { tolerance: 300 }],
    ['onRejected', { onRejected () {} }]
  ]
  for (const [option, given, expected = ''] of cases) {
    const { app } = createHost(t)
    const options = { ...valid, ...given } as typeof valid
    const error = await app.register(humandetectPlugin, options).then(() => undefined, (error) => error)
    const message = `humandetectPlugin: option "${option}" ${expected}`
    t.match(error, { code: 'FST_VERIFICATION_INVALID_OPTION', message }, option)
    t.notMatch(String(error?.message), /canary/)
  }
}))

t.test('invalid options of a guard are refused', async (t) => {
  const { app } = createHost(t)
  await app.register(humandetectPlugin, { apiKey: 'key', baseUrl: 'https://localhost' })
  const cases: [options: unknown, expected: string][] = [
    ...[undefined, {}].map((options): [unknown, string] => [options, '"identifier" is required']),
    ...['', 5, null].map((identifier): [unknown, string] => [{ identifier }, '"identifier" must be a non-empty string or a function']),
    [{ identifier: 'a', token: 'body' }, '"token" must be a function'],
    [{ identifier: 'a', onBot: 'allow' }, '"onBot" must be one of "deny", "flag"'],
    [{ identifier: 'a', onBots: 'flag' }, '"onBots" is not known']
  ]
  for (const [options, expected] of cases) {
    t.throws(() => app.humandetect.requireHuman(options as { identifier: string }), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: `requireHuman: option ${expected}`
    })
  }
})

t.test('use of the public service is logged as a warning', async (t) => {
  const warned = async (options: object) => {
    const { app, lines } = createHost(t)
    await app.register(humandetectPlugin, { apiKey: SERVICE_KEY, ...options })
    return lines.filter(({ level }) => level === 40).length
  }
  t.equal(await warned({}), 1)
  t.equal(await warned({ baseUrl: 'https://localhost' }), 0)
})

t.test('a test fails if its log or reply shows a key, a secret, a token or a checksum', async (t) => {
  for (const [what, shown] of [
    ['nothing', ''], ['a key', SERVICE_KEY], ['a secret', TOKEN_SECRET], ['a token', mint()],
    ['a checksum', openToken({ secret: TOKEN_SECRET, token: mint() })!.checksum]
  ] as const) {
    let tidy: () => unknown = () => {}
    const { app } = createHost({ teardown: (given) => { tidy = given } }, { logger: { level: 'info' } })
    app.post('/', (request) => {
      request.log.info({ deep: [{ shown }] }, 'of the host')
      return { shown }
    })
    const replied = post(app, '/', {}).then(() => 'passes', () => 'fails')
    const expected = shown === '' ? 'passes' : 'fails'
    t.equal(await replied, expected, `${what}, in a reply`)
    t.equal(await Promise.resolve(tidy()).then(() => 'passes', () => 'fails'), expected, `${what}, in a log`)
  }
})

t.test('a refused client is not asked to retry', async (t) => {
  const { app } = await createCircle(t)
  const { statusCode, headers } = await post(app, '/signup', signup(mint({ human: false })))
  t.equal(statusCode, 403)
  t.notOk('retry-after' in headers)
})

t.test('the use of the public service is logged at startup', async (t) => {
  const { app, lines } = createHost(t)
  await app.register(humandetectPlugin, { apiKey: SERVICE_KEY })
  t.strictSame(lines.filter(({ level }) => level >= 40).map(({ level, msg, plugin }) => [level, msg, plugin]),
    [[40, 'the public service may have been shut down: set "baseUrl"', 'humandetectPlugin']])
})
