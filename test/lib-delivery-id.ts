import t from 'tap'
import { checkIdentity, deliveryId, namespaceOf } from '../plugins/lib/delivery-id.js'

const keyOf = (namespace: readonly string[], id: readonly string[]) => deliveryId(namespaceOf(...namespace), { id }).key
const fingerprintOf = (content: unknown) => deliveryId(namespaceOf('n'), { id: ['i'], content }).fingerprint

/** Every way to cut a text into pieces, none of them empty. */
function cuts (text: string): string[][] {
  if (text === '') return [[]]
  return Array.from(text, (_, index) => index + 1).flatMap((end) =>
    cuts(text.slice(end)).map((rest) => [text.slice(0, end), ...rest]))
}

t.test('however texts are split into namespace and id, no two have the same key', async (t) => {
  for (const text of ['abcdef', '","","', '"],["a', '\\"\\,\\"', '[[]],[', 'aaaaaa', '\u0000\u0000\n\n::', '//||..']) {
    const splits = cuts(text).flatMap((pieces) =>
      Array.from({ length: pieces.length + 1 }, (_, end) => [pieces.slice(0, end), pieces.slice(end)] as const))
    const keys = new Set(splits.map(([namespace, id]) => keyOf(namespace, id)))
    t.ok(splits.length > 100)
    t.equal(keys.size, splits.length)
  }
})

t.test('empty texts count', async (t) => {
  const lists = [[], [''], ['', ''], ['', '', ''], ['a'], ['', 'a'], ['a', '']]
  const keys = lists.flatMap((namespace) => lists.map((id) => keyOf(namespace, id)))
  t.equal(new Set(keys).size, lists.length ** 2)
})

t.test('the same namespace and id have the same key, whatever the content', async (t) => {
  const key = keyOf(['aghanim', '/a', '0'], ['event', 'x'])
  t.equal(keyOf(['aghanim', '/a', '0'], ['event', 'x']), key)
  for (const content of [null, {}, { a: 1 }, 'x']) {
    t.equal(deliveryId(namespaceOf('aghanim', '/a', '0'), { id: ['event', 'x'], content }).key, key)
  }
})

t.test('key and fingerprint are SHA-256 as texts that every store takes, and hold nothing of what they stand for', async (t) => {
  for (const text of ['canary', '', 'canary\n', 'canary'.repeat(10_000), '🙂']) {
    const { key, fingerprint } = deliveryId(namespaceOf(text), { id: [text], content: { [text]: text } })
    t.match(key, /^[\w-]{43}$/)
    t.match(fingerprint, /^[\w-]{43}$/)
    t.not(key, fingerprint)
  }
})

t.test('without content, which its id covers, a delivery has an empty fingerprint, and no other has', async (t) => {
  t.equal(deliveryId(namespaceOf('n'), { id: ['i'] }).fingerprint, '')
  t.equal(fingerprintOf(undefined), '')
  for (const content of [null, '', 0, false, {}, []]) t.not(fingerprintOf(content), '')
})

t.test('the order of keys in the content makes no difference, all else does', async (t) => {
  const fingerprint = fingerprintOf({ a: [{ b: 1, c: '2' }, null], d: {} })
  t.equal(fingerprintOf({ d: {}, a: [{ c: '2', b: 1 }, null] }), fingerprint)
  for (const other of [
    { a: [{ b: 1, c: 2 }, null], d: {} }, { a: [null, { b: 1, c: '2' }], d: {} }, { a: [{ b: 1, c: '2' }], d: {} },
    { a: [{ b: 1, c: '2' }, null], d: [] }, { a: [{ b: 1, c: '2' }, null] }, { a: [{ b: 1, c: '2' }, null], d: {}, e: null },
    { a: [{ b: 1, C: '2' }, null], d: {} }, { a: [{ b: 1, c: '2' }, 0], d: {} }
  ]) t.not(fingerprintOf(other), fingerprint)
})

t.test('half a pair, which no encoding tells from another, is told apart', async (t) => {
  const texts = ['\ud800', '\ud801', '\udc00', '\udfff', '\ufffd', '\\ud800', '\ud800\ud800', '\ud83d\ude42', '\ude42\ud83d', '?']
  for (const digest of [
    (text: string) => keyOf([text], ['i']), (text: string) => keyOf(['n'], [text]), fingerprintOf,
    (text: string) => fingerprintOf({ [text]: 1 }), (text: string) => fingerprintOf([{ a: text }])
  ]) t.equal(new Set(texts.map(digest)).size, texts.length)
})

t.test('content may be nested deeper than calls can', async (t) => {
  const deep = (inner: string) => fingerprintOf(JSON.parse('[{"a":'.repeat(50_000) + inner + '}]'.repeat(50_000)))
  t.equal(deep('{"b":1,"c":2}'), deep('{"c":2,"b":1}'))
  t.not(deep('1'), deep('2'))
})

t.test('an id is one or more texts, none of them empty', async (t) => {
  for (const id of [['a'], ['a', 'b'], [' ']]) {
    const identity = { id, content: {} }
    t.equal(checkIdentity(identity), identity)
  }
  t.equal(checkIdentity(undefined), undefined, 'as often as it comes')
  for (const id of [[], [''], ['a', ''], ['', 'a'], ['a', 1], [undefined], [['a']], 'a', undefined, null, 1, { 0: 'a', length: 1 }, new Array(1)]) {
    t.throws(() => checkIdentity({ id } as never), { name: 'TypeError', message: 'identify: no id' }, JSON.stringify(id))
  }
})
