import { FormatRegistry, Kind, Type, type TSchema } from '@sinclair/typebox'
import t from 'tap'
import { compileCheck, compileOptionCheck } from '../plugins/lib/schema-check.js'

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
