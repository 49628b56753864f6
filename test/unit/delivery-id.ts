import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { canonicalJson, checkIdentity, deliveryId, namespaceOf } from '../../plugins/lib/idempotency/delivery-id.js'
import { randomOf } from '../support/stores.js'

const keyOf = (namespace: readonly string[], id: readonly string[]) => deliveryId(namespaceOf(...namespace), { id }).key
const fingerprintOf = (content: unknown) => deliveryId(namespaceOf('n'), { id: ['i'], content }).fingerprint

/** Returns every way to cut a string into non-empty pieces. */
function cuts (text: string): string[][] {
  if (text === '') return [[]]
  return Array.from(text, (_, index) => index + 1).flatMap((end) =>
    cuts(text.slice(end)).map((rest) => [text.slice(0, end), ...rest]))
}

t.test('no two splits of a string into namespace and id have the same key', async (t) => {
  for (const text of ['abcdef', '","","', '"],["a', '\\"\\,\\"', '[[]],[', 'aaaaaa', '\u0000\u0000\n\n::', '//||..']) {
    const splits = cuts(text).flatMap((pieces) =>
      Array.from({ length: pieces.length + 1 }, (_, end) => [pieces.slice(0, end), pieces.slice(end)] as const))
    const keys = new Set(splits.map(([namespace, id]) => keyOf(namespace, id)))
    t.ok(splits.length > 100)
    t.equal(keys.size, splits.length)
  }
})

t.test('empty strings count', async (t) => {
  const lists = [[], [''], ['', ''], ['', '', ''], ['a'], ['', 'a'], ['a', '']]
  const keys = lists.flatMap((namespace) => lists.map((id) => keyOf(namespace, id)))
  t.equal(new Set(keys).size, lists.length ** 2)
})

t.test('the same namespace and id have the same key, with any content', async (t) => {
  const key = keyOf(['aghanim', '/a', '0'], ['event', 'x'])
  t.equal(keyOf(['aghanim', '/a', '0'], ['event', 'x']), key)
  for (const content of [null, {}, { a: 1 }, 'x']) {
    t.equal(deliveryId(namespaceOf('aghanim', '/a', '0'), { id: ['event', 'x'], content }).key, key)
  }
})

t.test('key and fingerprint are SHA-256 in a form that every store accepts, and reveal nothing of their input', async (t) => {
  for (const text of ['canary', '', 'canary\n', 'canary'.repeat(10_000), '🙂']) {
    const { key, fingerprint } = deliveryId(namespaceOf(text), { id: [text], content: { [text]: text } })
    t.match(key, /^[\w-]{43}$/)
    t.match(fingerprint, /^[\w-]{43}$/)
    t.not(key, fingerprint)
  }
})

t.test('without content, which its id covers, a delivery has an empty fingerprint, and only then', async (t) => {
  t.equal(deliveryId(namespaceOf('n'), { id: ['i'] }).fingerprint, '')
  t.equal(fingerprintOf(undefined), '')
  for (const content of [null, '', 0, false, {}, []]) t.not(fingerprintOf(content), '')
})

t.test('the order of keys in the content makes no difference, and any other change does', async (t) => {
  const fingerprint = fingerprintOf({ a: [{ b: 1, c: '2' }, null], d: {} })
  t.equal(fingerprintOf({ d: {}, a: [{ c: '2', b: 1 }, null] }), fingerprint)
  for (const other of [
    { a: [{ b: 1, c: 2 }, null], d: {} }, { a: [null, { b: 1, c: '2' }], d: {} }, { a: [{ b: 1, c: '2' }], d: {} },
    { a: [{ b: 1, c: '2' }, null], d: [] }, { a: [{ b: 1, c: '2' }, null] }, { a: [{ b: 1, c: '2' }, null], d: {}, e: null },
    { a: [{ b: 1, C: '2' }, null], d: {} }, { a: [{ b: 1, c: '2' }, 0], d: {} }
  ]) t.not(fingerprintOf(other), fingerprint)
})

t.test('lone surrogates, which no encoding distinguishes from each other, are distinguished', async (t) => {
  const texts = ['\ud800', '\ud801', '\udc00', '\udfff', '\ufffd', '\\ud800', '\ud800\ud800', '\ud83d\ude42', '\ude42\ud83d', '?']
  for (const digest of [
    (text: string) => keyOf([text], ['i']), (text: string) => keyOf(['n'], [text]), fingerprintOf,
    (text: string) => fingerprintOf({ [text]: 1 }), (text: string) => fingerprintOf([{ a: text }])
  ]) t.equal(new Set(texts.map(digest)).size, texts.length)
})

t.test('content may be nested deeper than the call stack', async (t) => {
  const deep = (inner: string) => fingerprintOf(JSON.parse('[{"a":'.repeat(50_000) + inner + '}]'.repeat(50_000)))
  t.equal(deep('{"b":1,"c":2}'), deep('{"c":2,"b":1}'))
  t.not(deep('1'), deep('2'))
})

