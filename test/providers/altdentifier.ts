import Fastify, { type FastifyBaseLogger } from 'fastify'
import { createHmac } from 'node:crypto'
import t from 'tap'
import { altdentifierPlugin, signAltdentifier, type AltDentifierEvent, type AltDentifierOptions } from '../../plugins/index.js'
import { GUILD, MEMBER, SECRET } from '../support/deliveries.js'
import { createHost, type Test } from '../support/host.js'
import { read } from '../support/project.js'

type Options = Partial<AltDentifierOptions>

function createServer (test: Test, options: Options = {}) {
  const { app, lines } = createHost(test)
  const calls: AltDentifierEvent[] = []
  app.register(altdentifierPlugin, { secret: SECRET, handleEvent: (event) => { calls.push(event) }, ...options })
  const deliver = (event: unknown, headers: Record<string, string> = {}) => {
    const body = typeof event === 'string' ? event : JSON.stringify(event)
    return app.inject({
      method: 'POST', url: '/altdentifier', headers: { ...signAltdentifier({ secret: SECRET, body }), ...headers }, payload: body
    })
  }
  return { app, lines, calls, deliver }
}

t.test('each known event reaches the handler as it was sent', async (t) => {
  const { calls, deliver } = createServer(t)
  const base = { member: MEMBER, guild: GUILD }
  const events = [
    { OP: 0, ...base },
    { OP: 1, ...base, method: 'overwatch' },
    { OP: 1, ...base, method: null },
    { OP: 1, ...base, method: 'a method of next year', extra: { open: true } },
    { OP: 2, ...base, method: 'reddit', reason: 'Dein Konto ist zu jung' },
    { OP: 2, ...base },
    { OP: 3, ...base, action: 'role', timeout_role: '372024042980638722' },
    { OP: 3, ...base, action: 'an action of next year' },
    { OP: 4, ...base, incorrect_account: { id: '902163637766586521', username: 'alt', discriminator: '0' } },
    { OP: 4, ...base, incorrect_account: 'alt#0001' },
    { OP: 4, ...base, incorrect_account: null },
    { OP: 4, ...base, incorrect_account: { name: 'alt' } },
    { OP: 0, member: { id: '1', name: 'Auxim' }, guild: { id: '12345678901234567890' } },
    { OP: 0, member: { id: '1', username: null, discriminator: null }, guild: { id: '2', name: null } },
    { OP: 5 },
    { OP: 5, member: 'anything', guild: 7 }
  ]
  for (const event of events) {
    const reply = await deliver(event)
    t.equal(reply.statusCode, 204, JSON.stringify(event))
    t.equal(reply.body, '')
    t.equal(reply.headers['content-type'], undefined)
  }
  t.strictSame(calls, events)
})

t.test('an unknown OP is acknowledged and logged, and does not reach the handler', async (t) => {
  const { calls, deliver, lines } = createServer(t)
  const unknown = [6, -1, 4294967296, 1e21]
  for (const OP of unknown) t.equal((await deliver({ OP, member: null })).statusCode, 204)
  t.equal(calls.length, 0)
  const told = lines.filter(({ level }) => level >= 40)
    .map(({ msg, reason, level, provider, OP }) => ({ msg, reason, level, provider, OP }))
  t.strictSame(told, unknown.map((OP) =>
    ({ msg: 'delivery accepted', reason: 'acknowledged', level: 40, provider: 'altdentifier', OP })))
})

