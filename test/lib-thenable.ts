import t from 'tap'
import { isThenable, outcomeOf } from '../plugins/lib/thenable.js'
import { thenable } from './fixtures/stores.js'

t.test('what has a method "then" can be waited for', async (t) => {
  const own = Object.assign(() => {}, { then () {} })
  class Later { then () {} }
  const values = [Promise.resolve(), { then () {} }, own, new Later(), Object.create(new Later())]
  for (const value of values) t.equal(isThenable(value), true)
})

t.test('nothing else can', async (t) => {
  const values = [undefined, null, 0, 1n, '', 'then', true, Symbol('x'), {}, [], () => {}, { then: 1 }, { then: {} }, { catch () {} }]
  for (const value of values) t.equal(isThenable(value), false)
})

t.test('what cannot be looked at throws', async (t) => {
  const failure = new Error('x')
  t.throws(() => isThenable({ get then () { throw failure } }), failure)
})

t.test('the outcome is that of the thenable, as a promise of our own', async (t) => {
  const resolved = Promise.resolve(1)
  t.not(outcomeOf(resolved), resolved)
  t.type(outcomeOf(thenable(() => {})), Promise)
  t.equal(await outcomeOf(resolved), 1)
  t.equal(await outcomeOf(thenable((resolve) => resolve(thenable((resolve) => resolve(2))))), 2)
  await t.rejects(outcomeOf(Promise.reject(new Error('x'))), { message: 'x' })
})

t.test('a thenable that breaks the rules of promises gives one outcome', async (t) => {
  await t.rejects(outcomeOf(thenable(() => { throw new Error('x') })), { message: 'x' })
  t.equal(await outcomeOf(thenable((resolve, reject) => {
    resolve(1)
    resolve(2)
    reject(new Error('x'))
    throw new Error('y')
  })), 1)
  await t.rejects(outcomeOf(thenable((resolve, reject) => {
    reject(new Error('x'))
    resolve(1)
  })), { message: 'x' })
  t.equal(await outcomeOf(thenable((resolve) => { setImmediate(resolve, 3) })), 3)
})

t.test('a thenable is asked once, and not before its caller has gone on', async (t) => {
  let asked = 0
  const outcome = outcomeOf(thenable((resolve) => {
    asked++
    resolve('x')
  }))
  t.equal(asked, 0)
  await outcome
  t.equal(asked, 1)
})
