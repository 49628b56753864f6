import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import {
  memoryDeliveries, type Claim, type MemoryDeliveriesOptions, type StoredReply
} from '../../plugins/index.js'
import { createRetentionQueues, type Kept } from '../../plugins/stores/memory.js'
import { randomOf } from '../support/stores.js'

const HOUR = 3_600_000
const LEASE = 60_000
const WINDOW = 360_000
const REPLY: StoredReply = { statusCode: 200, body: '{}' }
const FULL = { code: 'FST_VERIFICATION_STORE_FULL' }

/** Creates a store on a clock that only tests move. Every content is 'content' unless given. */
function createStore (options: MemoryDeliveriesOptions = {}) {
  const clock = { time: 0 }
  const store = memoryDeliveries({ now: () => clock.time, ...options })
  const claim = (key: string, lease = LEASE, content = 'content') => store.claim(key, content, lease) as Claim
  const take = (key: string, lease = LEASE): string => {
    const answer = claim(key, lease)
    if (answer.state !== 'claimed') throw new Error(`${key} is ${answer.state}`)
    return answer.token
  }
  const complete = (key: string, token: string, window = WINDOW, exactly?: boolean, reply = REPLY) =>
    store.complete(key, token, reply, window, exactly) as boolean
  const release = (key: string, token: string) => store.release(key, token) as boolean
  const handle = (key: string, window = WINDOW, exactly?: boolean): string => {
    const token = take(key)
    complete(key, token, window, exactly)
    return token
  }
  const takeFor = (tenant: string, key: string): string => {
    const answer = store.claim(key, 'content', LEASE, tenant) as Claim
    if (answer.state !== 'claimed') throw new Error(`${key} is ${answer.state}`)
    return answer.token
  }
  let filled = 0
  /** Claims deliveries of a tenant until the store is full, and returns their number. */
  const fill = (tenant: string): number => {
    for (let count = 0; ; count++) {
      try {
        takeFor(tenant, `number ${++filled}`)
      } catch {
        return count
      }
    }
  }
  /** Tells for each key if the store knows it. Unknown keys are claimed by this, so call it last. */
  const known = (...keys: string[]) => keys.map((key) => claim(key, LEASE, 'other content').state === 'conflict')
  return { clock, store, claim, take, takeFor, fill, complete, release, handle, known }
}

t.test('a full store throws until it may forget a delivery, and still knows all of them', async (t) => {
  const { clock, claim, take, handle, known } = createStore({ maxEntries: 3 })
  handle('a')
  clock.time = 1000
  handle('b')
  handle('c')
  for (const time of [1000, 2000, WINDOW - 1]) {
    clock.time = time
    for (let times = 0; times < 3; times++) t.throws(() => take('d'), FULL)
    for (const key of ['a', 'b', 'c']) t.strictSame(claim(key), { state: 'done', reply: REPLY })
    t.strictSame(known('a', 'b', 'c'), [true, true, true])
  }
  clock.time = WINDOW
  take('d')
  t.throws(() => take('a'), FULL, 'there was room for one')
  t.strictSame(known('b', 'c', 'd'), [true, true, true])
  clock.time = WINDOW + 1000
  take('e')
  t.strictSame(known('c', 'd', 'e'), [true, true, true])
})

t.test('a single tenant can use all of the space, and cannot leave the others without any', async (t) => {
  const { fill } = createStore({ maxEntries: 1000 })
  t.strictSame(['a', 'b', 'c', 'd'].map(fill), [1000, 250, 63, 16])
  t.strictSame(['a', 'b', 'c', 'd'].map(fill), [0, 0, 0, 0])
  const fair = createStore({ maxEntries: 1000 })
  for (let count = 0; count < 300; count++) for (const tenant of ['a', 'b', 'c', 'd']) fair.takeFor(tenant, `${tenant} ${count}`)
  t.equal(fair.fill('a'), 25, 'four equally busy ones had space for 300 each')
  t.equal(fair.fill('e'), 82)
})

