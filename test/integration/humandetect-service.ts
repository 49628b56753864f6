import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import t, { type Test as TapTest } from 'tap'
import { exchange, expectNoCanary, rawRequest, statusOf, type Test } from '../support/host.js'
import { createGuardedHost, IDENTIFIER, mint, post, SERVICE_KEY, type Reply } from '../support/humandetect.js'
import { bundle, PLAIN_NODE } from '../support/programs.js'
import {
  breakOff, drip, endless, json, JSON_TYPE, reply, startUpstream, verdict, type Answer
} from '../support/upstream.js'
import { until } from '../support/waiting.js'

const TIMEOUT = 400 // ms
const PATIENCE = 3000 // ms, for tests that are not about time
const GRACE = 500 // ms
const LIMIT = 65_536 // bytes
const CLOSED_PORT = 'http://127.0.0.1:1'
const UNAVAILABLE = '{"statusCode":503,"code":"FST_HUMANDETECT_UNAVAILABLE","error":"Service Unavailable",' +
  '"message":"Token verification is unavailable"}'

t.jobs = 4 // simultaneous tests: most of them wait
const ALONE = { buffered: false } // runs a test with much work alone: it would delay the others

type Host = Awaited<ReturnType<typeof createGuardedHost>>

async function startHost (test: Test, baseUrl: string, timeout = PATIENCE): Promise<Host> {
  const host = await createGuardedHost(test, baseUrl, { timeout })
  host.app.get('/elsewhere', async () => ({ status: 'well' }))
  await host.app.listen({ port: 0, host: '127.0.0.1' })
  return host
}

const signUp = ({ app }: Host, token = mint()) => post(app, '/signup', { email: IDENTIFIER, token })

async function timed<T> (task: () => Promise<T>): Promise<{ result: T, elapsed: number }> {
  const start = performance.now()
  const result = await task()
  return { result, elapsed: performance.now() - start }
}

/** Runs the task for all items, five at a time, so that none is delayed by the others. */
async function inTurns<T> (items: readonly T[], task: (item: T) => Promise<void>): Promise<void> {
  const left = items.values()
  await Promise.all([...Array(5)].map(async () => { for (const item of left) await task(item) }))
}

function assertUnavailable (t: TapTest, { statusCode, headers, body }: Reply, name: string): void {
  t.strictSame([statusCode, headers['retry-after'], body], [503, '5', UNAVAILABLE], name)
}

/** Returns the log lines about tokens that could not be verified. */
const reasons = ({ lines }: Host) => lines.filter(({ reason }) => reason === 'service_unavailable')

const NO_JSON = { problem: '/: Expected object' }
const TIMED_OUT = { failure: { type: 'TimeoutError' } }
const failure = (code: string) => ({ failure: { code } })
const problem = (problem: RegExp) => ({ problem })
const TOO_LARGE = failure('UND_ERR_RES_EXCEEDED_MAX_SIZE')
const NO_HTTP = { failure: { type: 'HTTPParserError' } }
const BROKEN = { failure: { code: /^(?:UND_ERR_SOCKET|ECONNRESET|EPIPE)$/ } }

interface Row {
  name: string
  answers: Answer[]
  /** Expected fields of the log line. */
  why: object
  /** Number of requests that arrive. */
  requests: number
  /** Number of connections that stay open for reuse. */
  kept?: number
}

const row = (name: string, answer: Answer, why: object, requests = 1): Row =>
  ({ name, answers: [answer], why, requests })
const without = (text: string, last: number) => Buffer.from(text.slice(0, text.length - last))
const untilTheEnd = (version: string, body: string) => `HTTP/${version} 200 OK\r\n${JSON_TYPE}\r\n\r\n${body}`
const chunkedHead = (...fields: string[]) =>
  ['HTTP/1.1 200 OK', JSON_TYPE, 'transfer-encoding: chunked', ...fields, '', ''].join('\r\n')
const chunk = (part: string) => `${Buffer.byteLength(part).toString(16)}\r\n${part}\r\n`

// Four tests with strict bounds and little work, so they run at the same time as each other only: ALONE comes next.

t.test('a service has three seconds by default', async (t) => {
  const upstream = await startUpstream(t, [() => {}])
  const host = await createGuardedHost(t, upstream.baseUrl)
  await host.app.ready()
  const { result, elapsed } = await timed(() => signUp(host))
  assertUnavailable(t, result, 'no answer')
  t.ok(elapsed > 2990 && elapsed < 3000 + GRACE, `${elapsed} ms`)
})

t.test('a second attempt has the remaining time', async (t) => {
  const upstream = await startUpstream(t, [(socket) => { setTimeout(() => socket.write(reply(500)), 850) }, () => {}])
  const host = await startHost(t, upstream.baseUrl, 1000)
  const { result, elapsed } = await timed(() => signUp(host))
  assertUnavailable(t, result, 'late')
  t.ok(elapsed > 990 && elapsed < 1000 + GRACE, `${elapsed} ms`)
  t.ok(upstream.asked.length <= 2)
})

