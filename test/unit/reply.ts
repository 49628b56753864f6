import { FormatRegistry, Kind, Type, type TSchema } from '@sinclair/typebox'
import t from 'tap'
import { z } from 'zod'
import { compileReply, plainObjectJson } from '../../plugins/lib/reply.js'
import { compileCheck, compileOptionCheck } from '../../plugins/lib/validation.js'

const REPLY = Type.Object({
  name: Type.String(),
  level: Type.Optional(Type.Number()),
  note: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  money: Type.Optional(Type.Object({ amount: Type.Number(), unit: Type.Optional(Type.String()) })),
  lines: Type.Optional(Type.Array(Type.Object({ sku: Type.String(), count: Type.Optional(Type.Integer()) }))),
  contact: Type.Optional(Type.Union([
    Type.Object({ mail: Type.String(), phone: Type.Optional(Type.String()) }), Type.Object({ post: Type.String() })
  ]))
})
const written = (body: string) => ({ statusCode: 200, body, outcome: 'accepted', reason: 'handled' })

/** Serializes its number as a string, like decimals of database drivers. */
class Decimal {
  readonly #text: string
  constructor (text: string) { this.#text = text }
  toJSON (): string { return this.#text }
}

t.test('a reply is written as JSON, without properties that its schema does not have', async (t) => {
  const write = compileReply(REPLY)
  const replies: [reply: unknown, body: string][] = [
    [{ name: 'a', level: 1.5, note: null }, '{"name":"a","level":1.5,"note":null}'],
    [{ password: 'x', name: '', level: undefined }, '{"name":""}'],
    [Object.assign(Object.create(null), { name: 'a' }), '{"name":"a"}'],
    [new class { readonly name = 'a'; readonly level = -0 }(), '{"name":"a","level":0}'],
    [{ name: { toJSON: () => 'a' } }, '{"name":"a"}'],
    [{ name: 'a', note: Object('text') }, '{"name":"a","note":"text"}'],
    [{ name: new Date(0), level: Object(2) }, '{"name":"1970-01-01T00:00:00.000Z","level":2}'],
    [{ name: 'a', money: JSON.parse('{"amount":1,"__proto__":{"unit":"x"}}') }, '{"name":"a","money":{"amount":1}}']
  ]
  for (const [reply, body] of replies) t.strictSame(write(reply, {}), written(body), body)
})

t.test('optional members that are null are removed at every level, unless the schema accepts null', async (t) => {
  const write = compileReply(REPLY)
  const replies: [reply: unknown, body: string][] = [
    [{ name: 'a', level: null, note: null, money: null, lines: null }, '{"name":"a","note":null}'],
    [{ name: 'a', money: { amount: 1, unit: null } }, '{"name":"a","money":{"amount":1}}'],
    [{ name: 'a', lines: [{ sku: 'x', count: null }, { sku: 'y', count: 2 }] }, '{"name":"a","lines":[{"sku":"x"},{"sku":"y","count":2}]}'],
    [{ name: 'a', contact: null }, '{"name":"a"}'],
    [{ name: 'a', contact: { mail: 'm', phone: null } }, '{"name":"a","contact":{"mail":"m"}}']
  ]
  for (const [reply, body] of replies) t.strictSame(write(reply, {}), written(body), body)
  t.strictSame(write({ name: null, level: null }, {}), { problems: ['/name: Expected string'] }, 'required members stay')
  t.strictSame(write({ name: 'a', contact: { mail: null, phone: null } }, {}), { problems: ['/contact: Expected union value'] })
  const anything = compileReply(Type.Object({ any: Type.Optional(Type.Unknown()) }))
  t.strictSame(anything({ any: null }, {}), written('{"any":null}'), 'where any value is accepted, null is')
  const escaped = compileReply(Type.Object({ 'a/b~c': Type.Optional(Type.String()) }))
  t.strictSame(escaped({ 'a/b~c': null }, {}), written('{}'))
})

t.test('all problems of a reply are listed, each by a path and a rule, ten at most', async (t) => {
  const write = compileReply(REPLY)
  const circular: { name: unknown } = { name: 'a' }
  circular.name = circular
  const replies: [reply: unknown, ...problems: string[]][] = [
    [undefined, '/: Expected object'], [null, '/: Expected object'], ['a', '/: Expected object'],
    [['a'], '/: Expected object'], [() => {}, '/: Expected object'], [{}, '/name: Expected required property'],
    [{ name: () => {} }, '/name: Expected required property'], [{ name: NaN }, '/name: Expected string'],
    [{ name: 'a', level: 'high' }, '/level: Expected number'], [{ name: 'a', note: 5 }, '/note: Expected string'],
    [{ name: 'a', note: NaN }, '/note: Expected string'],
    [{ name: 'a', level: 5n }, '/level: Expected number'],
    [{ name: 'a', level: new Decimal('1.50') }, '/level: Expected number'],
    [{ name: 'a', level: new Date(0) }, '/level: Expected number'],
    [circular, '/name: Expected required property'],
    [{ name: 'a', get level () { throw new Error('canary') } }, '/level: cannot be serialized as JSON'],
    [{ name: 5, level: 'x', money: { amount: 'y' }, lines: [{ sku: 1 }, { sku: 'a', count: 1.5 }] },
      '/name: Expected string', '/level: Expected number', '/money/amount: Expected number', '/lines/0/sku: Expected string',
      '/lines/1/count: Expected integer']
  ]
  for (const [reply, ...problems] of replies) t.strictSame(write(reply, {}), { problems }, problems.join('; '))
  const many = write({ name: 'a', lines: Array(20).fill({ sku: 1 }) }, {})
  t.equal('problems' in many && many.problems.length, 10)
})

t.test('a value that JSON cannot express is a problem if the schema accepts it', async (t) => {
  const write = compileReply(Type.Object({ any: Type.Unknown() }))
  const circular: Record<string, unknown> = {}
  circular['self'] = [circular]
  t.strictSame(write({ any: { id: 5n } }, {}), { problems: ['/any/id: cannot be serialized as JSON'] })
  t.strictSame(write({ any: [circular] }, {}), { problems: ['/any/0/self/0: cannot be serialized as JSON'] })
  const twice = { a: 1 }
  t.strictSame(write({ any: [twice, twice] }, {}), written('{"any":[{"a":1},{"a":1}]}'), 'the same object twice is not circular')
})

t.test('toJSON is called once, before the members are picked: hidden members stay hidden', async (t) => {
  let calls = 0
  const row = { name: 'secret', level: 5, toJSON () { calls++; return { name: 'shown', note: { toJSON: () => 'n' } } } }
  t.strictSame(compileReply(REPLY)(row, {}), written('{"name":"shown","note":"n"}'))
  t.equal(calls, 1)
  t.strictSame(compileReply(REPLY)({ toJSON: () => ({ name: 'a', toJSON: () => 5 }) }, {}), written('{"name":"a"}'))
  const key = { toJSON: (key: string) => key }
  t.strictSame(compileReply(REPLY)({ name: key }, {}), written('{"name":"name"}'))
})

t.test('plain objects are distinguished from instances, lists and primitives', async (t) => {
  t.equal(plainObjectJson({ a: 1, b: new Date(0) }), '{"a":1,"b":"1970-01-01T00:00:00.000Z"}')
  t.equal(plainObjectJson(Object.assign(Object.create(null), { a: 1 })), '{"a":1}')
  const hostile = new Proxy({}, { getPrototypeOf () { throw new Error('x') } })
  const others = [undefined, null, true, 0, 5n, 'OK', [], [{ a: 1 }], new Map(), new Date(), new Decimal('1'), () => {}, hostile,
    { a: 5n }, { toJSON: () => 'text' }, { get a () { throw new Error('x') } }]
  for (const [index, value] of others.entries()) t.equal(plainObjectJson(value), undefined, `value ${index}`)
  const circular = { a: {} as object }
  circular.a = { circular }
  t.equal(plainObjectJson(circular), undefined, 'an object that cannot be sent whole is not sent in part')
})

t.test('a schema without properties accepts any value unchanged; undefined is not a value', async (t) => {
  const write = compileReply(Type.Unknown())
  for (const value of [null, false, true, 0, '', 'text', [], [1, { a: null }], { a: { b: [] } }]) {
    t.strictSame(write(value, {}), written(JSON.stringify(value)))
  }
  for (const value of [undefined, () => {}, Symbol('x')]) {
    t.strictSame(write(value, {}), { problems: ['/: Expected a value'] })
  }
})

t.test('a getter is called once: the value that is checked is the value that is sent', async (t) => {
  let asked = 0
  const reply = { get name () { return asked++ === 0 ? 'first' : 5 } }
  t.strictSame(compileReply(REPLY)(reply, {}), written('{"name":"first"}'))
  t.equal(asked, 1)
})

t.test('the check of a reply against its event sees the value that is sent, once it is valid', async (t) => {
  const asked: unknown[] = []
  const write = compileReply(REPLY, (reply, event: { name: string }) => {
    asked.push(reply)
    return reply.name === event.name ? undefined : '/name: another'
  })
  t.strictSame(write({ name: 'a', password: 'x' }, { name: 'a' }), written('{"name":"a"}'))
  t.strictSame(write({ name: 'a' }, { name: 'b' }), { problems: ['/name: another'] })
  t.strictSame(write({ name: 5 }, { name: 'b' }), { problems: ['/name: Expected string'] })
  t.strictSame(asked, [{ name: 'a' }, { name: 'a' }])
})

t.test('a problem is described by a path and a rule, never by the value', async (t) => {
  const check = compileCheck(Type.Object({
    id: Type.String(),
    tags: Type.Array(Type.Integer()),
    ip: Type.Optional(Type.Union([Type.String(), Type.Null()])),
    either: Type.Optional(Type.Union([Type.String(), Type.Number()]))
  }))
  t.equal(check({ id: 'a', tags: [], ip: null, either: 5 }), undefined)
  const wrong: [value: unknown, problem: string][] = [
    ['canary', '/: Expected object'],
    [{ tags: [] }, '/id: Expected required property'],
    [{ id: 'a', tags: [1, 'canary'] }, '/tags/1: Expected integer'],
    [{ id: 'a', tags: [], ip: true }, '/ip: Expected string'],
    [{ id: 'a', tags: [], either: true }, '/either: Expected union value']
  ]
  for (const [value, problem] of wrong) t.equal(check(value), problem)
})

t.test('a nullable schema within a nullable one reports the innermost; a union of one schema is a union', async (t) => {
  const nullable = (schema: TSchema) => Type.Union([schema, Type.Null()])
  t.equal(compileCheck(nullable(nullable(Type.Boolean())))(1), '/: Expected boolean')
  t.equal(compileCheck({ [Kind]: 'Union', anyOf: [Type.String()] } as unknown as TSchema)(1), '/: Expected union value')
})

t.test('a problem has 300 characters at most, however long the names of a sender are', async (t) => {
  const check = compileCheck(Type.Record(Type.String(), Type.Number()))
  const problem = check({ ['x'.repeat(1000)]: 'canary' })
  t.equal(problem, `/${'x'.repeat(299)}`)
})

t.test("a schema of an option must be TypeBox's, with known formats", async (t) => {
  const compile = (schema: unknown) => compileOptionCheck('aPlugin', 'reply', schema as TSchema)
  FormatRegistry.Set('lib-schema-check', (text) => text === 'known')
  t.teardown(() => { FormatRegistry.Delete('lib-schema-check') })
  const check = compile(Type.Object({ a: Type.String({ format: 'lib-schema-check' }) }, { default: null }))
  t.equal(check({ a: 'known' }), undefined)
  t.match(check({ a: 'canary' }), /^\/a: Expected string to match 'lib-schema-check' format$/)
  t.equal(compile(Type.Number({ format: 'unknown' }))(5), undefined, 'formats apply to strings')
  t.equal(compile(Type.Object({ format: Type.Literal('text') }))({ format: 'text' }), undefined, 'a name like any other')

  const code = 'FST_VERIFICATION_INVALID_OPTION'
  for (const schema of [
    Type.String({ format: 'unknown' }), Type.Array(Type.Object({ a: Type.Optional(Type.String({ format: 'unknown' })) }))
  ]) {
    t.throws(() => compile(schema), {
      code, message: 'aPlugin: option "reply" uses a format that is not in TypeBox\'s FormatRegistry'
    })
  }
  const hostile = new Proxy({}, { get () { throw new Error('canary') } })
  for (const schema of [{}, null, undefined, 5, 'string', { '~standard': {} }, hostile]) {
    t.throws(() => compile(schema), { code, message: 'aPlugin: option "reply" must be a TypeBox schema' })
  }
})

t.test('a schema of another library is refused with its origin, and with the package of Type', async (t) => {
  const ofTypebox1 = Object.defineProperty({ type: 'string' }, '~kind', { value: 'String' })
  const cyclic: Record<string, unknown> = { default: null }
  cyclic['default'] = cyclic
  for (const [schema, origin] of [
    [ofTypebox1, 'was made with typebox 1.x'],
    [Type.Object({ a: Type.Array(ofTypebox1 as unknown as TSchema) }), 'was made with typebox 1.x'],
    [z.object({ a: z.string() }), 'was made with zod'],
    [Type.Object({ a: z.string() as unknown as TSchema }), 'was made with zod'],
    [{ type: 'string' }, 'is plain JSON Schema'],
    [Type.Object({ a: { type: 'string' } as unknown as TSchema }), 'is plain JSON Schema'],
    [{ cyclic, type: 5, items: ofTypebox1 }, 'was made with typebox 1.x']
  ] as const) {
    t.throws(() => compileOptionCheck('aPlugin', 'reply', schema as TSchema), {
      code: 'FST_VERIFICATION_INVALID_OPTION',
      message: 'aPlugin: option "reply" must be a TypeBox schema of @sinclair/typebox 0.34, which ' +
        `fastify-verification/provider exports as "Type": this one ${origin}`
    })
  }
})
