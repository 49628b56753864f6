import { Type } from '@sinclair/typebox'
import t from 'tap'
import {
  identityValidationOptions, identityValidationPlugin, signIdentityValidation, type IdentityValidationOptions
} from '../../plugins/index.js'
import { API_KEY, API_SECRET, NOW, now, SESSIONS } from '../support/deliveries.js'
import { createHost, type Test } from '../support/host.js'

const FILES = '/identity-validation/required-files'
const OTHER_SECRET = Buffer.alloc(32, 7).toString('base64')
const THIRD_SECRET = Buffer.alloc(32, 8).toString('base64')

interface Sent { url?: string, apiKey?: string, secret?: string, endpoint?: string, timestamp?: number }

function createServer (test: Test, options: Partial<IdentityValidationOptions> = {}) {
  const { app, lines } = createHost(test)
  const calls: [string, unknown][] = []
  app.register(identityValidationPlugin, {
    apiKeys: { [API_KEY]: API_SECRET },
    now,
    handleSession: (notification) => { calls.push(['session', notification]) },
    handleRequiredFiles: (notification) => { calls.push(['files', notification]) },
    ...options
  })
  const deliver = (notification: unknown, sent: Sent = {}) => {
    const { url = SESSIONS, apiKey = API_KEY, secret = API_SECRET, endpoint = url, timestamp = NOW } = sent
    const body = JSON.stringify(notification)
    const headers = signIdentityValidation({ apiKey, secret, endpoint, body, timestamp })
    return app.inject({ method: 'POST', url, headers, payload: body })
  }
  return { app, lines, calls, deliver }
}

const SESSION = {
  event_id: 'identity-session-status-changed', session: { id: 'iss-1', status: 'VERIFIED' }, idempotency_key: 'key-1'
}

t.test('each of the two notifications has its own route and handler', async (t) => {
  const { calls, deliver } = createServer(t)
  const session = await deliver(SESSION)
  t.equal(session.statusCode, 204)
  t.equal(session.body, '')
  t.equal((await deliver({ files: ['id_front'] }, { url: FILES })).statusCode, 204)
  t.strictSame(calls, [['session', SESSION], ['files', { files: ['id_front'] }]])
})

t.test('a route exists only with its handler', async (t) => {
  const onlySessions = createServer(t, { handleRequiredFiles: undefined as never })
  t.equal((await onlySessions.deliver({}, { url: FILES })).statusCode, 404)
  t.equal((await onlySessions.deliver({})).statusCode, 204)
  const onlyFiles = createServer(t, { handleSession: undefined as never })
  t.equal((await onlyFiles.deliver({})).statusCode, 404)
  t.equal((await onlyFiles.deliver({}, { url: FILES })).statusCode, 204)
})

t.test('a delivery for one route is refused on the other', async (t) => {
  const { calls, deliver } = createServer(t)
  t.equal((await deliver(SESSION, { url: FILES, endpoint: SESSIONS })).statusCode, 403)
  t.equal((await deliver(SESSION, { url: SESSIONS, endpoint: FILES })).statusCode, 403)
  t.strictSame(calls, [])
})

t.test('the endpoint is the public one if a proxy rewrites the path', async (t) => {
  const endpoint = '/kyc/hooks?source=identity'
  const { deliver } = createServer(t, { endpoints: { sessions: endpoint } })
  t.equal((await deliver(SESSION, { endpoint })).statusCode, 204)
  t.equal((await deliver(SESSION)).statusCode, 403, 'the path that the server sees is not the public one')
  t.equal((await deliver(SESSION, { url: FILES })).statusCode, 204, 'the other route keeps its default')
})

t.test('if the server itself rewrites its URLs, the endpoint is the configured one, too', async (t) => {
  const { app } = createHost(t, { rewriteUrl: ({ url = '' }) => url.replace('/public', '') })
  const calls: unknown[] = []
  app.register(identityValidationPlugin, {
    apiKeys: { [API_KEY]: API_SECRET }, now, handleSession: (session) => { calls.push(session) }
  })
  const body = JSON.stringify(SESSION)
  for (const [endpoint, status] of [[SESSIONS, 204], [`/public${SESSIONS}`, 403]] as const) {
    const headers = signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint, body, timestamp: NOW })
    for (const url of [SESSIONS, `/public${SESSIONS}`]) {
      t.equal((await app.inject({ method: 'POST', url, headers, payload: body })).statusCode, status, `${endpoint} at ${url}`)
    }
  }
  t.equal(calls.length, 1, 'a delivery to the other URL is a copy')
})

t.test('paths move the routes, and the expected endpoints with them', async (t) => {
  const { deliver } = createServer(t, { paths: { sessions: '/kyc', requiredFiles: '/kyc-files' } })
  t.equal((await deliver(SESSION, { url: '/kyc' })).statusCode, 204)
  t.equal((await deliver({}, { url: '/kyc-files' })).statusCode, 204)
  t.equal((await deliver(SESSION)).statusCode, 404)
})

t.test('the prefix is part of the expected endpoint', async (t) => {
  const { app, deliver } = createServer(t)
  app.register(identityValidationPlugin, { prefix: '/v2', apiKeys: { [API_KEY]: API_SECRET }, now, handleSession () {} })
  t.equal((await deliver(SESSION, { url: `/v2${SESSIONS}` })).statusCode, 204)
  t.equal((await deliver(SESSION, { url: `/v2${SESSIONS}`, endpoint: SESSIONS })).statusCode, 403)
})