t.test('an id is one or more strings, none of them empty', async (t) => {
  for (const id of [['a'], ['a', 'b'], [' ']]) {
    const identity = { id, content: {} }
    t.equal(checkIdentity(identity), identity)
  }
  t.equal(checkIdentity(undefined), undefined, 'each time')
  for (const id of [[], [''], ['a', ''], ['', 'a'], ['a', 1], [undefined], [['a']], 'a', undefined, null, 1, { 0: 'a', length: 1 }, new Array(1)]) {
    t.throws(() => checkIdentity({ id } as never), { name: 'TypeError', message: 'identify: returned no id' }, JSON.stringify(id))
  }
})

t.test('the order of keys makes no difference, at any depth', async (t) => {
  const texts = [
    '{"a":1,"b":{"c":[{"d":2,"e":3}],"f":4},"10":5,"9":6}', '{"b":{"f":4,"c":[{"e":3,"d":2}]},"9":6,"10":5,"a":1}',
    '{ "9" : 6, "10" : 5, "b" : { "c" : [ { "e" : 3, "d" : 2 } ], "f" : 4 }, "a" : 1 }'
  ]
  const [first, ...others] = texts.map((text) => canonicalJson(JSON.parse(text)))
  for (const other of others) t.equal(other, first)
})

t.test('the order of elements does', async (t) => {
  t.not(canonicalJson([1, 2]), canonicalJson([2, 1]))
  t.not(canonicalJson([[1], 2]), canonicalJson([1, [2]]))
})

t.test('values with similar strings are distinguished', async (t) => {
  const values = [
    [], {}, [[]], [{}], [null], [[], []], [[[]]], '', [''], ['', ''], '[]', '{}', 'null', null, 'true', true, false, 0, '0', 1, '1', [1, 2],
    ['1,2'], [12], ['1', '2'], ['1","2'], ['1', ',', '2'], { a: 1 }, { 'a":1': 1 }, { a: '1' }, { a: [1] }, { a: { a: 1 } }, { a: 1, b: 2 },
    { 'a":1,"b': 2 }, { a: '1,"b":2' }, { a: { b: 2 } }, [{ a: 1 }, { b: 2 }], [{ a: 1, b: 2 }], ['a', 1], { '': 1 }, { ' ': 1 }, { a: null },
    { A: 1 }, 'é', 'e\u0301', '\\u00e9', 'a\nb', 'a\\nb', '\ud800', '\udc00', '\ufffd', '\ud83d\ude42', '\ude42\ud83d', '\u0000', '\\u0000',
    { '\ud800': 1 }, { '\ufffd': 1 }, { 0: 1 }, [0, 1], 1e21, 1e-7, 0.1, 0.30000000000000004, 0.3, 9007199254740991, -1
  ]
  const texts = new Map<string, unknown>()
  for (const value of values) {
    const text = canonicalJson(value)
    t.notOk(texts.has(text), `${JSON.stringify(value)} and ${JSON.stringify(texts.get(text))}`)
    texts.set(text, value)
  }
})

t.test('a value without keys to put in order is written as by JSON.stringify', async (t) => {
  const values: unknown[] = [
    null, true, false, 0, -1, 1.5, 1e21, 1e-7, 123456789012345680000, 5e-324, 1.7976931348623157e308, '', 'text', '"\\/\b\f\n\r\t\u0000\u001f',
    '\u007f\u2028\u2029é日本🙂', '\ud800 \udc00', [], {}, [1], [1, 2, 3], [[], [[]], {}], ['a', null, { a: [] }]
  ]
  for (const value of values) t.equal(canonicalJson(value), JSON.stringify(value))
})

t.test('each character is written as by JSON.stringify, at any position', async (t) => {
  const wrong = Array.from({ length: 0x400 }, (_, code) => String.fromCharCode(code)).filter((character) =>
    [character, `${character}a`, `a${character}`].some((text) =>
      canonicalJson(text) !== JSON.stringify(text) || canonicalJson({ [text]: 1 }) !== JSON.stringify({ [text]: 1 })))
  t.strictSame(wrong, [])
})

t.test('an object is written as by JSON.stringify when its keys are in order', async (t) => {
  for (const value of [
    { a: 1 }, { a: 1, b: 2 }, { '': 0, ' ': 1, A: 2, a: 3, é: 4, '\ud83d\ude42': 5, '\uffff': 6 },
    { a: { b: { c: [{ d: 1, e: 2 }] } }, f: 'x' }, { '"': 1, '\\': 2, '\ud800': 3 }
  ]) t.equal(canonicalJson(value), JSON.stringify(value))
  t.equal(canonicalJson({ b: 1, a: [2, { d: 3, c: 4 }] }), '{"a":[2,{"c":4,"d":3}],"b":1}')
})