t.test('close() waits for a call no longer than its timeout', async (t) => {
  const upstream = await startUpstream(t, [() => {}])
  const host = await startHost(t, upstream.baseUrl, TIMEOUT)
  const waiting = signUp(host)
  await until(() => upstream.asked.length === 1)
  const { elapsed } = await timed(() => host.app.close())
  t.ok(elapsed < TIMEOUT + 1000, `${elapsed} ms`)
  assertUnavailable(t, await waiting, 'closed')
  t.strictSame(host.signedUp, [])
  await until(() => upstream.open.size === 0)
})

t.test('a service that cannot be reached is called twice at most', async (t) => {
  const refused = await startHost(t, CLOSED_PORT, TIMEOUT)
  const { result, elapsed } = await timed(() => signUp(refused))
  assertUnavailable(t, result, 'refused')
  t.ok(elapsed < TIMEOUT + GRACE)
  t.match(reasons(refused), [failure('ECONNREFUSED')])
  t.strictSame(refused.signedUp, [])

  const greeted = await startUpstream(t, [], (socket) => { socket.resetAndDestroy() })
  const host = await startHost(t, greeted.baseUrl)
  assertUnavailable(t, await signUp(host), 'reset at once')
  t.equal(greeted.connections, 2)
  t.match(reasons(host), [BROKEN])
  t.strictSame(host.signedUp, [])
})

t.test('a service that does not answer in time is unavailable', ALONE, async (t) => {
  const whole = json(verdict())
  const rows = [
    row('a black hole', () => {}, TIMED_OUT),
    row('a byte of the body at a time', drip(whole, whole.indexOf('\r\n\r\n') + 4), TIMED_OUT),
    row('a byte of the head at a time', drip(whole, 0), TIMED_OUT),
    row('a head without its body', whole.subarray(0, whole.indexOf('{')), TIMED_OUT),
    row('all but the last byte', whole.subarray(0, -1), TIMED_OUT),
    row('chunks without an end', chunkedHead() + chunk(verdict()), TIMED_OUT),
    row('endless small chunks', endless(chunkedHead(), chunk(' '), 10), TIMED_OUT),
    row('an endless chunk extension', endless(`${chunkedHead()}1;`, 'x'.repeat(1000), 10), TIMED_OUT),
    row('a transfer coding behind the chunks',
      `HTTP/1.1 200 OK\r\n${JSON_TYPE}\r\ntransfer-encoding: chunked, gzip\r\n\r\n${chunk(verdict())}0\r\n\r\n`, TIMED_OUT),
    row('endless early hints', endless('', reply('103 Early Hints', '', 'link: </x>'), 10), TIMED_OUT),
    row('a black hole behind a 500', () => {}, TIMED_OUT, 2),
    row('a black hole behind a reset', () => {}, TIMED_OUT, 2)
  ]
  rows.at(-2)!.answers.unshift(reply(500))
  rows.at(-2)!.kept = 1
  rows.at(-1)!.answers.unshift((socket) => { socket.resetAndDestroy() })
  await Promise.all(rows.map(async ({ name, answers, why, requests, kept = 0 }) => {
    const upstream = await startUpstream(t, answers)
    const host = await startHost(t, upstream.baseUrl, TIMEOUT)
    const { result, elapsed } = await timed(() => signUp(host))
    assertUnavailable(t, result, name)
    t.ok(elapsed > TIMEOUT - 10 && elapsed < TIMEOUT + GRACE, `${name}: ${elapsed} ms`)
    t.match(reasons(host), [why], name)
    t.equal(upstream.asked.length, requests, name)
    t.strictSame(host.signedUp, [], name)
    await until(() => upstream.used.size === kept)
  }))
})

t.test('no redirect is followed', async (t) => {
  const elsewhere = await startUpstream(t, [json(verdict())])
  await inTurns([300, 301, 302, 303, 305, 307, 308], async (statusCode) => {
    for (const location of [`${elsewhere.baseUrl}/v1/humandetect/verify`, `//127.0.0.1:${elsewhere.port}/`, '/']) {
      const upstream = await startUpstream(t, [reply(statusCode, verdict(), JSON_TYPE, `location: ${location}`)])
      const host = await startHost(t, upstream.baseUrl, TIMEOUT)
      assertUnavailable(t, await signUp(host), `${statusCode} to ${location}`)
      t.match(reasons(host), [{ serviceStatus: statusCode }])
      t.equal(upstream.asked.length, 1)
      t.strictSame(host.signedUp, [])
    }
  })
  t.equal(elsewhere.connections, 0)
})