t.test('a path that clients never send unchanged requires its endpoint as an option', async (t) => {
  const paths = ['/:tenant/kyc', '/kyc/*', '/kyc{b']
  for (const sessions of paths) {
    const { app } = createServer(t, { paths: { sessions } })
    await t.rejects(async () => { await app.ready() }, { message: /option "endpoints\.sessions" is required/ }, sessions)
  }
  const { app } = createServer(t, { prefix: '/kyc', paths: { sessions: '/' } })
  await t.rejects(async () => { await app.ready() }, { message: /endpoints/ }, 'this one is served with and without a slash')
  const { deliver } = createServer(t, { paths: { sessions: '/:tenant/kyc' }, endpoints: { sessions: '/kyc' } })
  t.equal((await deliver(SESSION, { url: '/a/kyc', endpoint: '/kyc' })).statusCode, 204)
})

t.test('inherited options are read like own ones', async (t) => {
  const { app } = createHost(t)
  const own = { apiKeys: { [API_KEY]: API_SECRET }, now, handleSession () { t.fail('it is stale') } }
  app.register(identityValidationPlugin, Object.assign(Object.create({ tolerance: 10 }), own))
  const body = JSON.stringify(SESSION)
  const headers = signIdentityValidation({
    apiKey: API_KEY, secret: API_SECRET, endpoint: SESSIONS, body, timestamp: NOW - 11
  })
  t.equal((await app.inject({ method: 'POST', url: SESSIONS, headers, payload: body })).statusCode, 403)
})

t.test('several pairs are valid, each key with its own secrets, from a record, a Map or a function', async (t) => {
  const record = { [API_KEY]: API_SECRET, second: [OTHER_SECRET, THIRD_SECRET] }
  const asked: string[] = []
  const rings: IdentityValidationOptions['apiKeys'][] = [
    record,
    new Map(Object.entries(record)),
    (apiKey, request) => {
      asked.push(`${apiKey} ${request.url}`)
      return new Map(Object.entries(record)).get(apiKey)
    },
    async (apiKey) => new Map(Object.entries(record)).get(apiKey)
  ]
  for (const apiKeys of rings) {
    const { calls, deliver } = createServer(t, { apiKeys })
    t.equal((await deliver(SESSION)).statusCode, 204)
    t.equal((await deliver(SESSION, { apiKey: 'second', secret: OTHER_SECRET })).statusCode, 204)
    const another = { ...SESSION, idempotency_key: 'key-2' }
    t.equal((await deliver(another, { apiKey: 'second', secret: THIRD_SECRET })).statusCode, 204)
    t.equal((await deliver(SESSION, { apiKey: 'second' })).statusCode, 403, 'the secret of another key')
    t.equal((await deliver(SESSION, { apiKey: 'third' })).statusCode, 403, 'an unknown key')
    t.equal(calls.length, 3)
  }
  t.equal(asked.length, 5)
  t.equal(asked[0], `${API_KEY} ${SESSIONS}`)
})

t.test('the schemas refuse as little as possible', async (t) => {
  const { calls, deliver } = createServer(t)
  const taken = [
    {}, { session: null }, { session: {} }, { session: { id: 'iss-1', status: 'A STATUS OF NEXT YEAR', more: [1] } },
    { event_id: null, idempotency_key: '' }, { anything: { at: 'all' } }
  ]
  for (const body of taken) t.equal((await deliver(body)).statusCode, 204, JSON.stringify(body))
  const refused: [object, string][] = [
    [{ event_id: 1 }, '/event_id: Expected string'],
    [{ idempotency_key: {} }, '/idempotency_key: Expected string'],
    [{ session: 'iss-1' }, '/session: Expected object'],
    [{ session: { id: 1 } }, '/session/id: Expected string'],
    [{ session: { status: true } }, '/session/status: Expected string']
  ]
  for (const [body, message] of refused) {
    t.match((await deliver(body)).json(), { statusCode: 400, code: 'FST_VERIFICATION_INVALID_PAYLOAD', message })
  }
  t.equal((await deliver({ session: 'a text' }, { url: FILES })).statusCode, 204, 'the schema of the other body is not public')
  t.equal(calls.length, taken.length + 1)
})

t.test('stricter schemas of the user replace the open ones, one by one', async (t) => {
  const { app } = createHost(t)
  const statuses: string[] = []
  app.register(identityValidationPlugin, identityValidationOptions({
    apiKeys: { [API_KEY]: API_SECRET },
    now,
    schemas: { sessions: Type.Object({ session: Type.Object({ id: Type.String(), status: Type.Literal('VERIFIED') }) }) },
    handleSession: ({ session }) => { statuses.push(session.status) },
    handleRequiredFiles: () => {}
  }))
  const deliver = (notification: object, endpoint = SESSIONS) => {
    const body = JSON.stringify(notification)
    const headers = signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint, body, timestamp: NOW })
    return app.inject({ method: 'POST', url: endpoint, headers, payload: body })
  }
  t.equal((await deliver(SESSION)).statusCode, 204)
  t.equal((await deliver({ session: { id: 'iss-1', status: 'FAILED' } })).statusCode, 400)
  t.equal((await deliver({}, FILES)).statusCode, 204)
  t.strictSame(statuses, ['VERIFIED'])
})
