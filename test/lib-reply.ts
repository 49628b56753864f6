import { Type } from '@sinclair/typebox'
import t from 'tap'
import { compileReply, pick } from '../plugins/lib/reply.js'

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