t.test('a signed event that violates its schema is refused with path and rule, without its values', async (t) => {
  const { calls, deliver, lines } = createServer(t)
  const member = MEMBER
  const guild = GUILD
  const cases: [unknown, string][] = [
    [{ member, guild }, '/OP: Expected required property'],
    [{ OP: '1', member, guild }, '/OP: Expected integer'],
    [{ OP: 1.5, member, guild }, '/OP: Expected integer'],
    [{ op: 1, member, guild }, '/OP: Expected required property'],
    [{ OP: 1, guild }, '/member: Expected required property'],
    [{ OP: 1, member }, '/guild: Expected required property'],
    [{ OP: 1, member: 'canary', guild }, '/member: Expected object'],
    [{ OP: 1, member: { ...member, id: 66166172835385344 }, guild }, '/member/id: Expected string'],
    [{ OP: 1, member: { ...member, id: 'canary' }, guild }, "/member/id: Expected string to match '^[0-9]{1,20}$'"],
    [{ OP: 1, member: { ...member, id: '' }, guild }, "/member/id: Expected string to match '^[0-9]{1,20}$'"],
    [{ OP: 1, member, guild: { id: '1'.repeat(21) } }, "/guild/id: Expected string to match '^[0-9]{1,20}$'"],
    [{ OP: 1, member, guild: { id: '1\n' } }, "/guild/id: Expected string to match '^[0-9]{1,20}$'"],
    [{ OP: 1, member: { ...member, discriminator: 1 }, guild }, '/member/discriminator: Expected string'],
    [{ OP: 2, member, guild, reason: 5 }, '/reason: Expected string'],
    [{ OP: 1, member, guild, method: ['canary'] }, '/method: Expected string'],
    [{ OP: 2, member, guild, method: 5 }, '/method: Expected string'],
    [{ OP: 3, member, guild, action: { canary: 1 } }, '/action: Expected string'],
    [{ OP: 3, member, guild, timeout_role: 372024042980638 }, '/timeout_role: Expected string'],
    [{ OP: 0, member, guild: { id: 372024042980638 } }, '/guild/id: Expected string'],
    [{ OP: 0, member, guild: { ...guild, name: true } }, '/guild/name: Expected string'],
    [{ OP: 0, member: { ...member, name: ['canary'] }, guild }, '/member/name: Expected string'],
    [{ OP: 0, member: { ...member, username: 5 }, guild }, '/member/username: Expected string'],
    [{ OP: 4, member, guild, incorrect_account: 5 }, '/incorrect_account: Expected union value'],
    [{ OP: 4, member, guild, incorrect_account: { id: 'canary' } }, '/incorrect_account: Expected union value']
  ]
  for (const [event, message] of cases) {
    const reply = await deliver(event)
    t.strictSame(reply.json(), {
      statusCode: 400, code: 'FST_VERIFICATION_INVALID_PAYLOAD', error: 'Bad Request', message
    })
  }
  t.equal(calls.length, 0)
  t.notMatch(JSON.stringify(lines), /canary/)
})

const VECTORS = JSON.parse(read('test/fixtures/providers.json')).altdentifier

for (const vector of VECTORS.slice(0, 3)) {
  const { secret, date, digest, path } = vector
  const body = Buffer.from(vector.body_base64, 'base64')
  const overDate = vector.signature_over_date as string
  const overAll = vector.signature_over_request_target_date_digest as string
  const seconds = Date.parse(date) / 1000

  t.test(`a required Signature, made by another implementation on ${date}`, async (t) => {
    const server = createServer(t, {
      secret, path, httpSignature: 'require', keyId: 'hmac-key-1', now: () => seconds * 1000
    })
    const send = (signature: string | undefined, headers: Record<string, string> = {}) => server.app.inject({
      method: 'POST',
      url: path,
      headers: {
        'content-type': 'application/json', date, digest, ...signature !== undefined && { signature }, ...headers
      },
      payload: body
    })
    const accepted = [
      `keyId="hmac-key-1",algorithm="hmac-md5","signature"=${overDate}`,
      `keyId="hmac-key-1",algorithm="hmac-md5",signature="${overDate}"`,
      `keyId="hmac-key-1" , signature="${overDate}"`,
      `keyId="hmac-key-1",algorithm="hmac-md5",headers="date",signature="${overDate}"`,
      `signature="${overAll}",keyId="hmac-key-1",algorithm="hmac-md5",headers="(request-target) date digest"`,
      `signature="${overAll}",keyId="hmac-key-1",algorithm="hmac-md5",headers="(request-target) Date Digest"`,
      `keyId="hmac-key-1",algorithm="hmac-md5",opaque="x",signature="${overDate}"`
    ]
    for (const signature of accepted) t.equal((await send(signature)).statusCode, 204, signature)
    t.equal(server.calls.length, accepted.length)

    const refused: [string | undefined, Record<string, string>?][] = [
      [undefined],
      [`keyId="hmac-key-2",algorithm="hmac-md5",signature="${overDate}"`],
      [`algorithm="hmac-md5",signature="${overDate}"`],
      [`keyId="hmac-key-1",algorithm="hmac-sha1",signature="${overDate}"`],
      [`keyId="hmac-key-1",algorithm="none",signature="${overDate}"`],
      [`keyId="hmac-key-1",algorithm="hmac-md5",headers="",signature="${overDate}"`],
      [`keyId="hmac-key-1",algorithm="hmac-md5",headers="date date",signature="${overDate}"`],
      [`keyId="hmac-key-1",algorithm="hmac-md5",headers="(request-target) digest",signature="${overAll}"`],
      [`keyId="hmac-key-1",algorithm="hmac-md5",headers="digest date (request-target)",signature="${overAll}"`],
      [`keyId="hmac-key-1",algorithm="hmac-md5",headers="date x-missing",signature="${overDate}"`],
      [`keyId="hmac-key-1",algorithm="hmac-md5",signature="${overAll}"`],
      [`keyId="hmac-key-1",keyId="hmac-key-1",algorithm="hmac-md5",signature="${overDate}"`],
      [`keyId="hmac-key-1",algorithm="hmac-md5",signature="${overDate}","signature"="${overDate}"`],
      [`keyId="hmac-key-1",algorithm="hmac-md5",signature="${overDate.replace(/==$/, '')}"`],
      [`keyId="hmac-key-1",algorithm="hmac-md5",signature="${overDate}",`],
      [accepted[0], { date: new Date(seconds * 1000 + 1000).toUTCString() }],
      [accepted[0], { date: String(seconds) }],
      [accepted[0], { digest: `MD5=${'0'.repeat(32)}` }]
    ]
    for (const [signature, headers] of refused) {
      t.equal((await send(signature, headers)).statusCode, 403, `${signature} ${JSON.stringify(headers)}`)
    }
    t.equal(server.calls.length, accepted.length, 'no handler ran for those')
  })

  t.test(`the tolerances apply to a signed Date of ${date}`, async (t) => {
    let ahead = 0
    const server = createServer(t, { secret, path, httpSignature: 'require', now: () => (seconds + ahead) * 1000 })
    const signature = `keyId="any",signature="${overDate}"`
    const headers = { 'content-type': 'application/json', date, digest, signature }
    for (const [seconds, status] of [[0, 204], [300, 204], [301, 403], [-60, 204], [-61, 403]] as const) {
      ahead = seconds
      const reply = await server.app.inject({ method: 'POST', url: path, headers, payload: body })
      t.equal(reply.statusCode, status, `${seconds} s`)
    }
  })
}

