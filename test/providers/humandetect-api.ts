import { Value } from '@sinclair/typebox/value'
import type { FastifyError, FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import { STATUS_CODES } from 'node:http'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { humandetectApiPlugin, issueToken, openToken, type HumanDetectApiOptions } from '../../plugins/index.js'
import { HumanDetectErrorSchema, HumanDetectResultSchema, type HumanDetectResult } from '../../schemas/humandetect.js'
import { addCanaries, createHost, exchange, expectNoCanary, rawRequest, statusOf } from '../support/host.js'
import { IDENTIFIER, mint, SERVICE_KEY, TOKEN_SECRET } from '../support/humandetect.js'
import { warningsIn } from '../support/life-cycle.js'
import { quiet } from '../support/quiet.js'
import { createTable } from '../support/table.js'

const URL = '/v1/humandetect/verify'
const JSON_TYPE = 'application/json; charset=utf-8'
const UNAUTHORIZED = '{"code":"unauthorized","message":"The API key is missing or wrong"}'
const BAD_TOKEN = '{"code":"badRequest","message":"The token is missing or malformed"}'
const INTERNAL = '{"code":"internalError","message":"Internal Server Error"}'
const UNAVAILABLE = '{"code":"internalError","message":"Service Unavailable"}'
const TOO_LARGE = JSON.stringify({ code: 'invalidRequest', message: STATUS_CODES[413] }) // wording of this Node
const TIMED_OUT = '{"code":"invalidRequest","message":"Request Timeout"}'
const UNSUPPORTED = '{"code":"invalidRequest","message":"Unsupported Media Type"}'

type Pairs = [string, string][]
type Options = Partial<HumanDetectApiOptions>
type Asserts = Pick<Test, 'equal' | 'ok' | 'strictSame' | 'match'>

const RESULT: HumanDetectResult = {
  valid: true, identifier: IDENTIFIER, timestamp: '2020-09-22T14:52:11.104-0500', checksum: 'a checksum', version: 1
}

/** Creates a host with the plugin, and records every token that `verifyToken` receives. */
function createService (test: Test, options: Options = {}, server = {}) {
  const { app, lines } = createHost(test, server)
  const asked: string[] = []
  register(app, asked, options)
  return { app, lines, asked }
}

function register (app: FastifyInstance, asked: string[], options: Options & { prefix?: string } = {}): void {
  const { verifyToken = (token: string) => openToken({ secret: TOKEN_SECRET, token }) } = options
  app.register(humandetectApiPlugin, {
    apiKeys: [SERVICE_KEY],
    ...options,
    verifyToken (token, request) {
      asked.push(token)
      return verifyToken(token, request)
    }
  })
}

function ask (
  app: FastifyInstance, payload: string | Buffer | object, headers: Record<string, string> = {}, url = URL
) {
  return app.inject({
    method: 'POST', url, headers: { 'content-type': 'application/json', 'x-api-key': SERVICE_KEY, ...headers }, payload
  })
}

t.test('later changes of the options have no effect', async (t) => {
  const { app } = createHost(t)
  const apiKeys = [SERVICE_KEY]
  const options = { apiKeys, path: URL, verifyToken: (token: string) => openToken({ secret: TOKEN_SECRET, token }) }
  app.register(humandetectApiPlugin, options)
  await app.ready()
  apiKeys[0] = 'another-key-of-a-backend'
  Object.assign(options, { apiKeys: [apiKeys[0]], path: '/elsewhere', verifyToken: () => null })
  t.equal((await ask(app, { token: mint() })).statusCode, 200)
  t.equal((await ask(app, { token: mint() }, { 'x-api-key': apiKeys[0] })).statusCode, 401)
})

/** Sends a request over a raw socket, which keeps the case and repetition of header names. */
async function askRaw (app: FastifyInstance, headers: Pairs, content: string | Buffer, url = URL) {
  const length: Pairs = content.length === 0 ? [] : [['Content-Length', String(Buffer.byteLength(content))]]
  const { text } = await exchange(app, [rawRequest(url, [...headers, ...length, ['Connection', 'close']], content)])
  return readAnswer(text)
}

function readAnswer (text: string) {
  const [head = '', body = ''] = text.split('\r\n\r\n')
  if (statusOf(text) !== 200) expectNoCanary(text)
  return { statusCode: statusOf(text), head: head.replace(/\r\nDate: [^\r]*/i, ''), body }
}

const JSON_HEADER: [string, string] = ['Content-Type', 'application/json']
const KEY_HEADER: [string, string] = ['X-API-Key', SERVICE_KEY]
const bodyOf = (token: unknown) => JSON.stringify({ token })

t.test('the schema of errors matches every error that the tests expect', async (t) => {
  for (const body of [UNAUTHORIZED, BAD_TOKEN, INTERNAL, UNAVAILABLE, TOO_LARGE, UNSUPPORTED, TIMED_OUT]) {
    t.ok(Value.Check(HumanDetectErrorSchema, JSON.parse(body)), body)
  }
})

/** Checks the status of an error and its exact body. */
function isError (
  t: Asserts, reply: { statusCode: number, body: string }, statusCode: number, body: string, what: string
): void {
  expectNoCanary(reply.body)
  t.equal(`${reply.statusCode} ${reply.body}`, `${statusCode} ${body}`, what)
}

function isResult (
  t: Asserts, reply: { statusCode: number, body: string }, expected: HumanDetectResult, what: string
): void {
  const result = JSON.parse(reply.body)
  const documented = Value.Check(HumanDetectResultSchema, result)
  t.strictSame({ statusCode: reply.statusCode, result, fields: Object.keys(result), documented }, {
    statusCode: 200,
    result: expected,
    fields: ['valid', 'identifier', 'timestamp', 'checksum', 'version'],
    documented: true
  }, what)
}

/** Checks that the service still answers valid requests. */
async function works (
  t: Asserts, app: FastifyInstance, asked: string[], url = URL, key = SERVICE_KEY
): Promise<void> {
  asked.length = 0
  const token = mint()
  const reply = await ask(app, { token }, { 'x-api-key': key }, url)
  isResult(t, reply, openToken({ secret: TOKEN_SECRET, token })!, `${url}, genuine`)
  t.equal(reply.headers['content-type'], JSON_TYPE)
  t.strictSame(asked, [token])
  isError(t, await ask(app, { token }, { 'x-api-key': 'wrong' }, url), 401, UNAUTHORIZED, `${url}, wrong key`)
  t.strictSame(asked, [token], 'not asked for a wrong key')
  isError(t, await ask(app, { token: 'forged' }, { 'x-api-key': key }, url), 400, BAD_TOKEN, `${url}, forged`)
  isError(t, await ask(app, '{', { 'x-api-key': key }, url), 400, BAD_TOKEN, `${url}, no JSON`)
  t.strictSame(asked, [token, 'forged'])
}

t.test('a genuine token is answered over a socket with the five documented fields', quiet(async (t) => {
  const { app, asked } = createService(t)
  for (const human of [true, false]) {
    for (const timestamp of ['2020-09-22T14:52:11.104-0500', '2020-09-22T14:52:11Z']) {
      const token = mint({ human, timestamp })
      const { checksum } = openToken({ secret: TOKEN_SECRET, token })!
      const reply = await askRaw(app, [JSON_HEADER, KEY_HEADER], bodyOf(token))
      isResult(t, reply, { valid: human, identifier: IDENTIFIER, timestamp, checksum, version: 1 }, `human: ${human}`)
      t.match(reply.head, /\r\ncontent-type: application\/json; charset=utf-8(\r\n|$)/i)
      t.strictSame(asked.splice(0), [token])
    }
  }
}))

t.test('an identifier is returned unchanged, to the last character', quiet(async (t) => {
  const { app } = createService(t)
  for (const identifier of ['', ' ', '"\\', '\0\n', '\u65e5\u672c\u{1f600}', '\ud800', '__proto__', 'x'.repeat(5_000)]) {
    const reply = await ask(app, { token: mint({ identifier }) })
    t.equal(reply.statusCode, 200)
    t.equal(reply.json().identifier, identifier)
  }
}))

t.test('other spellings of the same JSON, with any other members, are verified', quiet(async (t) => {
  const { app, asked } = createService(t)
  const token = mint()
  const bodies = [
    JSON.stringify({ token, extra: 1 }), JSON.stringify({ identifier: 'x', valid: false, token, deep: [[[]]] }),
    ` \r\n${bodyOf(token)}\t\n`, bodyOf(token).replace('token', '\\u0074oken'), JSON.stringify({ token }, null, 2),
    `{"token":"other","token":${JSON.stringify(token)}}`, JSON.stringify({ token, padding: 'x'.repeat(60_000) })
  ]
  for (const body of bodies) t.equal((await ask(app, body)).statusCode, 200, body.slice(0, 40))
  for (const type of ['application/json;charset=UTF-8', 'APPLICATION/JSON', 'application/json; v=1']) {
    t.equal((await ask(app, { token }, { 'content-type': type })).statusCode, 200, type)
  }
  t.equal((await askRaw(app, [JSON_HEADER, ['x-api-KEY', ` ${SERVICE_KEY}\t`]], bodyOf(token))).statusCode, 200,
    'white space around a header is not part of its value')
  t.strictSame(asked, Array(bodies.length + 4).fill(token))
}))

const utf8 = (text: string) => Buffer.from(text).toString('latin1')

const WRONG_KEYS: [what: string, reason: string, headers: Pairs][] = [
  ['missing', 'missing_header', []],
  ['empty', 'missing_header', [['X-API-Key', '']]],
  ['blank', 'missing_header', [['X-API-Key', '   ']]],
  ['under another name', 'missing_header', [['X-API-Keys', SERVICE_KEY]]],
  ['under a name with underscores', 'missing_header', [['X_API_Key', SERVICE_KEY]]],
  ['as authorization', 'missing_header', [['Authorization', `Bearer ${SERVICE_KEY}`]]],
  ['as a cookie', 'missing_header', [['Cookie', `x-api-key=${SERVICE_KEY}`]]],
  ['twice, both right', 'duplicate_header', [KEY_HEADER, KEY_HEADER]],
  ['twice, the wrong one last', 'duplicate_header', [KEY_HEADER, ['X-API-Key', 'wrong']]],
  ['twice, the wrong one first', 'duplicate_header', [['X-API-Key', 'wrong'], KEY_HEADER]],
  ['twice, the right one last and in upper case', 'duplicate_header', [['x-api-key', 'wrong'], ['X-API-KEY', SERVICE_KEY]]],
  ['twice, the right one first and in lower case', 'duplicate_header', [['x-api-key', SERVICE_KEY], ['X-API-KEY', 'wrong']]],
  ['twice, both right in two cases', 'duplicate_header', [['x-api-key', SERVICE_KEY], ['X-API-KEY', SERVICE_KEY]]],
  ['twice, an empty one first', 'duplicate_header', [['X-API-Key', ''], KEY_HEADER]],
  ['twice, an empty one last', 'duplicate_header', [KEY_HEADER, ['X-API-Key', '']]],
  ['twice, both empty', 'duplicate_header', [['X-API-Key', ''], ['X-API-Key', '']]],
  ...[
    ['wrong', 'wrong'], ['joined with another', `${SERVICE_KEY}, wrong`], ['joined after another', `wrong, ${SERVICE_KEY}`],
    ['joined with itself', `${SERVICE_KEY}, ${SERVICE_KEY}`], ['with a comma', `${SERVICE_KEY},`],
    ['without its last character', SERVICE_KEY.slice(0, -1)], ['its first character only', SERVICE_KEY[0]!],
    ['without its first character', SERVICE_KEY.slice(1)], ['with one character more', `${SERVICE_KEY}x`],
    ['with a zero more', `${SERVICE_KEY}0`], ['with a space within', SERVICE_KEY.replace('-', ' ')],
    ['twice as long', SERVICE_KEY + SERVICE_KEY], ['in upper case', SERVICE_KEY.toUpperCase()],
    ['with one letter in upper case', SERVICE_KEY.replace('k', 'K')], ['in quotes', `"${SERVICE_KEY}"`],
    ['with a scheme', `Bearer ${SERVICE_KEY}`], ['in base64', Buffer.from(SERVICE_KEY).toString('base64')],
    ['percent-encoded', SERVICE_KEY.replace('c', '%63')], ['with a tab within', SERVICE_KEY.replace('-', '\t')],
    ['with a letter beyond ASCII in latin1', SERVICE_KEY.replace('a', '\u00e1')],
    ['with a letter beyond ASCII in UTF-8', SERVICE_KEY.replace('a', utf8('\u0430'))],
    ['with a full-width letter', SERVICE_KEY.replace('c', utf8('\uff43'))], ['with bytes beyond ASCII after it', `${SERVICE_KEY}\u00ff`],
    ['all beyond ASCII', '\u00e9'.repeat(25)], ['the secret of the tokens', TOKEN_SECRET], ['8,000 characters', 'k'.repeat(8_000)],
    ...['constructor', '__proto__', 'toString', 'hasOwnProperty', 'length', '0', '*', 'null', 'undefined', 'true']
      .map((name) => [`the name ${name}`, name])
  ].map(([what, value]): [string, string, Pairs] => [what!, 'unknown_key', [['X-API-Key', value!]]])
]

t.test(`${WRONG_KEYS.length} wrong keys get one and the same answer over a socket, and nothing is verified`, quiet(async (t) => {
  const rejected: Parameters<NonNullable<HumanDetectApiOptions['onRejected']>>[0][] = []
  const { app, lines, asked } = createService(t, { onRejected: (delivery) => { rejected.push(delivery) } })
  const genuine = bodyOf(mint())
  for (const [, , headers] of WRONG_KEYS) {
    for (const [, value] of headers) if (/^canary/i.test(value)) addCanaries(value)
  }

  const answers = new Set<string>()
  const { wrong, same } = createTable()
  for (const [what, reason, headers] of WRONG_KEYS) {
    for (const [content, body] of [['a genuine token', genuine], ['no JSON', '{"token":'], ['a forged token', bodyOf('x')]] as const) {
      rejected.length = 0
      const answer = await askRaw(app, [JSON_HEADER, ...headers], body)
      isError(t, answer, 401, UNAUTHORIZED, `a key ${what}, ${content}`)
      answers.add(answer.head)
      const [{ requestId, duration, ...told } = { requestId: '', duration: NaN }, ...more] = rejected
      const logged = lines.splice(0).filter(({ reqId, msg }) => reqId === requestId && msg === 'delivery rejected')
      same(`a key ${what}, ${content}`, {
        told,
        more,
        duration: duration > 0 && duration < performance.now(),
        logged: logged.map(({ level, provider, path, reason }) => ({ level, provider, path, reason }))
      }, {
        told: { provider: 'humandetect-api', path: URL, outcome: 'rejected', reason, status: 401, bytes: Buffer.byteLength(body) },
        more: [],
        duration: true,
        logged: [{ level: 30, provider: 'humandetect-api', path: URL, reason }]
      })
    }
  }
  t.strictSame(wrong, [], 'onRejected and the log report each, once')
  t.equal(answers.size, 1, 'all answers have the same headers')
  t.match([...answers][0]!, /\r\ncontent-type: application\/json; charset=utf-8\r\n/i)
  t.strictSame(asked, [], 'verifyToken was not called')

  rejected.length = 0
  t.equal((await askRaw(app, [JSON_HEADER, KEY_HEADER], genuine)).statusCode, 200, 'the right key is accepted')
  t.equal((await askRaw(app, [JSON_HEADER, KEY_HEADER], '{')).statusCode, 400)
  t.equal((await askRaw(app, [JSON_HEADER, KEY_HEADER], bodyOf('x'))).statusCode, 400)
  t.strictSame(asked.length, 2)
  t.strictSame(rejected, [], 'without a call of onRejected')
}))

t.test('without a body, in chunks, and in a trailer, a wrong key is rejected as well', async (t) => {
  const { app, asked } = createService(t)
  const genuine = bodyOf(mint())
  for (const headers of [[], [JSON_HEADER]] as Pairs[]) {
    isError(t, await askRaw(app, headers, ''), 401, UNAUTHORIZED, 'no body')
  }
  const chunk = `${genuine.length.toString(16)}\r\n${genuine}\r\n0\r\n`
  const chunked = (headers: Pairs, trailer: string) => exchange(app, [
    rawRequest(URL, [JSON_HEADER, ...headers, ['Transfer-Encoding', 'chunked'], ['Connection', 'close']], `${chunk}${trailer}\r\n`)
  ])
  const late = await chunked([['Trailer', 'X-API-Key']], `X-API-Key: ${SERVICE_KEY}\r\n`)
  isError(t, readAnswer(late.text), 401, UNAUTHORIZED, 'a key in a trailer')
  t.strictSame(asked, [])
  t.equal(statusOf((await chunked([KEY_HEADER], '')).text), 200, 'and the right one in a header is accepted')
  t.equal(statusOf((await chunked([KEY_HEADER], 'X-API-Key: wrong\r\n')).text), 200, 'with any trailer')
  t.equal(asked.length, 2)
})

for (const [what, onRejected] of [
  ['throws', () => { throw new Error('canary of onRejected') }],
  ['rejects', async () => { throw Object.assign(new Error('canary of onRejected'), { statusCode: 200 }) }],
  ['throws nothing', () => { throw undefined }] // eslint-disable-line no-throw-literal
] as const) {
  t.test(`an onRejected that ${what} changes no answer`, quiet(async (t) => {
    const { app, lines, asked } = createService(t, { onRejected })
    isError(t, await ask(app, { token: mint() }, { 'x-api-key': 'wrong' }), 401, UNAUTHORIZED, what)
    await new Promise(setImmediate)
    const logged = lines.filter(({ msg }) => msg === 'onRejected failed')
    t.equal(logged.length, 1)
    t.match(logged, [{ level: 50, provider: 'humandetect-api' }])
    t.notMatch(JSON.stringify(lines), 'canary of onRejected')
    t.strictSame(asked, [])
    await works(t, app, asked)
  }))
}

t.test('an onRejected that returns true, or never settles, admits nobody', async (t) => {
  for (const onRejected of [() => true, async () => true, () => new Promise<void>(() => {})] as (() => void)[]) {
    const { app, asked } = createService(t, { onRejected })
    isError(t, await ask(app, { token: mint() }, { 'x-api-key': 'wrong' }), 401, UNAUTHORIZED, String(onRejected))
    t.strictSame(asked, [])
  }
})

t.test('several keys: each is accepted, and no other', quiet(async (t) => {
  const apiKeys = ['canary-old-key', 'canary-new-key', 'key', '!"#$%&\'()*+-./:;<=>?@[\\]^_`{|}~']
  const { app, asked } = createService(t, { apiKeys })
  const genuine = bodyOf(mint())
  for (const key of apiKeys) t.equal((await askRaw(app, [JSON_HEADER, ['X-API-Key', key]], genuine)).statusCode, 200, key)
  t.equal(asked.length, apiKeys.length)
  for (const key of [SERVICE_KEY, 'canary-old', 'canary-old-keycanary-new-key', apiKeys.slice(0, 2).join(), 'keyy', 'KEY', '!']) {
    isError(t, await askRaw(app, [JSON_HEADER, ['X-API-Key', key]], genuine), 401, UNAUTHORIZED, key)
  }
  const both: Pairs = [['X-API-Key', apiKeys[0]!], ['X-API-Key', apiKeys[1]!]]
  isError(t, await askRaw(app, [JSON_HEADER, ...both], genuine), 401, UNAUTHORIZED, 'two of them at once')
  apiKeys[2] = 'late-key'
  apiKeys.push('later-key')
  for (const key of ['late-key', 'later-key']) {
    isError(t, await ask(app, genuine, { 'x-api-key': key }), 401, UNAUTHORIZED, `${key}, put in after registration`)
  }
  t.equal((await ask(app, genuine, { 'x-api-key': 'key' })).statusCode, 200, 'removed after registration')
}))

t.test('during a rotation tokens of both secrets are accepted', async (t) => {
  const fresh = 'canary: the secret that comes after'
  const { app } = createService(t, { verifyToken: (token) => openToken({ secret: [fresh, TOKEN_SECRET], token }) })
  const claims = { identifier: IDENTIFIER, human: true }
  for (const [secret, statusCode] of [[TOKEN_SECRET, 200], [fresh, 200], ['a secret that is none of theirs', 400]] as const) {
    t.equal((await ask(app, { token: issueToken({ ...claims, secret }) })).statusCode, statusCode, secret)
  }
})

t.test('verifyToken receives the token and the request, and may be asynchronous', async (t) => {
  const seen: unknown[] = []
  const { app } = createService(t, {
    verifyToken: async (token, request) => {
      seen.push(token, request.routeOptions.url, request.headers['x-host'], request.body, Buffer.isBuffer(request.rawBody))
      await new Promise((resolve) => { setTimeout(resolve, 20) })
      return token === 'a' ? RESULT : null
    }
  })
  isResult(t, await ask(app, { token: 'a' }, { 'x-host': 'h' }), RESULT, 'a promise of a result')
  t.strictSame(seen, ['a', URL, 'h', { token: 'a' }, true])
  isError(t, await ask(app, { token: 'b' }), 400, BAD_TOKEN, 'a promise of null')
})

const NOT_ASKED: [what: string, headers: Pairs, content: string | Buffer][] = [
  ['no body, no content type', [], ''], ['no body', [JSON_HEADER], ''],
  ...[
    ' ', '{', '}', '{"token":', 'token', '{"token":"x"', '{"token":"x",}', "{'token':'x'}", '{"token":"x"}{}', '/**/{"token":"x"}',
    'NaN', '[]', '[{"token":"x"}]', 'null', 'true', '5', '"x"', '{}', '{"Token":"x"}', '{"TOKEN":"x"}', '{"tokens":"x"}',
    '{"token":{"token":"x"}}', '{"token":null}', '{"token":5}', '{"token":true}', '{"token":["x"]}', '{"token":[]}', '{"token":{}}',
    '{"token":""}', bodyOf('A'.repeat(8_193)), bodyOf('A'.repeat(60_000)), '{"token":"a\nb"}', '\ufeff{"token":"x"}',
    '{"__proto__":{"token":"x"}}', '{"token":"x","__proto__":{}}', '{"token":"x","\\u005f_proto__":1}',
    '{"token":"x","constructor":{"prototype":{}}}', '{"token":"x","token":5}', 'token=x'
  ].map((text): [string, Pairs, string] => [text.slice(0, 60), [JSON_HEADER], text]),
  ['UTF-16', [JSON_HEADER], Buffer.from('{"token":"x"}', 'utf16le')],
  ['bytes that are not UTF-8', [JSON_HEADER], Buffer.concat([Buffer.from('{"token":"'), Buffer.of(0xff), Buffer.from('"}')])]
]

t.test('with the right key, a body without a token is a bad request, and nothing is verified', quiet(async (t) => {
  const { app, asked } = createService(t)
  const heads = new Set<string>()
  for (const [what, headers, content] of NOT_ASKED) {
    const answer = await askRaw(app, [KEY_HEADER, ...headers], content)
    isError(t, answer, 400, BAD_TOKEN, inspect(what))
    heads.add(answer.head)
  }
  t.equal(heads.size, 1, 'all answers have the same headers')
  t.strictSame(asked, [])
  await works(t, app, asked)
}))

t.test('with the right key, an unknown token is a bad request, after verifyToken has been called', quiet(async (t) => {
  const { app, asked } = createService(t)
  const token = mint()
  const bytes = Buffer.from(token, 'base64')
  const forged: [what: string, token: string][] = [
    ['a word', 'forged'], ['one character', 'A'], ['blank', ' '], ['the longest', 'A'.repeat(8_192)], ['not base64', '!'.repeat(300)],
    ['zeros', 'A'.repeat(300)], ['base64url', bytes.toString('base64url').replace(/^../, '-_')], ['hex', bytes.toString('hex')],
    ['a line feed after it', `${token}\n`], ['a line feed before it', `\n${token}`], ['a space after it', `${token} `],
    ['padding', `${token}=`], ['a NUL', `${token}\0`], ['twice', token + token], ['beyond ASCII', '\u{1f600}'], ['a lone surrogate', '\ud800'],
    ['another secret', issueToken({ secret: `${TOKEN_SECRET}!`, identifier: IDENTIFIER, human: true })],
    ...[1, 2, 3, 4, 64, 150, 256, 276, 296, 297, 298, 299].map((length): [string, string] =>
      [`the first ${length} characters`, token.slice(0, length)]),
    ...[1, 4, 64, 256, 299].map((length): [string, string] => [`without its first ${length}`, token.slice(length)])
  ]
  const heads = new Set<string>()
  for (const [what, text] of forged) {
    asked.length = 0
    const answer = await askRaw(app, [KEY_HEADER, JSON_HEADER], bodyOf(text))
    isError(t, answer, 400, BAD_TOKEN, what)
    heads.add(answer.head)
    t.strictSame(asked, [text], `${what}: as it was sent`)
  }
  t.equal(heads.size, 1, 'all answers have the same headers')
  await works(t, app, asked)
}))

t.test('with the right key, a token with a bit of any byte changed is a bad request', quiet(async (t) => {
  const { app, asked } = createService(t)
  const bytes = Buffer.from(mint(), 'base64')
  for (let index = 0; index < bytes.length; index++) {
    const changed = Buffer.from(bytes)
    changed[index]! ^= 1 << (index % 8)
    isError(t, await ask(app, { token: changed.toString('base64') }), 400, BAD_TOKEN, `byte ${index}`)
  }
  t.equal(asked.length, 225)
  await works(t, app, asked)
}))

for (const key of [SERVICE_KEY, 'wrong']) {
  t.test(`a body that cannot be read is refused before it is read, and the connection closed, with the key ${key}`, quiet(async (t) => {
    const { app, lines, asked } = createService(t, { bodyLimit: 100, bodyTimeout: 60 })
    const keyed: Pairs = [['X-API-Key', key]]
    const small = '{"token":"canary in a body"}'
    const length = (bytes: number): [string, string] => ['Content-Length', String(bytes)]
    const coded = (coding: string): Pairs => [JSON_HEADER, ['Content-Encoding', coding], length(small.length)]
    const unread: [what: string, statusCode: number, body: string, headers: Pairs, content: string][] = [
      ...['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', 'application/json; charset=utf-16', 'json', '*/*']
        .map((type): [string, number, string, Pairs, string] =>
          [type, 415, UNSUPPORTED, [['Content-Type', type], length(small.length)], small]),
      ['no content type', 415, UNSUPPORTED, [length(small.length)], small],
      ...['gzip', 'br', 'x'].map((coding): [string, number, string, Pairs, string] =>
        [coding, 415, UNSUPPORTED, coded(coding), small]),
      ['a byte too many, none sent', 413, TOO_LARGE, [JSON_HEADER, length(101)], ''],
      ['a byte too many, all sent', 413, TOO_LARGE, [JSON_HEADER, length(101)], ' '.repeat(101)],
      ['a gigabyte announced', 413, TOO_LARGE, [JSON_HEADER, length(2 ** 30)], small],
      ['a chunk too many', 413, TOO_LARGE, [JSON_HEADER, ['Transfer-Encoding', 'chunked']], `65\r\n${' '.repeat(101)}\r\n`],
      ['half a body', 408, TIMED_OUT, [JSON_HEADER, length(small.length)], small.slice(0, 10)],
      ['none of a body', 408, TIMED_OUT, [JSON_HEADER, length(small.length)], ''],
      ['half of the chunks', 408, TIMED_OUT, [JSON_HEADER, ['Transfer-Encoding', 'chunked']], '5\r\n{"tok\r\n']
    ]
    for (const [what, statusCode, body, headers, content] of unread) {
      const { text, closed } = await exchange(app, [rawRequest(URL, [...keyed, ...headers], content)])
      const answer = readAnswer(text)
      isError(t, answer, statusCode, body, what)
      t.match(answer.head, /\r\nconnection: close(\r\n|$)/i, `${what}: says so`)
      t.match(answer.head, /\r\ncontent-type: application\/json; charset=utf-8(\r\n|$)/i)
      t.ok(closed, `${what}: and closes`)
    }
    t.strictSame(asked, [])
    t.equal(lines.filter(({ msg }) => msg === 'delivery rejected').length, unread.length)
    const fits = bodyOf('x').padEnd(100)
    t.equal((await askRaw(app, [JSON_HEADER, KEY_HEADER], fits)).body, BAD_TOKEN, 'a body of exactly the limit is read')
    t.strictSame(asked, ['x'])
  }))
}

class Failure extends Error {
  statusCode = 200
  headers = { 'x-canary': 'canary of a failure' }
  code = 'FST_CANARY'
  body = 'canary of a failure'
}

const failing = (): never => { throw new Failure('canary of a failure') }

const FAILURES: [what: string, verifyToken: () => unknown][] = [
  ['throws an error', failing],
  ['throws a string', () => { throw 'canary of a failure' }], // eslint-disable-line no-throw-literal
  ['throws nothing', () => { throw undefined }], // eslint-disable-line no-throw-literal
  ['throws null', () => { throw null }], // eslint-disable-line no-throw-literal
  ['throws a result', () => { throw RESULT }],
  ['throws an error of another status', () => { throw Object.assign(new Failure('canary of a failure'), { statusCode: 401 }) }],
  ['rejects with an error', async () => failing()],
  ['rejects with a string', () => Promise.reject('canary of a failure')], // eslint-disable-line prefer-promise-reject-errors
  ['rejects with nothing', () => Promise.reject()], // eslint-disable-line prefer-promise-reject-errors
  ['returns a thenable that throws', () => ({ then: failing })],
  ['returns what throws when looked at', () => ({ get then () { return failing() } })]
]

const without = (field: string) => Object.fromEntries(Object.entries(RESULT).filter(([name]) => name !== field))
const circular: Record<string, unknown> = { ...RESULT }
circular['identifier'] = circular

const INVALID_RESULTS: [what: string, result: unknown][] = [
  ...[undefined, false, true, 0, 1, 1n, '', 'canary', [], [RESULT], {}, Symbol('canary'), () => RESULT, new Map(Object.entries(RESULT)),
    JSON.stringify(RESULT), Buffer.from('canary'), new Error('canary')
  ].map((result): [string, unknown] => [inspect(result).replaceAll('\n', ' ').slice(0, 60), result]),
  ...Object.keys(RESULT).flatMap((field): [string, unknown][] => [
    [`no ${field}`, without(field)], [`${field}: undefined`, { ...RESULT, [field]: undefined }],
    [`${field}: null`, { ...RESULT, [field]: null }], [`${field}: a list`, { ...RESULT, [field]: ['canary'] }],
    [`${field}: an object`, { ...RESULT, [field]: {} }], [`${field}: a BigInt`, { ...RESULT, [field]: 1n }],
    [`${field}: a getter that throws`, Object.defineProperty({ ...RESULT }, field, { get: failing })],
    [`${field}: a toJSON that throws`, { ...RESULT, [field]: { toJSON: failing } }]
  ]),
  ...[
    { valid: 'true' }, { valid: 1 }, { valid: 0 }, { identifier: 5 }, { identifier: true }, { timestamp: 1_600_804_331_104 },
    { checksum: '' }, { checksum: 'x'.repeat(513) }, { checksum: 5 }, { version: 2 }, { version: 0 }, { version: '1' },
    { version: 1.5 }, { version: NaN }
  ].map((wrong): [string, unknown] => [inspect(wrong).slice(0, 60), { ...RESULT, ...wrong }]),
  ...['', 'canary', 'now', '2020-02-30T00:00:00Z', '2020-09-22T24:00:00Z', '2020-09-22T14:52:11', '2020-09-22', '1600804331',
    '2020-09-22T14:52:11.104-2400', '2020-09-22T14:52:60Z', 'Tue, 22 Sep 2020 14:52:11 GMT', ' 2020-09-22T14:52:11Z'
  ].map((timestamp): [string, unknown] => [`the timestamp "${timestamp}"`, { ...RESULT, timestamp }]),
  ['a circle', circular]
]

t.test('a verifyToken that fails is an internal error, without details in the answer', quiet(async (t) => {
  let run: () => unknown = () => null
  const { app, lines, asked } = createService(t, { verifyToken: () => run() as null })
  const token = mint()
  for (const [what, verifyToken] of FAILURES) {
    lines.length = asked.length = 0
    run = verifyToken
    const reply = await ask(app, { token })
    isError(t, reply, 500, INTERNAL, what)
    t.equal(reply.headers['content-type'], JSON_TYPE)
    t.notOk(reply.headers['x-canary'])
    t.strictSame(asked, [token])
    t.strictSame(warningsIn(lines), [{ level: 50, msg: 'delivery failed: handler_failed' }], what)
    t.match(lines.filter(({ level }) => level === 50), [{ provider: 'humandetect-api' }], what)
    expectNoCanary(JSON.stringify(reply.headers))
  }
}))

t.test('an invalid result of verifyToken is an internal error, without details in the answer', quiet(async (t) => {
  let result: unknown
  const { app, lines, asked } = createService(t, { verifyToken: () => result as null })
  const token = mint()
  for (const [what, invalid] of INVALID_RESULTS) {
    for (const returned of [invalid, Promise.resolve(invalid)]) {
      lines.length = asked.length = 0
      result = returned
      isError(t, await ask(app, { token }), 500, INTERNAL, what)
      t.strictSame(asked, [token])
      const failures = lines.filter(({ level }) => level as number > 30)
      t.match(failures, [{ level: 50, provider: 'humandetect-api', problems: [/^\/\w*: /] }], what)
      t.notMatch(JSON.stringify(lines), /canary/, 'not logged')
    }
  }
}))

t.test('the five fields of a result are answered and no other', quiet(async (t) => {
  let result: unknown
  const { app } = createService(t, { verifyToken: () => result as null })
  class Custom {
    #valid = true
    identifier = IDENTIFIER
    get valid () { return this.#valid }
    get timestamp () { return RESULT.timestamp }
    checksum = RESULT.checksum
    version = 1
    secret = 'canary'
  }
  for (const [what, returned] of [
    ['as it is', RESULT], ['frozen', Object.freeze({ ...RESULT })], ['others', { secret: 'canary', ...RESULT, row: { canary: 1 } }],
    ['in another order', Object.fromEntries(Object.entries(RESULT).reverse())], ['of a class', new Custom()],
    ['of a class that writes itself', { secret: 'canary', toJSON: () => ({ ...RESULT, more: 'canary' }) }],
    ['without a prototype', Object.assign(Object.create(null), RESULT)], ['inherited', Object.create(RESULT)],
    ['a promise', Promise.resolve({ ...RESULT, canary: 1 })], ['__proto__', JSON.parse(`{"__proto__":{"canary":1},${JSON.stringify(RESULT).slice(1)}`)]
  ] as const) {
    result = returned
    const reply = await ask(app, { token: 'x' })
    isResult(t, reply, RESULT, what)
    t.notMatch(reply.body, 'canary')
  }
  for (const edge of [
    { valid: false }, { identifier: '' }, { checksum: 'x' }, { checksum: 'x'.repeat(512) }, { timestamp: '2024-02-29T23:59:59.123456789Z' },
    { timestamp: '2020-09-22T14:52:11+05:30' }
  ]) {
    result = { ...RESULT, ...edge }
    isResult(t, await ask(app, { token: 'x' }), { ...RESULT, ...edge }, inspect(edge).slice(0, 60))
  }
}))

t.test('a verifyToken that does not end in time is answered with 503 and Retry-After', async (t) => {
  let finish = (_result: HumanDetectResult) => {}
  const { app, lines, asked } = createService(t, {
    handlerTimeout: 50, verifyToken: () => new Promise((resolve) => { finish = resolve })
  })
  const answer = await askRaw(app, [JSON_HEADER, KEY_HEADER], bodyOf('x'))
  isError(t, answer, 503, UNAVAILABLE, 'too late')
  t.match(answer.head, /\r\nretry-after: [1-9]\d*(\r\n|$)/i)
  t.strictSame(asked, ['x'])
  t.equal(lines.filter(({ reason, level }) => reason === 'handler_timeout' && level === 50).length, 1)
  finish(RESULT)
  await new Promise(setImmediate)
  t.match(lines.filter(({ msg }) => msg === 'handler ended after its timeout'), [{ level: 40, statusCode: 200 }])
})

const inspectRequest = ({ body, rawBody }: FastifyRequest) =>
  ({ buffer: Buffer.isBuffer(body), body, rawBody: String(rawBody) })

t.test("a host's own route next to the plugin still parses and validates its JSON", quiet(async (t) => {
  for (const order of ['before', 'after']) {
    const { app } = createHost(t)
    const asked: string[] = []
    if (order === 'after') await app.register(async (scope) => register(scope, asked))
    const body = { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } }
    app.post('/host', { schema: { body } }, inspectRequest)
    app.post('/text', inspectRequest)
    if (order === 'before') register(app, asked)
    const post = (url: string, payload: string | object, type = 'application/json') =>
      app.inject({ method: 'POST', url, headers: { 'content-type': type }, payload })
    t.strictSame((await post('/host', { n: '5' })).json(), { buffer: false, body: { n: 5 }, rawBody: 'undefined' }, order)
    t.match((await post('/host', {})).json(), { statusCode: 400, code: 'FST_ERR_VALIDATION' })
    t.match((await post('/host', '{')).json(), { statusCode: 400 })
    t.strictSame((await post('/text', 'text', 'text/plain')).json(), { buffer: false, body: 'text', rawBody: 'undefined' })
    t.match((await app.inject('/nowhere')).json(), { statusCode: 404, error: 'Not Found' })
    await works(t, app, asked)
    t.notOk(app.hasDecorator('verifyToken'), 'the host is not decorated')
    t.notOk(app.hasRequestDecorator('rawBody'))
  }
}))

t.test('twice on a server: each key is accepted on its own path only', quiet(async (t) => {
  const { app } = createHost(t)
  const [first, second]: [string[], string[]] = [[], []]
  register(app, first)
  register(app, second, { apiKeys: ['canary-second-key'], path: '/second' })
  await works(t, app, first)
  t.strictSame(second, [])
  await works(t, app, second, '/second', 'canary-second-key')
  first.length = second.length = 0
  isError(t, await ask(app, { token: mint() }, {}, '/second'), 401, UNAUTHORIZED, 'the first key at the second path')
  isError(t, await ask(app, { token: mint() }, { 'x-api-key': 'canary-second-key' }), 401, UNAUTHORIZED, 'the second at the first')
  t.strictSame([...first, ...second], [])
}))

t.test('twice on one path prevents the start of the server', async (t) => {
  const { app } = createHost(t)
  register(app, [])
  register(app, [])
  await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_DUPLICATED_ROUTE' })
})

for (const prefix of ['/api', '/api/', 'api', '/b/c']) {
  t.test(`under the prefix ${prefix} the route exists, and nowhere else`, async (t) => {
    const { app } = createHost(t)
    const asked: string[] = []
    const rejected: unknown[] = []
    register(app, asked, { prefix, onRejected: ({ path }) => { rejected.push(path) } })
    const url = `/${prefix}${URL}`.replaceAll(/\/{2,}/g, '/')
    await works(t, app, asked, url)
    t.strictSame(rejected, [url])
    t.equal((await ask(app, { token: mint() })).statusCode, 404)
  })
}

t.test('a path of its own, in scopes of the host, and without a log', async (t) => {
  const { app, lines } = createHost(t)
  const asked: string[] = []
  app.register(async (scope) => register(scope, asked, { path: '/verify', prefix: '/v2', logLevel: 'silent' }), { prefix: '/eu' })
  await works(t, app, asked, '/eu/v2/verify')
  t.notMatch(JSON.stringify(lines), 'delivery rejected')
})

const HOSTS: [what: string, setup: (app: FastifyInstance) => unknown][] = [
  ['an error handler', (app) => app.setErrorHandler<FastifyError>((_error, _request, reply) => reply.code(418).send({ host: true }))],
  ["zod's compilers", (app) => {
    app.setValidatorCompiler(validatorCompiler)
    app.setSerializerCompiler(serializerCompiler)
    const schema = { body: z.object({ n: z.coerce.number() }), response: { 200: z.object({ n: z.number() }) } }
    app.withTypeProvider<ZodTypeProvider>().post('/zod', { schema }, (request) => ({ n: request.body.n + 1 }))
  }],
  ['a serializer compiler', (app) => app.setSerializerCompiler(() => () => '{"host":true}')],
  ['a validator compiler', (app) => app.setValidatorCompiler(() => () => ({ error: new Error('of the host') }))],
  ['a reply serializer', (app) => app.setReplySerializer(() => '{"host":true}')],
  ['a hook that sets a serializer', (app) => app.addHook('onRequest', async (_request, reply) => {
    reply.serializer(() => '{"host":true}')
  })],
  ['a preSerialization hook', (app) => app.addHook('preSerialization', async () => ({ host: true }))],
  ['a schema error formatter', (app) => app.setSchemaErrorFormatter(() => new Error('of the host'))],
  ['a parser for JSON', (app) => {
    app.removeContentTypeParser('application/json')
    app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, _body, done) => done(null, { token: 'x' }))
  }],
  ['a parser for everything', (app) => {
    app.addContentTypeParser('*', { parseAs: 'string' }, (_request, _body, done) => done(null, { token: 'x' }))
  }],
  ['decorators of the same names', (app) => {
    app.decorate('verifyToken', () => RESULT)
    app.decorateRequest('rawBody', '')
  }]
]