t.test('a tenant regains space when its deliveries are forgotten or released', async (t) => {
  const { clock, store, takeFor, fill } = createStore({ maxEntries: 4 })
  const token = takeFor('a', 'given back')
  t.equal(fill('a'), 3)
  t.equal(fill('b'), 1)
  t.equal(fill('a'), 0)
  store.release('given back', token)
  t.equal(fill('a'), 1)
  clock.time = LEASE
  t.equal(fill('a'), 4, 'all leases have expired')
  t.equal(fill('b'), 1)
})

t.test('100,000 deliveries are remembered by default, and no more', async (t) => {
  const { take, known } = createStore()
  for (let count = 0; count < 100_000; count++) take(`${count}`)
  t.throws(() => take('one more'), FULL)
  t.strictSame(known('0', '99999'), [true, true])
})

t.test('the window of a delivery starts when it is completed', async (t) => {
  const { clock, take, complete } = createStore({ maxEntries: 1 })
  const token = take('a')
  clock.time = 5000
  complete('a', token, 10_000)
  clock.time = 14_999
  t.throws(() => take('b'), FULL)
  clock.time = 15_000
  take('b')
})

t.test('the oldest is removed first, whatever its window, and none before its window has expired', async (t) => {
  const { clock, take, handle, known } = createStore({ maxEntries: 5 })
  for (const [key, window] of [['long', 9000], ['middle', 5000], ['short', 1000], ['short too', 1000], ['also long', 9000]] as const) {
    clock.time += 100
    handle(key, window)
  }
  clock.time = 1299
  t.throws(() => take('x'), FULL)
  clock.time = 1300
  take('1')
  t.strictSame(known('long', 'middle', 'short too', 'also long', '1'), Array(5).fill(true))
  t.throws(() => take('x'), FULL)
  clock.time = 9500
  for (const [key, left] of [
    ['2', ['middle', 'short too', 'also long', '1']], ['3', ['short too', 'also long', '1', '2']],
    ['4', ['also long', '1', '2', '3']], ['5', ['1', '2', '3', '4']]
  ] as const) {
    take(key)
    t.strictSame(known(...left, key), Array(5).fill(true))
  }
  t.throws(() => take('x'), FULL, 'the others are running')
})

t.test('a running delivery is never forgotten during its lease, however old the others are', async (t) => {
  const { clock, claim, take, complete, handle, release, known } = createStore({ maxEntries: 3, ttl: 1 })
  const first = take('first', 2 * HOUR)
  handle('done', 1000)
  const second = take('second', 2 * HOUR)
  clock.time = 2 * HOUR - 1
  take('in place of done')
  t.throws(() => take('x'), FULL)
  t.strictSame(claim('first'), { state: 'running' })
  t.strictSame(claim('second'), { state: 'running' })
  t.ok(complete('first', first), 'and can be completed although the store is full')
  t.ok(release('second', second))
  take('in place of second')
  t.strictSame(known('first', 'in place of done', 'in place of second'), [true, true, true])
})

t.test('a claim with an expired lease makes room, and can change nothing afterwards', async (t) => {
  const { clock, claim, take, complete, release } = createStore({ maxEntries: 1 })
  const token = take('a', 1000)
  clock.time = 999
  t.throws(() => take('b'), FULL)
  clock.time = 1000
  take('b')
  t.notOk(complete('a', token))
  t.notOk(release('a', token))
  t.strictSame(claim('b'), { state: 'running' })
})

t.test('a key with an expired lease is claimed again in a full store, without another place', async (t) => {
  const { clock, take, handle, known } = createStore({ maxEntries: 2 })
  const first = take('a', 1000)
  handle('b')
  clock.time = 1000
  t.not(take('a'), first)
  t.throws(() => take('c'), FULL)
  t.strictSame(known('a', 'b'), [true, true])
})