t.test('a good Signature never replaces the Digest', async (t) => {
  const [{ secret, date, path, digest, ...vector }] = VECTORS
  const server = createServer(t, { secret, path, httpSignature: 'require', now: () => Date.parse(date) })
  const headers = { 'content-type': 'application/json', date, signature: `keyId="k",signature="${vector.signature_over_date}"` }
  const payload = Buffer.from(vector.body_base64, 'base64')
  t.equal((await server.app.inject({ method: 'POST', url: path, headers, payload })).statusCode, 403)
  const reply = await server.app.inject({ method: 'POST', url: path, headers: { ...headers, digest }, payload: `${payload} ` })
  t.equal(reply.statusCode, 403)
  t.equal(server.calls.length, 0)
})

t.test('an ignored Signature changes nothing, good or bad', async (t) => {
  const { calls, deliver } = createServer(t)
  t.equal((await deliver({ OP: 5 }, { signature: 'nonsense', date: 'nonsense' })).statusCode, 204)
  t.equal(calls.length, 1)
})

t.test('a clock that throws is a failure with its own reason, wherever the secret comes from', async (t) => {
  const now = () => { throw new Error('canary') }
  for (const secret of [SECRET, () => SECRET]) {
    const { calls, deliver, lines } = createServer(t, { secret, now, httpSignature: 'require' })
    const date = 'Tue, 22 Sep 2026 00:00:00 GMT'
    const signature = `keyId="k",signature="${createHmac('md5', SECRET).update(`date: ${date}`).digest('base64')}"`
    const reply = await deliver({ OP: 5 }, { date, signature })
    t.equal(reply.statusCode, 500)
    t.equal(reply.json().code, 'FST_VERIFICATION_FAILED')
    const told = lines.filter(({ level }) => level >= 40)
    t.match(told, [{ reason: 'verification_failed', failure: { type: 'Error', stack: String } }])
    t.equal(told.length, 1)
    t.equal(calls.length, 0)
  }
})

t.test('a log that throws does not prevent a server with a weak secret from starting', async (t) => {
  const quiet = () => {}
  const loggerInstance = {
    level: 'info',
    fatal: quiet,
    error: quiet,
    info: quiet,
    debug: quiet,
    trace: quiet,
    silent: quiet,
    warn () { throw new Error('canary') },
    child: () => loggerInstance
  } as unknown as FastifyBaseLogger
  const app = Fastify({ loggerInstance })
  t.teardown(() => app.close())
  app.register(altdentifierPlugin, { secret: 'weak', allowWeakSecret: true, handleEvent () {} })
  await app.ready()
  t.ok(app.hasRoute({ method: 'POST', url: '/altdentifier' }))
})