for (const [what, setup] of HOSTS) {
  t.test(`${what} of the host changes no answer`, quiet(async (t) => {
    let run: (token: string) => unknown = (token) => openToken({ secret: TOKEN_SECRET, token })
    const { app, lines } = createHost(t)
    const asked: string[] = []
    await setup(app)
    register(app, asked, { verifyToken: (token) => run(token) as null, bodyLimit: 1_000 })
    await works(t, app, asked)
    isError(t, await ask(app, 'text', { 'content-type': 'text/plain' }), 415, UNSUPPORTED, what)
    isError(t, await ask(app, ' '.repeat(1_001)), 413, TOO_LARGE, what)
    run = failing
    isError(t, await ask(app, { token: mint() }), 500, INTERNAL, what)
    run = () => undefined
    isError(t, await ask(app, { token: mint() }), 500, INTERNAL, what)
    t.notMatch(JSON.stringify(lines), 'canary of a failure')
    if (app.hasRoute({ method: 'POST', url: '/zod' })) {
      t.strictSame((await app.inject({ method: 'POST', url: '/zod', payload: { n: '1' } })).json(), { n: 2 })
    }
  }))
}

t.test("an error of a host's hook is answered in the format of this API, without its message", quiet(async (t) => {
  for (const stage of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
    const { app } = createHost(t)
    const asked: string[] = []
    app.addHook(stage as 'onRequest', async () => failing())
    register(app, asked)
    const reply = await ask(app, { token: mint() })
    isError(t, reply, 500, INTERNAL, stage)
    t.notOk(reply.headers['x-canary'])
    t.strictSame(asked, [])
  }
}))