t.test('a lease expires to the millisecond, for other content too', async (t) => {
  for (const content of ['content', 'other content']) {
    const { clock, claim } = createStore()
    claim('key', 1000)
    clock.time = 999
    t.equal(claim('key', 1000, content).state, content === 'content' ? 'running' : 'conflict')
    clock.time = 1000
    t.equal(claim('key', 1000, content).state, 'claimed')
  }
})

t.test('if there is room a delivery is remembered for the longer of both times, or for exactly its window', async (t) => {
  for (const [ttl, window, exactly, expected] of [
    [undefined, WINDOW, false, HOUR], [undefined, WINDOW, undefined, HOUR], [undefined, 2 * HOUR, false, 2 * HOUR],
    [7200, WINDOW, false, 2 * HOUR],
    [1.5, 1000, false, 1500], [1, WINDOW, false, WINDOW], [undefined, WINDOW, true, WINDOW],
    [undefined, 2 * HOUR, true, 2 * HOUR], [7200, 1, true, 1]
  ] as const) {
    const { clock, claim, handle } = createStore({ ttl })
    clock.time = 5
    handle('key', window, exactly)
    clock.time += expected - 1
    t.strictSame(claim('key'), { state: 'done', reply: REPLY })
    t.strictSame(claim('key', LEASE, 'other content'), { state: 'conflict' })
    clock.time++
    t.equal(claim('key', LEASE, 'other content').state, 'claimed')
    t.strictSame(claim('key', LEASE, 'other content'), { state: 'running' })
  }
})

t.test('a key claimed again after exactly its window is remembered as that claim says', async (t) => {
  const { clock, claim, handle } = createStore()
  handle('key', 1000, true)
  clock.time = 1000
  handle('key', 1000)
  clock.time = HOUR
  t.strictSame(claim('key'), { state: 'done', reply: REPLY })
})

t.test('after the lease a handler that ends late can still complete or release, if nobody else has claimed', async (t) => {
  const { clock, claim, take, complete, release } = createStore()
  const token = take('completed', 1000)
  const other = take('released', 1000)
  clock.time = 500_000
  t.ok(complete('completed', token))
  t.strictSame(claim('completed'), { state: 'done', reply: REPLY })
  t.ok(release('released', other))
  t.notOk(release('released', other))
  t.equal(claim('released').state, 'claimed')
})

t.test('a delivery that is completed again is kept from then on', async (t) => {
  const { clock, claim, complete, handle, take } = createStore({ maxEntries: 1, ttl: 1 })
  const token = handle('key', 10_000)
  clock.time = 5000
  t.ok(complete('key', token, 10_000))
  clock.time = 14_999
  t.strictSame(claim('key'), { state: 'done', reply: REPLY })
  t.throws(() => take('x'), FULL)
  clock.time = 15_000
  take('x')
})

const collect = (() => {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
})()

function heapUsed (): number {
  collect()
  return process.memoryUsage().heapUsed
}

const BUSY: [string, MemoryDeliveriesOptions, window: (index: number) => number][] = [
  ['a small bound', { maxEntries: 500 }, () => 100],
  ['a small bound and many windows', { maxEntries: 500 }, (index) => 50 + index % 50],
  ['an end of what is remembered', { maxEntries: 2 ** 23, ttl: 1 }, (index) => 50 + index % 2]
]
for (const [name, options, window] of BUSY) {
  t.test(`sixty thousand deliveries take no more memory than ten thousand, because of ${name}`, async (t) => {
    const { clock, take, complete, release } = createStore(options)
    let index = 0
    function work (until: number): number {
      for (; index < until; index++) {
        clock.time++
        const key = `key ${index}`
        const token = take(key, 100)
        if (index % 4 === 0) release(key, token)
        else if (index % 4 !== 1) complete(key, token, window(index), index % 4 === 3, { statusCode: 200, body: `${key} is done` })
      }
      return heapUsed()
    }
    const before = work(10_000)
    const grown = work(60_000) - before
    t.ok(grown < 740_000, `${grown} bytes more`) // a leak of 100 bytes per delivery is 5 MB
    take('the store is still in use')
  })
}