t.test('a good reply admits, however it arrives', async (t) => {
  const body = () => verdict()
  const rows: [name: string, answers: Answer[]][] = [
    ['as usual', [json(body())]],
    ['without a type', [reply(200, body())]],
    ['with a charset', [reply(200, body(), 'content-type: application/json; charset=utf-8')]],
    ['in capitals', [reply(200, body(), 'Content-Type: Application/JSON;Charset=UTF-8')]],
    ['not encoded, as its header says', [reply(200, body(), JSON_TYPE, 'content-encoding: identity')]],
    ['with whitespace around', [json(`\r\n\t ${body()}\n`)]],
    ['with more than is known', [json(verdict({ score: 0.9, nested: { valid: false } }))]],
    ['by the clock of a phone', [json(verdict({ timestamp: new Date().toISOString().replace('Z', '-0000') }))]],
    ['with the longest checksum', [json(verdict({ checksum: 'canary'.padEnd(512, '1') }))]],
    ['of 65,536 bytes', [json(body().padEnd(LIMIT))]],
    ['of 65,536 bytes in a field', [json(body().replace('{', `{"x":"${'x'.repeat(LIMIT - body().length - 7)}",`))]],
    ['in chunks of 65,536 bytes in all', [[chunkedHead(), ...body().padEnd(LIMIT).match(/[^]{1024}/g)!.map(chunk), '0\r\n\r\n'].join('')]],
    ['in chunks with a trailer', [`${chunkedHead('trailer: x')}${chunk(body())}0\r\nx: y\r\n\r\n`]],
    ['in HTTP/1.0, until the end', [breakOff(untilTheEnd('1.0', body()), 'end')]],
    ['until the end', [breakOff(untilTheEnd('1.1', body()), 'end')]],
    ['until a reset', [breakOff(untilTheEnd('1.1', body()), 'resetAndDestroy')]], // its JSON shows that it is complete
    ['and the end', [breakOff(json(body()), 'end')]],
    ['and a reset', [breakOff(json(body()), 'resetAndDestroy')]],
    ['in pieces', [drip(json(body()), json(body()).length - 5)]],
    ['after early hints', [Buffer.concat([reply('103 Early Hints', '', 'link: </x>'), json(body())])]],
    ['after several', [Buffer.concat([reply('102 Processing'), reply('103 Early Hints'), json(body())])]],
    ['after a 500', [reply(500, 'no'), json(body())]],
    ['after a 503 that is a verdict', [json(body(), 503), json(body())]],
    ['after a reset', [(socket) => { socket.resetAndDestroy() }, json(body())]],
    ['after half a reply', [breakOff(json(body()).subarray(0, -9), 'end'), json(body())]],
    ['after what is not HTTP', ['nothing of the kind\r\n', json(body())]]
  ]
  await inTurns(rows, async ([name, answers]) => {
    const upstream = await startUpstream(t, answers)
    const host = await startHost(t, upstream.baseUrl)
    t.equal((await signUp(host)).statusCode, 201, name)
    t.strictSame(Object.keys(host.signedUp[0] ?? {}), ['valid', 'identifier', 'timestamp', 'checksum', 'version'], name)
    t.equal(upstream.asked.length, answers.length, name)
    t.equal(new Set(upstream.asked.map(({ body }) => body)).size, 1, `${name}: the same call`)
    t.strictSame(reasons(host), [], name)
  })
})

t.test('only a 400 with one of two codes means that a token is forged', async (t) => {
  await inTurns([
    json('{"code":"badRequest","message":"canary"}', 400), json('{"code":"invalidRequest"}', 400)
  ], async (answer) => {
    const upstream = await startUpstream(t, [answer])
    const host = await startHost(t, upstream.baseUrl)
    const { statusCode, headers, json: read, body } = await signUp(host)
    t.equal(statusCode, 403)
    t.equal(read().code, 'FST_HUMANDETECT_NOT_HUMAN')
    t.notMatch(body, /canary|html/)
    t.equal(headers['retry-after'], undefined)
    t.equal(upstream.asked.length, 1)
    t.strictSame(host.signedUp, [])
  })
})

t.test('any other 400 says nothing about the token', async (t) => {
  await inTurns([
    json('{"code":"unauthorized","message":"canary"}', 400), json('{"code":["badRequest"]}', 400), json(verdict(), 400),
    reply(400, '<html>Bad Request</html>', 'content-type: text/html'), reply(400)
  ], async (answer) => {
    const upstream = await startUpstream(t, [answer])
    const host = await startHost(t, upstream.baseUrl)
    assertUnavailable(t, await signUp(host), String(answer))
    t.match(reasons(host), [{ serviceStatus: 400 }])
    t.equal(upstream.asked.length, 1)
    t.strictSame(host.signedUp, [])
  })
})