t.test("a request that a host's hook refuses is not reported as a wrong key or token", quiet(async (t) => {
  for (const [statusCode, code, message] of [
    [400, 'badRequest', 'Bad Request'],
    [401, 'unauthorized', 'Unauthorized'],
    [403, 'forbidden', 'Forbidden'],
    [429, 'invalidRequest', 'Too Many Requests'],
    [502, 'internalError', 'Bad Gateway']
  ] as const) {
    const { app } = createHost(t)
    const asked: string[] = []
    app.addHook('onRequest', async () => { throw Object.assign(new Error('of the host'), { statusCode }) })
    register(app, asked)
    const reply = await ask(app, { token: mint() })
    t.equal(reply.statusCode, statusCode)
    t.strictSame(JSON.parse(reply.body), { code, message })
    t.strictSame(asked, [])
  }
}))

t.test('an onSend hook of a host that always throws does not show its error either', async (t) => {
  const { app, asked } = createService(t)
  app.addHook('onSend', async () => { throw new Error('of the host') })
  const token = mint()
  for (const [key, seen] of [['wrong', []], [SERVICE_KEY, [token]]] as const) {
    const reply = await ask(app, { token }, { 'x-api-key': key })
    isError(t, reply, 500, INTERNAL, key)
    t.strictSame(asked, seen)
  }
})

