import t from 'tap'
import { createRetentionQueues, type Kept } from '../plugins/lib/retention-queues.js'
import { randomOf } from './fixtures/stores.js'

interface Item extends Kept { readonly name: string }

function createQueues () {
  const queues = createRetentionQueues<Item>()
  const put = (name: string, atLeast: number, time = 0): Item => {
    const item: Item = { name, since: NaN, atLeast: NaN, previous: undefined, next: undefined }
    queues.put(item, atLeast, time)
    return item
  }
  const oldest = (): string[] => {
    const names: string[] = []
    queues.eachOldest(({ name }) => { names.push(name) })
    return names.toSorted()
  }
  /** Takes the oldest until there is none. */
  const drain = (): string[] => {
    const names: string[] = []
    for (let before = -1; before < names.length;) {
      before = names.length
      queues.eachOldest((item) => {
        names.push(item.name)
        queues.take(item)
      })
    }
    return names
  }
  return { ...queues, put, oldest, drain }
}

t.test('of each length of time the first one in is the oldest', async (t) => {
  const { put, oldest } = createQueues()
  t.strictSame(oldest(), [])
  put('a', 10)
  t.strictSame(oldest(), ['a'])
  put('b', 10)
  put('c', 20)
  put('d', 20)
  put('e', 0.5)
  t.strictSame(oldest(), ['a', 'c', 'e'])
})

t.test('an item knows when it was put in and for how long', async (t) => {
  const queues = createQueues()
  const item = queues.put('a', 10, 1234)
  t.match(item, { since: 1234, atLeast: 10 })
  queues.take(item)
  queues.put('b', 10, 1300)
  t.match(item, { since: 1234, atLeast: 10 })
})

t.test('whichever is taken, the others stay in their order', async (t) => {
  const names = ['a', 'b', 'c', 'd']
  for (const first of names) {
    for (const second of names) {
      const { put, take, drain } = createQueues()
      const items = new Map(names.map((name) => [name, put(name, 10)]))
      take(items.get(first)!)
      if (second !== first) take(items.get(second)!)
      t.strictSame(drain(), names.filter((name) => name !== first && name !== second))
    }
  }
})

t.test('after the last one is taken there is none, and the next one is the oldest', async (t) => {
  const { put, take, oldest } = createQueues()
  for (const name of ['a', 'b']) {
    const item = put(name, 10)
    const other = put('other', 20)
    t.strictSame(oldest(), [name, 'other'])
    take(item)
    t.strictSame(oldest(), ['other'])
    take(other)
    t.strictSame(oldest(), [])
  }
})

t.test('an item that was taken may be put in again, for another time and behind the others', async (t) => {
  const queues = createRetentionQueues<Item>()
  const { put, take, drain, oldest } = createQueues()
  const item = put('a', 10, 1)
  put('b', 10, 2)
  put('c', 20, 3)
  take(item)
  t.strictSame(oldest(), ['b', 'c'])
  t.strictSame(drain(), ['b', 'c'])
  for (const [atLeast, time] of [[20, 4], [10, 5], [10, 6]] as const) {
    queues.put(item, atLeast, time)
    t.match(item, { since: time, atLeast })
    const other: Item = { ...item, name: 'other' }
    queues.put(other, atLeast, time)
    const seen: string[] = []
    queues.eachOldest(({ name }) => { seen.push(name) })
    t.strictSame(seen, ['a'])
    queues.take(item)
    queues.take(other)
  }
})

t.test('while each is looked at it may be taken, and each queue is looked at once', async (t) => {
  const { put, take, eachOldest, oldest } = createQueues()
  for (const name of ['a1', 'a2']) put(name, 10)
  for (const name of ['b1']) put(name, 20)
  for (const name of ['c1', 'c2']) put(name, 30)
  const seen: string[] = []
  eachOldest((item) => {
    seen.push(item.name)
    take(item)
  })
  t.strictSame(seen, ['a1', 'b1', 'c1'])
  t.strictSame(oldest(), ['a2', 'c2'])
})

for (const seed of [1, 2, 3]) {
  t.test(`any order of putting and taking is as with plain lists (seed ${seed})`, async (t) => {
    const { below, pick } = randomOf(seed)
    const { put, take, oldest, drain } = createQueues()
    let model: Item[] = []
    for (let turn = 0; turn < 5000; turn++) {
      if (model.length === 0 || below(20) < (turn < 4000 ? 11 : 8)) {
        model.push(put(`item ${turn}`, pick([1, 2, 3, 60_000, 0.1]), turn))
      } else {
        const item = below(2) === 0 ? pick(model) : model[0]!
        take(item)
        model = model.filter((other) => other !== item)
      }
      const firsts = model.filter((item) => model.find(({ atLeast }) => atLeast === item.atLeast) === item)
      const expected = firsts.map(({ name }) => name).toSorted()
      if (oldest().join() !== expected.join()) t.strictSame(oldest(), expected, `turn ${turn}`)
    }
    t.not(model.length, 0)
    t.equal(drain().length, model.length)
  })
}