t.test('the service receives the token and the key, and nothing of the client', async (t) => {
  for (const [prefix, path] of [
    ['', '/v1/humandetect/verify'], ['/', '/v1/humandetect/verify'], ['/proxy', '/proxy/v1/humandetect/verify'],
    ['/proxy/', '/proxy/v1/humandetect/verify']
  ]) {
    const upstream = await startUpstream(t, [json(verdict())])
    const host = await startHost(t, `${upstream.baseUrl}${prefix}`)
    const token = mint()
    const body = JSON.stringify({ token, email: IDENTIFIER, password: 'of the client' })
    const { text } = await exchange(host.app, [rawRequest('/signup?x=of-the-client', [
      ['content-type', 'application/json; charset=utf-8'], ['content-length', String(Buffer.byteLength(body))],
      ['connection', 'close'], ['x-api-key', 'of-the-client'], ['cookie', 'session=of-the-client'],
      ['authorization', 'Bearer of-the-client'], ['accept-encoding', 'gzip, br'], ['x-forwarded-for', '203.0.113.7'],
      ['x-request-id', 'of-the-client'], ['traceparent', '00-of-the-client'], ['user-agent', 'of-the-client'],
      ['accept', 'text/html']
    ], body)])
    expectNoCanary(text)
    t.equal(statusOf(text), 201)
    const sent = JSON.stringify({ token })
    t.strictSame(upstream.asked.map(({ headers, ...rest }) => ({ ...rest, headers: headers.toSorted() })), [{
      line: `POST ${path} HTTP/1.1`,
      body: sent,
      headers: [
        ['accept', 'application/json'],
        ['accept-encoding', 'identity'],
        ['connection', 'keep-alive'],
        ['content-length', String(Buffer.byteLength(sent))],
        ['content-type', 'application/json'],
        ['host', `127.0.0.1:${upstream.port}`],
        ['x-api-key', SERVICE_KEY]
      ]
    }])
  }
})

t.test('a token is sent as JSON, whatever it contains', async (t) => {
  const upstream = await startUpstream(t, [(socket) => { socket.write(json(verdict())) }])
  const host = await startHost(t, upstream.baseUrl)
  const tokens = ['"},{"', '\r\n\r\nGET / HTTP/1.1\r\n\r\n', '\u0000', '\uD800', 'Zo\u00eb \u{1F600}', 'x'.repeat(8192), '__proto__']
  for (const token of tokens) t.equal((await signUp(host, token)).statusCode, 201, JSON.stringify(token).slice(0, 30))
  t.strictSame(upstream.asked.map(({ body }) => JSON.parse(body)), tokens.map((token) => ({ token })))
  t.equal(upstream.asked.length, tokens.length)
})

t.test('one connection serves one call after the other', async (t) => {
  const upstream = await startUpstream(t, [(socket) => { socket.write(json(verdict())) }])
  const host = await startHost(t, upstream.baseUrl)
  for (let count = 0; count < 5; count++) t.equal((await signUp(host)).statusCode, 201)
  t.equal(upstream.connections, 1)
  t.equal(upstream.asked.length, 5)
  t.equal(host.signedUp.length, 5)
})

t.test('a connection that was closed while idle is not a failure', async (t) => {
  for (const how of ['end', 'resetAndDestroy'] as const) {
    for (const pause of [30, 0]) {
      const upstream = await startUpstream(t, [(socket) => {
        socket.write(json(verdict()), () => setTimeout(() => socket[how](), 5))
      }])
      const host = await startHost(t, upstream.baseUrl)
      for (let count = 0; count < 5; count++) {
        t.equal((await signUp(host)).statusCode, 201, `${how} ${pause}`)
        await new Promise((resolve) => setTimeout(resolve, pause))
      }
      t.equal(host.signedUp.length, 5)
      t.ok(upstream.asked.length <= 10)
    }
  }
  // The service closes the connection while it is being reused.
  const good: Answer = (socket) => { socket.write(json(verdict())) }
  for (const how of ['end', 'resetAndDestroy'] as const) {
    const upstream = await startUpstream(t, [good, (socket) => { socket[how]() }, good])
    const host = await startHost(t, upstream.baseUrl)
    for (let count = 0; count < 2; count++) t.equal((await signUp(host)).statusCode, 201)
    t.equal(upstream.asked.length, 3)
    t.equal(upstream.connections, 2)
  }
})

t.test('an unsolicited reply does not answer the next call', async (t) => {
  const unasked = verdict({ identifier: 'unasked' })
  const upstream = await startUpstream(t, [
    Buffer.concat([json(verdict()), json(unasked)]), (socket) => { socket.write(json(verdict())) }
  ])
  const host = await startHost(t, upstream.baseUrl)
  for (let count = 0; count < 3; count++) t.equal((await signUp(host)).statusCode, 201)
  t.equal(host.signedUp.length, 3)
  t.equal(upstream.asked.length, 3)
})