t.test('a busy hour is forgotten within half as many deliveries', async (t) => {
  const { clock, take, release, handle } = createStore({ maxEntries: 2 ** 23, ttl: 1 })
  const before = heapUsed()
  for (let index = 0; index < 30_000; index++) handle(`a busy hour has many deliveries ${index}`, 1000)
  const busy = heapUsed() - before
  clock.time = HOUR
  for (let index = 0; index < 15_000; index++) release('key', take('key'))
  const left = heapUsed() - before
  t.ok(left < busy / 4, `${left} of ${busy} bytes are left`)
  take('the store is still in use')
})

t.test("setting a host's clock changes nothing, only elapsed time does", async (t) => {
  const states: string[] = []
  let skipped = 0
  const day = 24 * HOUR
  const started = { wall: Date.now(), monotonic: performance.now() }
  const store = memoryDeliveries()
  const ask = () => { states.push((store.claim('key', 'content', LEASE) as Claim).state) }
  ask()
  for (const step of [day, -day, 365 * day]) {
    const clock = t.intercept(Date, 'now', { value: () => started.wall + step })
    ask()
    clock.restore()
  }
  for (const ms of [LEASE / 2, LEASE]) {
    skipped += ms
    const clock = t.intercept(performance, 'now', { value: () => started.monotonic + skipped })
    ask()
    clock.restore()
  }
  t.strictSame(states, ['claimed', 'running', 'running', 'running', 'running', 'claimed'])
})

interface Remembered {
  readonly key: string
  readonly content: string
  readonly token: string
  reply?: StoredReply
  since: number
  atLeast: number
  exactly: boolean
}

/** Models the contract of the store by a list that is searched from the start. */
function createModel (maxEntries: number, ttl: number) {
  const list: Remembered[] = []
  const remove = (entry: Remembered) => list.splice(list.indexOf(entry), 1)
  const mayGo = ({ since, atLeast }: Remembered, time: number) => time - since >= atLeast
  const isOver = ({ since, atLeast, exactly }: Remembered, time: number) =>
    time - since >= (exactly ? atLeast : Math.max(atLeast, ttl))
  const find = (key: string, token: string) => list.find((entry) => entry.key === key && entry.token === token)
  return {
    /** Claims a key. The store makes up the token of a granted claim, and `token` passes it to the model. */
    claim (key: string, content: string, lease: number, token: string | undefined, time: number): Claim | 'full' {
      const entry = list.find((entry) => entry.key === key)
      if (entry !== undefined && (entry.reply === undefined ? mayGo : isOver)(entry, time)) remove(entry)
      else if (entry !== undefined && entry.content !== content) return { state: 'conflict' }
      else if (entry !== undefined) return entry.reply === undefined ? { state: 'running' } : { state: 'done', reply: entry.reply }
      const present = list.filter((entry) => !isOver(entry, time))
      if (present.length >= maxEntries) {
        const [oldest] = present.filter((entry) => mayGo(entry, time)).toSorted((one, other) => one.since - other.since)
        if (oldest === undefined) return 'full'
        remove(oldest)
      }
      list.push({ key, content, token: token ?? 'refused', since: time, atLeast: lease, exactly: false })
      return { state: 'claimed', token: token ?? 'refused' }
    },
    complete (key: string, token: string, reply: StoredReply, window: number, exactly: boolean, time: number): boolean {
      const entry = find(key, token)
      if (entry !== undefined) Object.assign(entry, { reply, since: time, atLeast: window, exactly })
      return entry !== undefined
    },
    release (key: string, token: string): boolean {
      const entry = find(key, token)
      if (entry === undefined || entry.reply !== undefined) return false
      remove(entry)
      return true
    },
    /** Tells if a claim or reply has expired; a store may or may not still know it. */
    isOver (key: string, token: string, time: number): boolean {
      const entry = find(key, token)
      return entry === undefined || isOver(entry, time)
    }
  }
}

