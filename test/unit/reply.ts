import { FormatRegistry, Kind, Type, type TSchema } from '@sinclair/typebox'
import t from 'tap'
import { compileReply, pick } from '../../plugins/lib/reply.js'
import { compileCheck, compileOptionCheck } from '../../plugins/lib/schema-check.js'

const REPLY = Type.Object({
  name: Type.String(),
  level: Type.Optional(Type.Number()),
  note: Type.Optional(Type.Union([Type.String(), Type.Null()]))
})
const written = (body: string) => ({ statusCode: 200, body, outcome: 'accepted', reason: 'handled' })

t.test('a reply is written as JSON, without properties its schema does not have', async (t) => {
  const write = compileReply(REPLY)
  const replies: [reply: unknown, body: string][] = [
    [{ name: 'a', level: 1.5, note: null }, '{"name":"a","level":1.5,"note":null}'],
    [{ password: 'x', name: '', level: undefined }, '{"name":""}'],
    [Object.assign(Object.create(null), { name: 'a' }), '{"name":"a"}'],
    [new class { readonly name = 'a'; readonly level = -0 }(), '{"name":"a","level":0}'],
    [{ name: { toJSON: () => 'a' } }, '{"name":"a"}'],
    [{ name: 'a', note: Object('text') }, '{"name":"a","note":"text"}'],
    [{ name: 'a', note: NaN }, '{"name":"a","note":null}']
  ]
  for (const [reply, body] of replies) t.strictSame(write(reply, {}), written(body), body)
})

t.test('what is wrong with a reply is told by a path and a rule', async (t) => {
  const write = compileReply(REPLY)
  const circular: { name: unknown } = { name: 'a' }
  circular.name = circular
  const replies: [reply: unknown, problem: string][] = [
    [undefined, '/: Expected object'], [null, '/: Expected object'], ['a', '/: Expected object'],
    [['a'], '/: Expected object'], [() => {}, '/: Expected object'], [{}, '/name: Expected required property'],
    [{ name: () => {} }, '/name: Expected required property'], [{ name: NaN }, '/name: Expected string'],
    [{ name: 'a', level: 'high' }, '/level: Expected number'], [{ name: 'a', note: 5 }, '/note: Expected string'],
    [circular, '/: cannot be written as JSON'], [{ name: 5n }, '/: cannot be written as JSON'],
    [{ get name () { throw new Error('canary') } }, '/: cannot be written as JSON']
  ]
  for (const [reply, problem] of replies) t.strictSame(write(reply, {}), { problem }, problem)
})

t.test('a schema without properties takes values as they are; nothing is no value', async (t) => {
  const write = compileReply(Type.Unknown())
  for (const value of [null, false, true, 0, '', 'text', [], [1, { a: null }], { a: { b: [] } }]) {
    t.strictSame(write(value, {}), written(JSON.stringify(value)))
  }
  for (const value of [undefined, () => {}, Symbol('x')]) {
    t.strictSame(write(value, {}), { problem: '/: Expected a value' })
  }
})

t.test('a getter is asked once: what is checked is what is sent', async (t) => {
  let asked = 0
  const reply = { get name () { return asked++ === 0 ? 'first' : 5 } }
  t.strictSame(compileReply(REPLY)(reply, {}), written('{"name":"first"}'))
  t.equal(asked, 1)
})

t.test('whether a reply fits its event is asked of what is sent, once it is valid', async (t) => {
  const asked: unknown[] = []
  const write = compileReply(REPLY, (reply, event: { name: string }) => {
    asked.push(reply)
    return reply.name === event.name ? undefined : '/name: another'
  })
  t.strictSame(write({ name: 'a', password: 'x' }, { name: 'a' }), written('{"name":"a"}'))
  t.strictSame(write({ name: 'a' }, { name: 'b' }), { problem: '/name: another' })
  t.strictSame(write({ name: 5 }, { name: 'b' }), { problem: '/name: Expected string' })
  t.strictSame(asked, [{ name: 'a' }, { name: 'a' }])
})

t.test('only what an object has is picked of it', async (t) => {
  t.strictSame(Object.keys(pick({ a: 1, b: undefined, c: null, d: 4 }, ['a', 'b', 'c', 'e']) as object), ['a', 'c'])
  for (const value of [null, undefined, 'length', 5, ['length']]) t.equal(pick(value, ['length']), value)
})

t.test('what is wrong is told by a path and a rule, never by the value', async (t) => {
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

t.test('of something nullable within something nullable the inmost is told; a choice of one is one', async (t) => {
  const nullable = (schema: TSchema) => Type.Union([schema, Type.Null()])
  t.equal(compileCheck(nullable(nullable(Type.Boolean())))(1), '/: Expected boolean')
  t.equal(compileCheck({ [Kind]: 'Union', anyOf: [Type.String()] } as unknown as TSchema)(1), '/: Expected union value')
})

t.test('what is told has 300 characters at most, however long the names of a sender are', async (t) => {
  const check = compileCheck(Type.Record(Type.String(), Type.Number()))
  const problem = check({ ['x'.repeat(1000)]: 'canary' })
  t.equal(problem, `/${'x'.repeat(299)}`)
})

t.test('a schema of an option is one of TypeBox, with formats it knows', async (t) => {
  const compile = (schema: unknown) => compileOptionCheck('aPlugin', 'reply', schema as TSchema)
  FormatRegistry.Set('lib-schema-check', (text) => text === 'known')
  t.teardown(() => { FormatRegistry.Delete('lib-schema-check') })
  const check = compile(Type.Object({ a: Type.String({ format: 'lib-schema-check' }) }, { default: null }))
  t.equal(check({ a: 'known' }), undefined)
  t.match(check({ a: 'canary' }), /^\/a: Expected string to match 'lib-schema-check' format$/)
  t.equal(compile(Type.Number({ format: 'unknown' }))(5), undefined, 'formats are of texts')
  t.equal(compile(Type.Object({ format: Type.Literal('text') }))({ format: 'text' }), undefined, 'a name like any other')

  const code = 'FST_VERIFICATION_INVALID_OPTION'
  for (const schema of [
    Type.String({ format: 'unknown' }), Type.Array(Type.Object({ a: Type.Optional(Type.String({ format: 'unknown' })) }))
  ]) {
    t.throws(() => compile(schema), {
      code, message: 'aPlugin: option "reply" uses a format that is not in TypeBox\'s FormatRegistry'
    })
  }
  for (const schema of [{}, { type: 'string' }, null, undefined, 5, 'string']) {
    t.throws(() => compile(schema), { code, message: 'aPlugin: option "reply" must be a TypeBox schema' })
  }
})