t.test('a late reply is not the answer to the next call', async (t) => {
  const late = json(verdict({ identifier: 'late' }))
  const upstream = await startUpstream(t, [
    (socket) => { setTimeout(() => socket.write(late), TIMEOUT + 50) },
    (socket) => { setTimeout(() => socket.write(json(verdict())), 150) }
  ])
  const host = await startHost(t, upstream.baseUrl, TIMEOUT)
  assertUnavailable(t, await signUp(host), 'late')
  t.equal((await signUp(host)).statusCode, 201)
  t.equal(upstream.asked.length, 2)
  t.equal(host.signedUp.length, 1)
})

t.test('connections that have all been closed are not a failure', async (t) => {
  const answered = new WeakSet<Socket>()
  const upstream = await startUpstream(t, [(socket) => {
    if (answered.has(socket)) socket.resetAndDestroy()
    else socket.write(json(verdict()))
    answered.add(socket)
  }])
  const host = await startHost(t, upstream.baseUrl)
  const atOnce = await Promise.all([...Array(20)].map(() => signUp(host)))
  t.strictSame(new Set(atOnce.map(({ statusCode }) => statusCode)), new Set([201]))
  for (let count = 0; count < 10; count++) t.equal((await signUp(host)).statusCode, 201)
})

t.test('a service that is back is called again', async (t) => {
  const upstream = await startUpstream(t, [() => {}, json('['), reply(503), reply(503), json(verdict())])
  const host = await startHost(t, upstream.baseUrl, TIMEOUT)
  const statuses: number[] = []
  for (let count = 0; count < 4; count++) statuses.push((await signUp(host)).statusCode)
  t.strictSame(statuses, [503, 503, 503, 201])
})

t.test('after close() the service is not called', async (t) => {
  const upstream = await startUpstream(t, [(socket) => { socket.write(json(verdict())) }])
  const host = await startHost(t, upstream.baseUrl)
  const verify = () => host.app.humandetect.verify(mint(), { identifier: IDENTIFIER })
  t.equal((await verify()).identifier, IDENTIFIER)
  await host.app.close()
  await t.rejects(verify(), { code: 'FST_HUMANDETECT_UNAVAILABLE', statusCode: 503 })
  t.equal(upstream.asked.length, 1)
})