for (const [seed, maxEntries] of [[1, 1], [2, 3], [3, 10], [4, 30], [5, 100]] as const) {
  t.test(`ten thousand random calls are answered like those of a plain list (seed ${seed}, ${maxEntries} entries)`, async (t) => {
    const { below, pick } = randomOf(seed)
    const { clock, claim, complete, release } = createStore({ maxEntries, ttl: 2 })
    const model = createModel(maxEntries, 2000)
    const tokens: { key: string, token: string }[] = []
    const seen: Record<string, number> = {}
    for (let call = 0; call < 10_000; call++) {
      clock.time += pick([1, 1, 2, 2, 5, below(600 / maxEntries) + 1])
      const key = `key ${below(maxEntries * 2 + 2)}`
      const claimed = below(4) === 0 || tokens.length === 0 ? { key, token: `${below(20_000)}` } : pick(tokens.slice(-maxEntries * 2))
      let actual: unknown
      let expected: unknown
      const verb = pick(['claim', 'claim', 'claim', 'complete', 'release'])
      if (verb === 'claim') {
        const content = pick(['content', 'content', 'content', 'other content'])
        const lease = pick([100, 500, 3000])
        try {
          actual = claim(key, lease, content)
        } catch (error) {
          actual = (error as { code: string }).code === FULL.code ? 'full' : error
        }
        const { state, token } = actual as { state?: string, token?: string }
        expected = model.claim(key, content, lease, token, clock.time)
        if (state === 'claimed') tokens.push({ key, token: token! })
      } else {
        const over = model.isOver(claimed.key, claimed.token, clock.time)
        if (over && below(10) > 0) continue
        if (verb === 'complete') {
          const reply = { statusCode: 200, body: `${call}` }
          const exactly = below(3) === 0
          const window = pick(exactly ? [101, 2001] : [102, 1000, 2002, 5000])
          actual = complete(claimed.key, claimed.token, window, exactly, reply)
          expected = actual === true || !over
            ? model.complete(claimed.key, claimed.token, reply, window, exactly, clock.time)
            : actual
        } else {
          actual = release(claimed.key, claimed.token)
          expected = actual === true || !over ? model.release(claimed.key, claimed.token) : actual
        }
      }
      const outcome = `${verb} ${(actual as { state?: string }).state ?? String(actual)}`
      seen[outcome] = (seen[outcome] ?? 0) + 1
      if (JSON.stringify(actual) !== JSON.stringify(expected)) {
        t.strictSame(actual, expected, `call ${call}, ${verb}, at ${clock.time}`)
        return
      }
    }
    t.strictSame(Object.keys(seen).toSorted(), [
      'claim claimed', 'claim conflict', 'claim done', 'claim full', 'claim running', 'complete false', 'complete true',
      'release false', 'release true'
    ])
    t.ok(Object.values(seen).every((count) => count > 20), JSON.stringify(seen))
  })
}

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
  /** Removes the oldest entry until none is left. */
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

t.test('the oldest item of each duration is the one added first', async (t) => {
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

t.test('an item has the time at which it was added, and its duration', async (t) => {
  const queues = createQueues()
  const item = queues.put('a', 10, 1234)
  t.match(item, { since: 1234, atLeast: 10 })
  queues.take(item)
  queues.put('b', 10, 1300)
  t.match(item, { since: 1234, atLeast: 10 })
})

t.test('after removing any items the others keep their order', async (t) => {
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

t.test('after the last item is removed there is none, and the next one is the oldest', async (t) => {
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

t.test('a removed item may be added again, for another duration and after the others', async (t) => {
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

t.test('an item may be removed while it is visited, and each queue is visited once', async (t) => {
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
  t.test(`any order of adding and removing works like with plain lists (seed ${seed})`, async (t) => {
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