t.test('-0 is 0, since both are the same number to a sender', async (t) => {
  t.equal(canonicalJson(-0), '0')
  t.equal(canonicalJson(JSON.parse('{"a":-0}')), canonicalJson({ a: 0 }))
})

t.test('numbers too large for JSON.parse differ from null, from each other and from strings', async (t) => {
  const values = ['1e999', '-1e999', 'null', '"1e999"', '"Infinity"', '"-Infinity"', '0', '1.7976931348623157e308']
  for (const [before, after] of [['', ''], ['[', ']'], ['{"a":', '}']]) {
    t.equal(new Set(values.map((value) => canonicalJson(JSON.parse(before + value + after)))).size, values.length)
  }
})

t.test('names that every object inherits are keys like any other', async (t) => {
  const parsed = JSON.parse('{"toString":1,"constructor":{"b":1,"a":2},"__proto__":{"c":3},"toJSON":4,"hasOwnProperty":5,"length":6}')
  const text = canonicalJson(parsed)
  t.ok(isDeepStrictEqual(Object.keys(parsed).filter((key) => !text.includes(`"${key}":`)), []))
  for (const key of Object.keys(parsed)) {
    const without = Object.fromEntries(Object.entries(parsed).filter(([name]) => name !== key))
    t.not(canonicalJson(without), text, key)
  }
})

t.test('a hundred thousand levels are not too deep', async (t) => {
  const depth = 100_000
  const arrays = (inner: string) => canonicalJson(JSON.parse('['.repeat(depth) + inner + ']'.repeat(depth)))
  const objects = (inner: string) => canonicalJson(JSON.parse('{"a":'.repeat(depth) + inner + '}'.repeat(depth)))
  for (const write of [arrays, objects]) {
    const text = write('1')
    t.ok(text.length > 2 * depth)
    t.ok(text === write(' 1 '))
    t.ok(text !== write('2'))
  }
  t.ok(objects('{"b":1,"c":2}') === objects('{"c":2,"b":1}'))
})

t.test('a hundred thousand elements or keys are not too many', async (t) => {
  const numbers = Array.from({ length: 100_000 }, (_, index) => index)
  const entries = numbers.map((number) => [`key ${number}`, number] as const)
  const text = canonicalJson(Object.fromEntries(entries))
  t.ok(text === canonicalJson(Object.fromEntries(entries.toReversed())))
  t.ok(text !== canonicalJson(Object.fromEntries(entries.slice(1))))
  t.ok(canonicalJson(numbers) !== canonicalJson(numbers.toReversed()))
})

t.test('the parsed value is not changed', async (t) => {
  const freeze = (value: unknown): unknown => {
    if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(freeze)
    return value
  }
  const value = freeze({ b: [3, 1, 2, { d: 1, c: 2 }], a: { z: 1, y: 2 } })
  canonicalJson(value)
  t.equal(JSON.stringify(value), '{"b":[3,1,2,{"d":1,"c":2}],"a":{"z":1,"y":2}}')
})

for (const seed of [1, 2, 3]) {
  t.test(`random values have the same string exactly if they are deep-equal (seed ${seed})`, async (t) => {
    const { below, pick } = randomOf(seed)
    const texts = ['', 'a', 'b', '"', ',', '[]', '\ud800', '1']
    const make = (depth: number): unknown => {
      switch (below(depth === 0 ? 3 : 5)) {
        case 0: return pick([null, true, false])
        case 1: return pick([0, 1, -1, 0.5, 1e21])
        case 2: return pick([...texts, '\\']) // not a key: after it, JSON.parse of Node 24 misreads escaped keys
        case 3: return Array.from({ length: below(3) }, () => make(depth - 1))
        default: return Object.fromEntries(Array.from({ length: below(4) }, () => [pick(texts), make(depth - 1)]))
      }
    }
    /** Copies a value with its keys in another order. */
    const shuffle = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null) return value
      if (Array.isArray(value)) return value.map(shuffle)
      const entries = Object.entries(value).map(([key, member]) => [key, shuffle(member)] as const)
      return Object.fromEntries(entries.map((entry) => ({ entry, place: below(1000) }))
        .toSorted((one, other) => one.place - other.place).map(({ entry }) => entry))
    }
    const values = Array.from({ length: 600 }, () => make(below(4)))
    const pairs = values.map((value) => ({ value, text: canonicalJson(value) }))
    let equal = 0
    const wrong = pairs.flatMap((one, index) => pairs.slice(index + 1).filter((other) => {
      const same = isDeepStrictEqual(one.value, other.value)
      if (same) equal++
      return same !== (one.text === other.text)
    }).map((other) => [one.value, other.value]))
    t.strictSame(wrong, [])
    t.ok(equal > 1000, `${equal} pairs are equal`)
    t.strictSame(pairs.filter(({ value, text }) => canonicalJson(shuffle(value)) !== text), [])
    t.strictSame(pairs.filter(({ value, text }) => canonicalJson(JSON.parse(JSON.stringify(value))) !== text), [])
  })
}