/** Replies of the service that admit nobody. */
function hostileReplies (): Row[] {
  const body = verdict()
  const whole = json(body)
  const half = whole.subarray(0, whole.indexOf('{') + body.length / 2)
  const bomb = Buffer.alloc(64 * 1024 * 1024)
  const zipped = gzipSync(bomb)
  const brotli = brotliCompressSync(bomb, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })
  const encoded = (encoding: string, bytes: Buffer) => reply(200, bytes, JSON_TYPE, `content-encoding: ${encoding}`)
  const longChecksum = 'canary-'.padEnd(513, '0')

  return [
    row('reset before the reply', (socket) => { socket.resetAndDestroy() }, BROKEN, 2),
    row('closed before the reply', (socket) => { socket.end() }, BROKEN, 2),
    row('reset amid the reply', breakOff(half, 'resetAndDestroy'), BROKEN, 2),
    row('closed amid the reply', breakOff(half, 'end'), BROKEN, 2),
    row('closed amid the head', breakOff(whole.subarray(0, 20), 'end'), BROKEN, 2),
    row('closed amid the chunks', breakOff(chunkedHead() + chunk(body), 'end'), BROKEN, 2),
    row('half of the body until the end', breakOff(without(untilTheEnd('1.1', body), 20), 'end'), NO_JSON),
    row('half of the body until the end, in HTTP/1.0', breakOff(without(untilTheEnd('1.0', body), 20), 'end'), NO_JSON),
    row('half of the body until a reset', breakOff(without(untilTheEnd('1.1', body), 20), 'resetAndDestroy'), NO_JSON),

    row('HTML', reply(200, '<html>Welcome</html>', 'content-type: text/html'), NO_JSON),
    row('HTML declared as JSON', json('<html>Welcome</html>'), NO_JSON),
    row('JSON declared as HTML', reply(200, body, 'content-type: text/html'), NO_JSON),
    row('JSON declared as text/plain', reply(200, body, 'content-type: text/plain; x=application/json'), NO_JSON),
    row('JSON declared as a problem', reply(200, body, 'content-type: application/problem+json'), NO_JSON),
    row('JSON of no type', reply(200, body, 'content-type: '), NO_JSON),
    row('two content types', reply(200, body, JSON_TYPE, 'content-type: text/html'), NO_JSON),
    row('no body', json(''), NO_JSON),
    row('neither body nor type', reply(200), NO_JSON),
    row('JSON that ends early', json(without(body, 1)), NO_JSON),
    row('JSON that goes on', json(`${body}{}`), NO_JSON),
    row('an array', json(`[${body}]`), NO_JSON),
    row('an empty object', json('{}'), problem(/^\/valid: /)),
    row('a wrapped verdict', json(`{"result":${body}}`), problem(/^\/valid: /)),
    ...['null', 'true', '1', '""', JSON.stringify(body)].map((text) => row(`the root ${text}`, json(text), NO_JSON)),
    row('__proto__', json(body.replace('{', '{"__proto__":{"valid":true},')), NO_JSON),
    row('__proto__, escaped', json(body.replace('{', '{"\\u005f_proto__":{"valid":true},')), NO_JSON),
    row('__proto__ further in', json(body.replace('{', '{"x":[{"__proto__":{}}],')), NO_JSON),
    row('__proto__ for a verdict', json(`{"__proto__":${body}}`), NO_JSON),
    row('constructor.prototype', json(body.replace('{', '{"constructor":{"prototype":{}},')), NO_JSON),
    row('a byte order mark', json(`\uFEFF${body}`), NO_JSON),
    row('UTF-16', json(Buffer.from(`\uFEFF${body}`, 'utf16le')), NO_JSON),
    row('invalid UTF-8', json(Buffer.from(body.replace('{', '{"x":"\xE9",'), 'latin1')), NO_JSON),

    ...['valid', 'identifier', 'timestamp', 'checksum', 'version'].flatMap((field) =>
      [undefined, null, [], {}].map((value) => {
        const text = value === undefined ? 'missing' : JSON.stringify(value)
        return row(`${field}: ${text}`, json(verdict({ [field]: value })), problem(new RegExp(`^/${field}: `)))
      })
    ),
    ...Object.entries({
      valid: ['true', 1, [true], ''],
      identifier: [7, [IDENTIFIER], { toString: IDENTIFIER }],
      timestamp: [
        '', 'now', '2020-02-30T00:00:00Z', Date.now(), new Date().toUTCString(), new Date().toISOString().slice(0, -1),
        new Date().toISOString().slice(0, 10)
      ],
      checksum: ['', longChecksum, 7, ['x']],
      version: [2, 0, 1.5, '1', true]
    }).flatMap(([field, values]) => values.map((value) => row(
      `${field}: ${JSON.stringify(value).slice(0, 30)}`, json(verdict({ [field]: value })), problem(new RegExp(`^/${field}: `))
    ))),

    ...[201, 202, 203, 206].map((statusCode) => row(`a verdict in a ${statusCode}`, json(body, statusCode), { serviceStatus: statusCode })),
    ...[204, 304].map((statusCode) => row(`${statusCode}`, reply(statusCode), { serviceStatus: statusCode })),
    ...[401, 402, 403, 404, 405, 407, 408, 418, 422, 425, 429, 499].map((statusCode) =>
      row(`${statusCode}`, reply(statusCode, body, JSON_TYPE, 'retry-after: 0'), { serviceStatus: statusCode })),
    ...[500, 501, 502, 503, 504, 599].map((statusCode) =>
      row(`${statusCode}`, reply(statusCode, body, JSON_TYPE, 'retry-after: 0'), { serviceStatus: statusCode }, 2)),
    { name: '500, then 404', answers: [reply(500), reply(404)], why: { serviceStatus: 404 }, requests: 2 },
    { name: '500, then no JSON', answers: [reply(500), json('')], why: NO_JSON, requests: 2 },
    row('a 500 without bounds', endless('HTTP/1.1 500 No\r\ncontent-length: 10485760\r\n\r\n', Buffer.alloc(LIMIT, ' ')), TOO_LARGE),

    row('a byte too many', json(body.padEnd(LIMIT + 1)), TOO_LARGE),
    row('a byte too many, in chunks', `${chunkedHead()}${chunk(body)}${chunk(' '.repeat(LIMIT + 1 - body.length))}0\r\n\r\n`, TOO_LARGE),
    row('10 MiB', json(body.padEnd(10 * 1024 * 1024)), TOO_LARGE),
    row('endless chunks', endless(chunkedHead() + chunk(body), chunk(' '.repeat(LIMIT))), TOO_LARGE),
    row('an endless body', endless(untilTheEnd('1.1', ''), Buffer.alloc(LIMIT, ' ')), TOO_LARGE),

    row('64 MiB in gzip', encoded('gzip', zipped.subarray(0, LIMIT)), NO_JSON),
    row('128 MiB in gzip', encoded('gzip', Buffer.concat([zipped, zipped])), TOO_LARGE),
    row('64 MiB in Brotli', encoded('br', brotli), NO_JSON),
    row('a verdict in gzip', encoded('gzip', gzipSync(body)), NO_JSON),
    row('a verdict in Brotli', encoded('br', brotliCompressSync(body)), NO_JSON),
    row('a verdict in gzip that does not say so', json(gzipSync(body)), NO_JSON),
    row('a verdict that is declared as gzip and is not', encoded('gzip', Buffer.from(body)), NO_JSON),

    row('100 KB of headers', reply(200, body, JSON_TYPE, `x: ${'x'.repeat(100_000)}`), failure('UND_ERR_HEADERS_OVERFLOW'), 2),
    row('many headers', reply(200, body, JSON_TYPE, ...Array(10_000).fill('x: 12345678')), failure('UND_ERR_HEADERS_OVERFLOW'), 2),
    row('100 KB of trailers', `${chunkedHead('trailer: x')}${chunk(body)}0\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`,
      failure('UND_ERR_HEADERS_OVERFLOW'), 2),
    row('no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n', NO_HTTP, 2),
    row('noise', Buffer.concat([Buffer.from([0]), randomBytes(10_000)]), NO_HTTP, 2),
    row('two lengths', reply(200, body, JSON_TYPE, 'content-length: 2'), failure('UND_ERR_RES_CONTENT_LENGTH_MISMATCH'), 2),
    row('a length and chunks', reply(200, `${chunk(body)}0\r\n\r\n`, JSON_TYPE, 'transfer-encoding: chunked'), NO_HTTP, 2),
    row('an invalid length', `HTTP/1.1 200 OK\r\n${JSON_TYPE}\r\ncontent-length: -1\r\n\r\n${body}`, NO_HTTP, 2),
    row('an upgrade', reply('101 Switching Protocols', '', 'connection: upgrade', 'upgrade: websocket'), BROKEN, 2)
  ]
}