t.test('if an onRoute hook of a host removes the check, nobody is admitted', async (t) => {
  const { app } = createHost(t)
  const asked: string[] = []
  app.addHook('onRoute', (route) => { route.preHandler = [] })
  register(app, asked)
  for (const key of [SERVICE_KEY, 'wrong']) {
    isError(t, await ask(app, { token: mint() }, { 'x-api-key': key }), 401, UNAUTHORIZED, key)
  }
  t.strictSame(asked, [])
})

const PLUGIN = 'humandetectApiPlugin'
const NO_KEY = 'must be visible ASCII without spaces or commas'
const NO_PATH = 'must be a path that starts with "/", without a query'
const whole = (most: number) => `must be an integer from 1 to ${most}`
const SECRET_VALUE = 'canary-value'

type Case = [what: string, options: Record<string, unknown>, option: string, expected: string]
const cases = (option: string, expected: string, values: unknown[]): Case[] =>
  values.map((value) => [`${option}: ${inspect(value)}`, { [option]: value }, option, expected])

const REFUSED_OPTIONS: Case[] = [
  ...cases('apiKeys', 'is required', [undefined]),
  ...cases('apiKeys', 'must be an array of keys', [
    null, [], {}, SECRET_VALUE, 5, { 0: SECRET_VALUE, length: 1 }, new Set([SECRET_VALUE]), { [SECRET_VALUE]: 'x' }, () => [SECRET_VALUE]
  ]),
  ...cases('apiKeys', NO_KEY, [
    ...[`${SECRET_VALUE}\n`, `${SECRET_VALUE} x`, ` ${SECRET_VALUE}`, `${SECRET_VALUE},x`, `${SECRET_VALUE}\r\nx: y`, '', ' ', ',',
      `${SECRET_VALUE}\u00e9`, `${SECRET_VALUE}\0`, 5, null, undefined, true, [SECRET_VALUE], {}, Buffer.from(SECRET_VALUE)
    ].flatMap((key) => [[key], ['good', key]])
  ]),
  ...cases('apiKeys', 'must not contain the same key twice', [[SECRET_VALUE, SECRET_VALUE], [SECRET_VALUE, 'other', SECRET_VALUE]]),
  ...cases('verifyToken', 'is required', [undefined]),
  ...cases('verifyToken', 'must be a function', [null, SECRET_VALUE, 5, true, {}, [() => null], Promise.resolve(() => null)]),
  ...cases('onRejected', 'must be a function', [null, SECRET_VALUE, 5, true, {}]),
  ...cases('path', NO_PATH, [null, '', SECRET_VALUE, `${SECRET_VALUE}/x`, ` /${SECRET_VALUE}`, `/${SECRET_VALUE}?a`, `/${SECRET_VALUE}#a`,
    `/${SECRET_VALUE} b`, '/\u00e9', 5, ['/x'], {}]),
  ...cases('bodyLimit', whole(2 ** 30), [null, 0, -1, 1.5, NaN, Infinity, '1024', 2 ** 30 + 1, SECRET_VALUE, {}, 5n]),
  ...cases('bodyTimeout', whole(2 ** 31 - 1), [null, 0, -1, 1.5, NaN, Infinity, '5', 2 ** 31, SECRET_VALUE]),
  ...cases('handlerTimeout', whole(2 ** 31 - 1), [null, 0, -1, 1.5, NaN, Infinity, '5', 2 ** 31, SECRET_VALUE]),
  ...cases('prefix', 'must be a string', [5]),
  ...cases('logLevel', 'must be a non-empty string', [5, '']),
  ...['apikeys', 'apiKey', 'verifytoken', 'secret', 'tolerance', 'futureTolerance', 'now', 'allowWeakSecret', 'allowHttp', 'baseUrl',
    'paths', 'verify', 'onrejected', '__typo__'].map((name): Case => [name, { [name]: SECRET_VALUE }, name, 'is not known']),
  ['an unknown option that is undefined', { secret: undefined }, 'secret', 'is not known'],
  ['an inherited one', Object.create({ secret: SECRET_VALUE }), 'secret', 'is not known']
]

