import { Type, type TSchema } from '@sinclair/typebox'
import swagger from '@fastify/swagger'
import { Validator } from '@seriousme/openapi-schema-validator'
import Fastify from 'fastify'
import t from 'tap'
import type { RejectedDelivery } from '../../plugins/index.js'
import { deny } from '../../plugins/provider.js'
import { outcomeOf } from '../support/life-cycle.js'
import { createOwn, define, refusal, refuses, SECRET } from '../support/own-providers/mine.js'
import { quiet } from '../support/quiet.js'
import { watch } from '../support/watch.js'

const FORM = 'application/x-www-form-urlencoded'
const NEVER = Type.Never()
const CLOUD_EVENTS = 'application/cloudevents+json'

t.test('a body is accepted with a content type of the definition, and refused with any other', quiet(async (t) => {
  for (const [contentTypes, accepted, others] of [
    [undefined, ['application/json', 'APPLICATION/JSON; charset=utf-8'], [CLOUD_EVENTS, FORM, 'application/jsonx']],
    [[CLOUD_EVENTS], [CLOUD_EVENTS, `${CLOUD_EVENTS}; charset="UTF-8"`, ' Application/CloudEvents+JSON ;x=y'],
      ['application/json', FORM, 'application/cloudeventsxjson', `${CLOUD_EVENTS}; charset=latin1`, `${CLOUD_EVENTS}x`, '']],
    [['application/json', FORM], ['application/json', FORM, `${FORM};charset=utf-8`],
      [CLOUD_EVENTS, `${FORM}; charset=iso-8859-1`, 'application/x-www-form', 'multipart/form-data; boundary=x', 'text/plain']]
  ] as const) {
    const { deliver, events } = createOwn(t, { contentTypes })
    for (const type of accepted) t.equal((await deliver('{}', '{}', type)).statusCode, 204, type)
    for (const type of others) t.equal((await deliver('{}', '{}', type)).statusCode, 415, type)
    t.equal(events.length, 1, 'the others are copies')
  }
}))

t.test('a form becomes an object of strings, with lists of those that are repeated', quiet(async (t) => {
  const { deliver, events } = createOwn(t, { contentTypes: [FORM], body: Type.Object({}) })
  const cases: [payload: string, event: object][] = [
    ['a=1&b=x', { a: '1', b: 'x' }], ['', {}], ['&&a=1&', { a: '1' }], ['a', { a: '' }], ['a=', { a: '' }], ['=1', { '': '1' }],
    ['a=b=c', { a: 'b=c' }], ['a+b=c+d%2B', { 'a b': 'c d+' }], ['%61=%C3%A9', { a: 'é' }],
    ['a=1&a=2&b=3&a=', { a: ['1', '2', ''], b: '3' }], ['payload=%7B%22a%22%3A1%7D', { payload: '{"a":1}' }],
    ['constructor=1&toString=2', { constructor: '1', toString: '2' }]
  ]
  for (const [payload, event] of cases) {
    const reply = await deliver(payload, payload, FORM)
    t.equal(reply.statusCode, 204, payload)
    t.strictSame(events.at(-1), event, payload)
  }
  const handled = events.length
  for (const payload of ['a=%', 'a=%4', 'a=%zz', '%ff=1', 'a=\xff', '__proto__=1', '%5f_proto__=1', '\xef\xbb\xbfa=1', 'a=%C3']) {
    const reply = await deliver(payload, payload, FORM)
    t.equal(outcomeOf(reply), '400 INVALID_JSON')
    t.equal(reply.json().message, 'The body does not match its content type')
  }
  t.equal((await deliver('a=1', 'a=2', FORM)).statusCode, 403)
  t.equal(events.length, handled)
}))

t.test('the schema decides which fields a form must have', async (t) => {
  const { deliver, events } = createOwn(t, { contentTypes: [FORM], body: Type.Object({ user: Type.String() }) })
  for (const [payload, message] of [
    ['other=1', '/user: Expected required property'], ['user=1&user=2', '/user: Expected string']
  ] as const) {
    const reply = await deliver(payload, payload, FORM)
    t.match(reply.json(), { statusCode: 400, code: 'FST_VERIFICATION_INVALID_PAYLOAD', message })
  }
  t.equal((await deliver('user=1', 'user=1', FORM)).statusCode, 204)
  t.strictSame(events, [{ user: '1' }])
})

t.test('an array is an event if the schema requires one', quiet(async (t) => {
  const list = Type.Array(Type.Object({ id: Type.Number() }))
  const object = Type.Object({})
  for (const [body, arrays, objects] of [
    [list, true, false], [object, false, true], [Type.Union([list, object]), true, true], [Type.Unknown(), false, true],
    [Type.Intersect([list, Type.Array(Type.Unknown())]), true, false],
    [Type.Record(Type.String(), Type.Unknown()), false, true]
  ] as const) {
    const { deliver, events } = createOwn(t, { body })
    t.equal((await deliver('[{"id":1}]')).statusCode, arrays ? 204 : 400)
    t.equal(outcomeOf(await deliver('[{"id":1}]')), arrays ? '204 replayed' : '400 INVALID_JSON')
    t.equal((await deliver('{}')).statusCode, objects ? 204 : 400)
    t.equal(outcomeOf(await deliver('"text"')), '400 INVALID_JSON')
    t.strictSame(events, [...arrays ? [[{ id: 1 }]] : [], ...objects ? [{}] : []])
  }
  const { deliver } = createOwn(t, { body: list })
  t.equal((await deliver('[{"id":"x"}]')).json().message, '/0/id: Expected number')
}))