t.test('no other reply of a service admits anybody, and every answer is the same', ALONE, async (t) => {
  const rows = hostileReplies()
  t.equal(new Set(rows.map(({ name }) => name)).size, rows.length)
  await inTurns(rows, async ({ name, answers, why, requests }) => {
    const upstream = await startUpstream(t, answers)
    // Leaves enough time on any machine for all expected effects; only a retry may need as much.
    const host = await startHost(t, upstream.baseUrl, PATIENCE)
    const timeout = requests === 1 ? TIMEOUT : PATIENCE
    const { result, elapsed } = await timed(() => signUp(host))
    assertUnavailable(t, result, name)
    t.ok(elapsed < timeout + GRACE, `${name}: ${elapsed} ms`)
    t.match(reasons(host), [why], name)
    t.equal(upstream.asked.length, requests, name)
    t.strictSame(host.signedUp, [], name)
    await host.app.close()
    await until(() => upstream.open.size === 0)
  })
})

t.test('200 at once are all admitted, over 128 connections at most', ALONE, async (t) => {
  const held: (() => void)[] = []
  let most = 0
  const upstream = await startUpstream(t, [(socket) => {
    most = Math.max(most, upstream.open.size)
    const answer = () => { socket.write(json(verdict())) }
    if (upstream.asked.length > 128) answer()
    else held.push(answer)
    if (upstream.asked.length === 128) setTimeout(() => { for (const answer of held) answer() }, 200)
  }])
  const host = await startHost(t, upstream.baseUrl, 10_000)
  const replies = await Promise.all([...Array(200)].map(() => signUp(host)))
  t.strictSame(new Set(replies.map(({ statusCode }) => statusCode)), new Set([201]))
  t.equal(host.signedUp.length, 200)
  t.equal(new Set(upstream.asked.map(({ body }) => body)).size, 200)
  t.equal(upstream.asked.length, 200)
  t.equal(most, 128)
  t.equal(upstream.connections, 128)
})

t.test('more calls than connections to an unresponsive service end in time, and other routes are not affected', ALONE, async (t) => {
  const upstream = await startUpstream(t, [() => {}])
  const host = await startHost(t, upstream.baseUrl, TIMEOUT)
  const token = mint()
  const verify = () => host.app.humandetect.verify(token, { identifier: IDENTIFIER })
  const waiting = Promise.all([...Array(160)].map(() => timed(() => verify().catch(({ code }) => code))))
  await until(() => upstream.asked.length > 0)
  const { result, elapsed } = await timed(() => host.app.inject('/elsewhere'))
  t.equal(result.statusCode, 200)
  t.ok(elapsed < TIMEOUT / 2, `${elapsed} ms`)
  for (const { result, elapsed } of await waiting) {
    t.equal(result, 'FST_HUMANDETECT_UNAVAILABLE')
    t.ok(elapsed < TIMEOUT + GRACE, `${elapsed} ms`)
  }
  t.ok(upstream.asked.length <= 160)
})