t.test('invalid options prevent the start of the server, and are never shown', quiet(async (t) => {
  for (const [what, options, option, expected] of REFUSED_OPTIONS) {
    const { app } = createHost(t)
    const given = Object.assign(Object.create(Object.getPrototypeOf(options)), {
      apiKeys: [SERVICE_KEY], verifyToken: () => null
    }, options)
    app.register(humandetectApiPlugin as unknown as FastifyPluginAsync<object>, given)
    const error = await app.ready().then(() => undefined, (error: unknown) => error)
    const { code, message } = Object(error)
    t.strictSame({ code, message }, {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: `${PLUGIN}: option "${option}" ${expected}`
    }, what)
    t.notMatch(inspect(error, { depth: 9, showHidden: true }), 'canary', `${what}: not shown`)
  }
}))

t.test('optional options may be undefined', async (t) => {
  const { app } = createHost(t)
  const asked: string[] = []
  register(app, asked, {
    path: undefined, onRejected: undefined, bodyLimit: undefined, bodyTimeout: undefined, handlerTimeout: undefined
  })
  await works(t, app, asked)
  t.equal((await ask(app, `{"token":"x"}${' '.repeat(65_536 - 13)}`)).statusCode, 400, '64 KiB are read')
  t.equal((await ask(app, `{"token":"x"}${' '.repeat(65_536 - 12)}`)).statusCode, 413, 'and not a byte more')
})