t.test('a delivery that is not authentic is answered as the definition says, the same for every reason', quiet(async (t) => {
  const { reports } = watch(t)
  for (const [refusal, statusCode, body] of [
    [{ statusCode: 401 }, 401, {
      code: 'FST_VERIFICATION_FORBIDDEN', error: 'Unauthorized', message: 'The delivery is not authentic'
    }],
    [{ statusCode: 400, body: { ok: false, error: 'signature' } }, 400, { ok: false, error: 'signature' }],
    [{ statusCode: 403, body: [] }, 403, []]
  ] as const) {
    const rejected: string[] = []
    const onRejected = ({ reason }: RejectedDelivery) => { rejected.push(reason) }
    const { deliver, app, events } = createOwn(t, { refusal }, { onRejected })
    const replies = [
      await deliver('{}', '{ }'),
      await app.inject({ method: 'POST', url: '/mine', payload: {} }),
      await app.inject({ method: 'POST', url: '/mine', headers: { 'x-mac': 'x' }, payload: {} }),
      await app.inject({ method: 'POST', url: '/mine', headers: { 'x-mac': '0'.repeat(64) } })
    ]
    t.strictSame(rejected, ['mismatch', 'missing_header', 'malformed_header', 'no_body'])
    t.equal(new Set(replies.map(({ payload, headers }) => payload + headers['content-type'])).size, 1)
    for (const reply of replies) {
      t.equal(reply.statusCode, statusCode)
      t.match(reply.json(), body)
    }
    t.equal(reports.at(-1)!.status, statusCode)
    t.equal((await deliver()).statusCode, 204)
    t.equal(outcomeOf(await deliver('[]')), '400 INVALID_JSON', 'other answers are the same')
    t.equal(events.length, 1)
  }
}))

t.test('the default denial does not use the words of another provider', async (t) => {
  for (const [options, expected] of [
    [undefined, [401, 'denied', 'The delivery was denied']],
    [{ statusCode: 410 }, [410, 'denied', 'The delivery was denied']],
    [{ code: 'gone', message: 'No longer' }, [401, 'gone', 'No longer']]
  ] as const) {
    const { deliver } = createOwn(t, {}, { handleEvent () { throw deny(options) } })
    const reply = await deliver()
    const [statusCode, code, message] = expected
    t.equal(reply.statusCode, statusCode)
    t.strictSame(reply.json(), { status: 'error', code, message })
  }
})

t.test('parts of a definition that cannot work are refused', quiet(async (t) => {
  const types = `must be an array of unique media types: "${FORM}", or JSON types in lowercase`
  const badTypes = [
    null, [], 'application/json', [''], ['Application/JSON'], ['text/plain'], ['multipart/form-data'], ['application/*+json'],
    ['application/json', 'application/json'], ['application/json; charset=utf-8'], [5], Array(1), ['application/xml+jsonx']
  ]
  const primitives = [
    Type.String(), Type.Number(), Type.Integer(), Type.Boolean(), Type.Null(), Type.Union([Type.String(), Type.Null()]),
    Type.Literal(1)
  ]
  const impossible = [
    NEVER, Type.Object({ a: NEVER }), Type.Object({ a: Type.Object({ b: NEVER }) }), Type.Union([]),
    Type.Union([NEVER, Type.Array(NEVER, { minItems: 1 })]), Type.Intersect([Type.Object({}), Type.String()]),
    Type.Intersect([Type.Object({}), Type.Object({ a: NEVER })]), Type.Object({ at: Type.Date() }),
    Type.Object({ n: Type.BigInt() }), Type.Object({ n: Type.Number({ minimum: 2, maximum: 1 }) }),
    Type.Object({ s: Type.String({ minLength: 2, maxLength: 1 }) }),
    Type.Object({}, { minProperties: 1, maxProperties: 0 }),
    Type.Object({ l: Type.Array(Type.String(), { minItems: 3, maxItems: 2 }) }),
    ...[
      Type.Undefined(), Type.Void(), Type.Symbol(), Type.Uint8Array(), Type.Promise(Type.Any()),
      Type.Function([], Type.Any()), Type.Constructor([], Type.Any()), Type.Iterator(Type.Any()),
      Type.AsyncIterator(Type.Any())
    ].flatMap((one) => [one, Type.Object({ member: one })])
  ]
  const cases: [changes: object, option: string, expected: string][] = [
    ...badTypes.map((contentTypes): [object, string, string] => [{ contentTypes }, 'option "contentTypes"', types]),
    [{ refusal: {} }, 'refusal: option "statusCode"', 'is required'],
    ...[200, 404, 500, '401', null].map((statusCode): [object, string, string] =>
      [{ refusal: { statusCode } }, 'refusal: option "statusCode"', 'must be 400, 401 or 403']),
    ...['canary', 5, null].map((body): [object, string, string] =>
      [{ refusal: { statusCode: 401, body } }, 'refusal: option "body"', 'must be an object']),
    [{ refusal: { statusCode: 401, headers: {} } }, 'refusal: option "headers"', 'is not known'],
    [{ refusal: null }, 'refusal: option "options"', 'must be an object'],
    ...impossible.flatMap((one): [object, string, string][] => [
      [{ body: one }, 'option "body"', 'can never match'], [{ reply: one }, 'option "reply"', 'can never match']
    ]),
    ...primitives.map((body): [object, string, string] => [{ body }, 'option "body"', 'must accept objects or arrays']),
    [{ body: Type.Array(Type.String()), contentTypes: [FORM] }, 'option "body"', 'must accept objects']
  ]
  for (const [changes, option, expected] of cases) {
    refuses(t, await refusal(t, changes), `createProvider: ${option} ${expected}`, JSON.stringify(changes))
  }
}))