t.test('1,000 calls to a service that never completes a handshake end in time, all of them', ALONE, async (t) => {
  const upstream = await startUpstream(t, [])
  const host = await startHost(t, `https://127.0.0.1:${upstream.port}`, TIMEOUT)
  const token = mint()
  const verify = () => host.app.humandetect.verify(token, { identifier: IDENTIFIER })
  const alone = await timed(() => t.rejects(verify(), { code: 'FST_HUMANDETECT_UNAVAILABLE' }))
  t.ok(alone.elapsed < TIMEOUT + GRACE, `${alone.elapsed} ms`) // undici alone takes a second
  const ends = await Promise.all([...Array(1000)].map(() => timed(() => verify().catch(({ code }) => code))))
  t.strictSame(new Set(ends.map(({ result }) => result)), new Set(['FST_HUMANDETECT_UNAVAILABLE']))
  const slowest = Math.max(...ends.map(({ elapsed }) => elapsed))
  t.ok(slowest < TIMEOUT + 4 * GRACE, `${slowest} ms`) // so many calls are slow in themselves
  t.ok(upstream.connections - 1 <= 128, `${upstream.connections} connections`)
  const { elapsed } = await timed(() => host.app.close())
  t.ok(elapsed < TIMEOUT + 1000, `closed in ${elapsed} ms`)
})

/** Creates a key and a certificate for localhost, which nobody trusts. */
function createCertificate (folder: string): { key: string, cert: string, file: string } | undefined {
  const [keyFile, file] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  try {
    execFileSync('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1',
      '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', keyFile, '-out', file
    ], { stdio: 'ignore', timeout: 10_000 })
  } catch {
    return undefined
  }
  return { key: readFileSync(keyFile, 'utf8'), cert: readFileSync(file, 'utf8'), file }
}

async function runChild (file: string, baseUrl: string, env: Record<string, string> = {}) {
  const child = spawn('env', [...PLAIN_NODE, file, baseUrl, SERVICE_KEY, mint(), IDENTIFIER], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20_000
  })
  let [said, complained] = ['', '']
  child.stdout.on('data', (chunk) => { said += chunk })
  child.stderr.on('data', (chunk) => { complained += chunk })
  const [code, signal] = await once(child, 'close') as [number | null, NodeJS.Signals | null]
  expectNoCanary(said + complained)
  return { said: said.trim(), code, signal }
}

t.test('over TLS', ALONE, async (t) => {
  const folder = t.testdir()
  const script = join(folder, 'one-token.mjs')
  const certificate = createCertificate(folder)
  if (certificate === undefined) {
    t.comment('skipped: there is no openssl that can create a certificate')
    return
  }
  await bundle('test/support/one-token.ts', script)
  let asked = 0
  const server = https.createServer({ key: certificate.key, cert: certificate.cert }, (request, response) => {
    asked++
    request.resume().on('end', () => response.setHeader('content-type', 'application/json').end(verdict()))
  })
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const baseUrl = `https://localhost:${(server.address() as AddressInfo).port}`

  await t.test('a service with an untrusted certificate is unavailable', async (t) => {
    const host = await startHost(t, baseUrl)
    assertUnavailable(t, await signUp(host), 'self-signed')
    t.match(reasons(host), [failure('DEPTH_ZERO_SELF_SIGNED_CERT')])
    t.equal(asked, 0)
  })

  await t.test('no environment variable makes it trusted', async (t) => {
    const name = 'NODE_TLS_REJECT_UNAUTHORIZED'
    const before = process.env[name]
    t.teardown(() => {
      if (before === undefined) delete process.env[name]
      else process.env[name] = before
    })
    const warned = t.capture(process, 'emitWarning', () => {})
    process.env[name] = '0'
    const host = await startHost(t, baseUrl)
    assertUnavailable(t, await signUp(host), 'self-signed')
    t.match(reasons(host), [failure('DEPTH_ZERO_SELF_SIGNED_CERT')])
    t.strictSame(host.signedUp, [])
    t.equal(asked, 0)

    const [other] = await once(https.get(baseUrl, { agent: false }), 'response')
    t.equal(other.resume().statusCode, 200, 'as it does for other clients')
    t.equal(asked, 1)
    t.match(warned(), [{ args: [new RegExp(name)] }])
    asked = 0
  })

  await t.test('the name must be the one in the certificate, and its authority one that Node trusts for the deployment; a ' +
    'program that is done ends', async (t) => {
    const [other, trusting, plain, careless] = await Promise.all([
      runChild(script, baseUrl.replace('localhost', '127.0.0.1'), { NODE_EXTRA_CA_CERTS: certificate.file }),
      runChild(script, baseUrl, { NODE_EXTRA_CA_CERTS: certificate.file }),
      runChild(script, baseUrl),
      runChild(script, baseUrl, { NODE_TLS_REJECT_UNAUTHORIZED: '0' })
    ])
    t.strictSame(other, { said: 'FST_HUMANDETECT_UNAVAILABLE', code: 0, signal: null }, 'another name')
    t.strictSame(trusting, { said: 'OK', code: 0, signal: null })
    t.strictSame(plain, { said: 'FST_HUMANDETECT_UNAVAILABLE', code: 0, signal: null })
    t.strictSame(careless, { said: 'FST_HUMANDETECT_UNAVAILABLE', code: 0, signal: null })
    t.equal(asked, 1)
  })
})