t.test('a schema that can match is not refused', quiet(async (t) => {
  const possible: TSchema[] = [
    Type.Unknown(), Type.Any(), Type.Object({}), Type.Object({ a: Type.Optional(NEVER) }), Type.Array(NEVER),
    Type.Tuple([]),
    Type.Tuple([Type.String()]), Type.Record(Type.String(), NEVER), Type.Union([NEVER, Type.Object({})]),
    Type.Recursive((This) => Type.Object({ a: Type.Optional(This) })), Type.Not(Type.String()),
    Type.Intersect([Type.Object({ a: Type.String() }), Type.Object({ b: Type.String() })]),
    Type.Object({ n: Type.Integer({ minimum: 1, maximum: 1 }), e: Type.Enum({ a: 1, b: 'x' }) }),
    Type.Object({ n: Type.Union([Type.String(), Type.Undefined()]) }),
    Type.Object({ i: Type.Intersect([Type.Integer(), Type.Number()]) }), Type.Object({}, { required: ['elsewhere'] })
  ]
  for (const body of possible) t.equal(await refusal(t, { body }), undefined, JSON.stringify(body))
}))

t.test('the received content type is in the log, and nothing else that a stranger has sent', async (t) => {
  const { deliver, app, lines } = createOwn(t)
  const line = () => lines.findLast(({ msg }) => msg === 'delivery rejected')!
  for (const [type, contentType] of [
    ['text/plain', 'text/plain'], ['text/plain; x=canary', 'text/plain'], ['application/x-www-form-urlencoded;canary', FORM],
    ['application/vnd.github+json', 'application/vnd.github+json'], [' MULTIPART/form-data;boundary=canary', 'MULTIPART/form-data'],
    ['canary canary', 'another'], [`application/${'a'.repeat(61)}+json`, 'another'], ['text/canary', 'another'],
    ['text/plain\u00e9canary', 'another'], ['text/plain canary', 'text/plain']
  ]) {
    t.equal((await deliver('{}', '{}', type)).statusCode, 415)
    t.equal(line()['contentType'], contentType)
    t.equal(line()['contentEncoding'], undefined)
  }
  for (const [coding, contentEncoding] of [['gzip', 'gzip'], ['gzip, canary', 'another'], ['canary', 'another']]) {
    const headers = { 'content-type': 'application/json', 'content-encoding': coding }
    t.equal((await app.inject({ method: 'POST', url: '/mine', headers, payload: '{}' })).statusCode, 415)
    t.match(line(), { reason: 'unsupported_media_type', contentType: 'application/json', contentEncoding })
  }
  t.equal((await app.inject({ method: 'POST', url: '/mine', headers: { 'content-length': '2' }, payload: '{}' })).statusCode, 415)
  t.equal(line()['contentType'], 'none')
})

t.test('API pages show the content types and the refusal, in a valid document', quiet(async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'Webhooks', version: '1' } } })
  const plugins = [
    define({ contentTypes: [CLOUD_EVENTS, FORM], refusal: { statusCode: 401, body: { ok: false } } }),
    define({ refusal: { statusCode: 400 } }), define({ refusal: { statusCode: 403, body: { ok: false } } })
  ]
  plugins.forEach((plugin, index) => app.register(plugin, { secret: SECRET, handleEvent () {}, path: `/${index}` }))
  await app.ready()
  const document = JSON.parse(JSON.stringify(app.swagger()))
  const { valid, errors } = await new Validator().validate(document)
  t.ok(valid, JSON.stringify(errors))
  const [first, second, third] = [0, 1, 2].map((index) => document.paths[`/${index}`].post)
  t.strictSame(Object.keys(first.requestBody.content), [CLOUD_EVENTS, FORM])
  t.notOk(first.responses['403'])
  t.match(first.responses['401'].description, /^Not authentic/)
  t.match(JSON.stringify(first.responses['401']), /"ok":false/)
  t.notOk(second.responses['403'])
  t.match(second.responses['400'].description, /not a JSON object.*Not authentic/)
  t.match(JSON.stringify(third.responses['403']), /"ok":false/)
}))
