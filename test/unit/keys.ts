import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { inspect } from 'node:util'
import t from 'tap'
import { checkApiKey, createKeyCheck } from '../../plugins/humandetect/api-keys.js'
import { cacheKeys, createKeyLookup, createKeyRingLookup, findSecret } from '../../plugins/lib/signature/keys.js'
import type { SecretRules } from '../../plugins/lib/signature/secrets.js'
import { fakeClock } from '../support/clock.js'
import { SECRET } from '../support/deliveries.js'

const RULES: SecretRules = { plugin: 'somePlugin', option: 'secret', algorithm: 'sha256', encoding: 'utf8' }
const ANOTHER = 'another secret of 24 bytes'
const said: unknown[] = []
const say = (...line: unknown[]) => { said.push(line) }
const LOG = { warn: say, error: say } as unknown as FastifyBaseLogger
const secretOf = (index: number) => `a secret of 24 bytes, number ${index}`

t.test('keys are derived once', async (t) => {
  const keysOf = cacheKeys(RULES)
  const first = keysOf(SECRET)
  for (const secret of [SECRET, ANOTHER, [SECRET], [ANOTHER], [SECRET, ANOTHER], [ANOTHER, SECRET]]) {
    const keys = keysOf(secret)
    t.equal(keys.length, [secret].flat().length)
    t.equal(keysOf(structuredClone(secret)), keys)
  }
  t.equal(keysOf(SECRET), first, 'together with others, too')
})

t.test('a string that looks like a list of secrets is a secret itself', async (t) => {
  const keysOf = cacheKeys(RULES)
  for (const text of [`list ${JSON.stringify([SECRET])}`, JSON.stringify([SECRET]), `text ${SECRET}`]) {
    const [[key], [listed], [plain]] = [keysOf(text), keysOf([SECRET]), keysOf(SECRET)]
    t.not(key!.name, listed!.name)
    t.not(key!.name, plain!.name)
  }
})

t.test('the keys of a thousand secrets are cached, and the oldest are removed first', async (t) => {
  const keysOf = cacheKeys(RULES)
  const all = Array.from({ length: 1001 }, (_, index) => keysOf(secretOf(index)))
  t.equal(all.findIndex((keys, index) => index > 0 && keysOf(secretOf(index)) !== keys), -1)
  t.not(keysOf(secretOf(0)), all[0])
  t.not(keysOf(secretOf(1)), all[1], 'it made room for the other one')
  t.equal(keysOf(secretOf(3)), all[3])
})

t.test('an invalid secret is never cached', async (t) => {
  const keysOf = cacheKeys(RULES)
  for (const secret of [undefined, null, 5, {}, [], [5], [SECRET, 5], '', 'weak', [['a'.repeat(24)]]]) {
    for (let time = 0; time < 2; time++) t.throws(() => keysOf(secret), { code: 'FST_VERIFICATION_INVALID_OPTION' })
  }
  const encoding = () => { throw new Error(`canary ${SECRET}`) }
  t.throws(() => cacheKeys({ ...RULES, encoding })(SECRET), {
    message: 'somePlugin: option "secret" does not have the format of the secrets of this provider', cause: undefined
  })
})

t.test('the known secrets of an option can be listed', async (t) => {
  t.strictSame([...createKeyLookup(SECRET, RULES, LOG).known!.keys()], [''])
  t.equal(createKeyLookup([SECRET, ANOTHER], RULES, LOG).known!.get('')!.length, 2)
  t.strictSame([...createKeyRingLookup({ a: SECRET, b: ANOTHER }, RULES, LOG).known!.keys()], ['a', 'b'])
  t.equal(createKeyLookup(() => SECRET, RULES, LOG).known, undefined)
  t.equal(createKeyRingLookup(() => SECRET, RULES, LOG).known, undefined)
})

t.test('undefined, null and an empty secret mean that there is none, and nothing is logged', async (t) => {
  const request = { host: 'h', originalUrl: '/' } as FastifyRequest
  for (const found of [undefined, null, '', []]) {
    for (const resolve of [() => found, async () => found]) {
      t.equal(await createKeyLookup(resolve, RULES, LOG)(request), undefined, inspect(found))
      t.equal(await createKeyRingLookup(resolve, RULES, LOG)(request, 'id'), undefined, inspect(found))
    }
  }
})

t.test('the first weak secret of a resolver is logged as a warning, and no other', async (t) => {
  const warnings: unknown[] = []
  const log = { warn: (...line: unknown[]) => { warnings.push(line) } } as unknown as FastifyBaseLogger
  const rules = { ...RULES, allowWeakSecret: true }
  const request = {} as FastifyRequest
  const found = [SECRET, [ANOTHER], 'weak', [SECRET, 'weaker'], 'weak', 'weakest']
  const lookUps = [
    createKeyLookup(() => found[turn], rules, log),
    (request: FastifyRequest) => ring(request, 'id')
  ]
  const ring = createKeyRingLookup(() => found[turn], rules, log)
  let turn = 0
  for (const lookUp of lookUps) {
    const counts = []
    for (turn = 0; turn < found.length; turn++) {
      t.equal((await lookUp(request))!.length, [found[turn]].flat().length)
      counts.push(warnings.length)
    }
    t.strictSame(counts, [0, 0, 1, 1, 1, 1])
    t.strictSame(warnings.splice(0), [[{ plugin: 'somePlugin', option: 'secret' }, 'a secret is weak']])
  }
})

t.test("a resolver's invalid secret is treated as none, and the log names the problem at level error", async (t) => {
  const lines: unknown[] = []
  const log = { error: (...line: unknown[]) => { lines.push(line) } } as unknown as FastifyBaseLogger
  const request = { host: 'h', originalUrl: '/' } as FastifyRequest
  const throws = () => { throw new Error('canary') }
  const hostile = [Object.defineProperty({}, 'length', { get: throws }), Object.assign([5], { every: throws })]
  for (const found of ['weak', 5, ['a'.repeat(24), ' '], ...hostile]) {
    for (const resolve of [() => found as never, async () => found as never]) {
      t.equal(await createKeyLookup(resolve, RULES, log)(request), undefined, inspect(found))
    }
    t.equal(await createKeyRingLookup(() => found as never, RULES, log)(request, 'id'), undefined)
  }
  t.strictSame(lines.splice(0, 3), Array(3).fill([
    { plugin: 'somePlugin', option: 'secret', problem: 'somePlugin: option "secret" must be at least 24 bytes long' },
    'the secret for a delivery is invalid'
  ]))
  t.equal(lines.length, 12)
  t.notMatch(inspect(lines, { depth: 9 }), /canary/)
  t.match(lines.at(-1), [{ problem: 'cannot get the secret' }])
})

t.test('a missing secret is not a mistake: nothing is logged', async (t) => {
  const request = { host: 'h', originalUrl: '/' } as FastifyRequest
  for (const nothing of [undefined, null, '', []]) {
    t.equal(await createKeyLookup(() => nothing as never, RULES, LOG)(request), undefined)
    t.equal(await createKeyRingLookup(async () => nothing as never, RULES, LOG)(request, 'id'), undefined)
  }
  t.strictSame(said, [])
})

t.test('a secret may begin with zeros', async (t) => {
  t.equal(createKeyLookup(`000${SECRET}`, RULES, LOG).known!.get('')!.length, 1)
  t.throws(() => createKeyLookup('0'.repeat(30), RULES, LOG), { message: 'somePlugin: option "secret" must not be all zeros' })
})

t.test('a resolver is called once at a time for an id, and not again at once if it found nothing', async (t) => {
  const clock = fakeClock(t)
  const asked: string[] = []
  const waiting: (() => void)[] = []
  const known = new Map([['a', SECRET]])
  const request = (originalUrl = '/', host = 'h') => ({ host, originalUrl }) as FastifyRequest
  const resolve = async (id: string) => {
    asked.push(id)
    await new Promise<void>((resolve) => { waiting.push(resolve) })
    if (id === 'broken') throw new Error('no database')
    return known.get(id)
  }
  const answer = () => { for (const go of waiting.splice(0)) go() }
  const byId = createKeyRingLookup((id) => resolve(id), RULES, LOG)
  const both = [byId(request(), 'a'), byId(request('/other'), 'a'), byId(request(), 'b'), byId(request(), 'b')]
  t.strictSame(asked.splice(0), ['a', 'b'])
  answer()
  const [first, second, ...none] = await Promise.all(both)
  t.equal(first![0]!.name, second![0]!.name)
  t.strictSame(none, [undefined, undefined])
  byId(request(), 'a')
  t.strictSame(asked.splice(0), ['a'], 'a found secret is looked up again')
  answer()
  for (let times = 0; times < 100; times++) t.equal(await byId(request(), 'b'), undefined)
  t.strictSame(asked, [], 'a missing one is not')
  await clock.advance(999)
  t.equal(byId(request(), 'b'), undefined)
  await clock.advance(2)
  known.set('b', ANOTHER)
  const found = byId(request(), 'b')
  answer()
  t.equal((await found)!.length, 1, 'until a second has passed')
  const failing = [byId(request(), 'broken'), byId(request(), 'broken')]
  answer()
  for (const one of failing) await t.rejects(Promise.resolve(one), { message: 'no database' })
  t.strictSame(asked.splice(0), ['b', 'broken'], 'an error is shared')
  const last = byId(request(), 'broken')
  t.strictSame(asked.splice(0), ['broken'], 'and not cached')
  answer()
  await t.rejects(Promise.resolve(last))

  const byRequest = createKeyRingLookup((id, _request) => resolve(id), RULES, LOG)
  for (const from of [request(), request('/other'), request('/', 'other'), request()]) byRequest(from, 'a')
  t.strictSame(asked, ['a', 'a', 'a'], 'a resolver that reads the request is called for each URL')
  answer()
})

t.test('a thousand ids without a secret are cached', async (t) => {
  let asked = 0
  const lookUp = createKeyRingLookup((_id) => { asked++; return undefined }, RULES, LOG)
  const none = { host: 'h', originalUrl: '/' } as FastifyRequest
  for (let index = 0; index <= 1000; index++) await lookUp(none, `id-${index}`)
  t.equal(asked, 1001)
  await lookUp(none, 'id-1')
  await lookUp(none, 'id-1000')
  t.equal(asked, 1001)
  await lookUp(none, 'id-0')
  t.equal(asked, 1002, 'the oldest was removed')
})

t.test('the keys of a ring belong to their id, and no two ids share a secret', async (t) => {
  const { known } = createKeyRingLookup({ a: [SECRET, ANOTHER], b: secretOf(1) }, RULES, LOG)
  t.strictSame([...known!.values()].flat().map(({ tenant }) => tenant), ['a', 'a', 'b'])
  const [key] = createKeyLookup(SECRET, RULES, LOG).known!.get('')!
  t.equal(key!.tenant, key!.name)
  for (const ring of [{ a: SECRET, b: SECRET }, { a: SECRET, b: [ANOTHER, SECRET] }, new Map([['a', SECRET], ['A', SECRET]])]) {
    t.throws(() => createKeyRingLookup(ring, RULES, LOG), {
      message: 'somePlugin: option "secret" must not have the same secret for two ids'
    })
  }
  for (const length of [1, 256]) t.ok(createKeyRingLookup({ ['k'.repeat(length)]: SECRET }, RULES, LOG).known)
  for (const id of ['', 'k'.repeat(257), 'a,b']) t.throws(() => createKeyRingLookup({ [id]: SECRET }, RULES, LOG), /256/)
})

t.test('the secret of an id is looked up in own properties or in a Map, and nowhere else', async (t) => {
  for (const ring of [{ a: SECRET }, new Map([['a', SECRET]])]) {
    t.equal(findSecret(ring, 'a', 'verify', 'apiKeys'), SECRET)
    for (const id of ['b', '', 'toString', '__proto__', 'size', 'get']) t.equal(findSecret(ring, id, 'verify', 'apiKeys'), undefined)
  }
  for (const ring of [null, undefined, 'abc', 5, ['a'], () => SECRET]) {
    t.throws(() => findSecret(ring, '0', 'verify', 'apiKeys'), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: 'verify: option "apiKeys" must be an object or a Map'
    })
  }
})

const CANARY = 'canary-key'
const HEADER = 'x-api-key'
const INVALID = 'must be visible ASCII without spaces or commas'

/** Builds a request like Node does: repeated headers joined in `headers`, and separate in `rawHeaders`. */
function requestWith (...values: string[]): FastifyRequest {
  return {
    headers: values.length === 0 ? {} : { [HEADER]: values.join(', ') },
    raw: { rawHeaders: ['Host', 'localhost', ...values.flatMap((value) => ['X-Api-Key', value])] }
  } as unknown as FastifyRequest
}

const check = (keys: unknown, ...values: string[]) =>
  createKeyCheck('somePlugin', 'apiKeys', HEADER, keys)(requestWith(...values), undefined)

function refusal (run: () => unknown): unknown {
  try {
    run()
    return undefined
  } catch (error) {
    return error
  }
}

t.test('every key is accepted, and its index returned', async (t) => {
  const keys = ['first-key', 'second-key', '!"#$%&\'()*+-./:;<=>?@[\\]^_`{|}~', 'zed', 'k'.repeat(5_000)]
  keys.forEach((key, secretIndex) => {
    t.strictSame(check(keys, key), { ok: true, secretIndex }, key.slice(0, 40))
  })
  t.strictSame(check(keys, 'third-key'), { ok: false, reason: 'unknown_key', header: HEADER })
  t.strictSame(check(['zed'], 'first-key'), { ok: false, reason: 'unknown_key', header: HEADER }, 'of another list')
})

t.test('only an unchanged key is accepted', async (t) => {
  const wrong = [
    CANARY.slice(0, -1), CANARY.slice(1), `${CANARY}x`, `x${CANARY}`, CANARY.toUpperCase(), `${CANARY},${CANARY}`,
    `${CANARY}, other-key`, `other-key, ${CANARY}`, ` ${CANARY}`, `${CANARY} `, `${CANARY}\0`, `${CANARY}\u00e9`,
    CANARY.replace('a', '\u00e1'), CANARY.replace('a', '\u0430'), '__proto__', 'constructor', 'toString', '0', 'undefined',
    'null', '*', `Bearer ${CANARY}`, Buffer.from(CANARY).toString('base64'), `"${CANARY}"`
  ]
  for (const key of wrong) {
    t.strictSame(check([CANARY, 'other-key'], key), { ok: false, reason: 'unknown_key', header: HEADER }, key)
  }
})

t.test('none of 50,000 other keys is accepted, as some would be if only a part of a digest was compared', async (t) => {
  const authenticate = createKeyCheck('somePlugin', 'apiKeys', HEADER, [CANARY])
  const letIn = Array.from({ length: 50_000 }, (_, index) => `${CANARY}-${index}`)
    .filter((key) => (authenticate(requestWith(key), undefined) as { ok: boolean }).ok)
  t.strictSame(letIn, [])
})

t.test('a key that is missing, empty or repeated is not accepted', async (t) => {
  t.strictSame(check([CANARY]), { ok: false, reason: 'missing_header', header: HEADER })
  t.strictSame(check([CANARY], ''), { ok: false, reason: 'missing_header', header: HEADER })
  for (const values of [[CANARY, CANARY], [CANARY, 'x'], ['x', CANARY], ['', CANARY], [CANARY, ''], ['', '']]) {
    t.strictSame(check([CANARY], ...values), { ok: false, reason: 'duplicate_header', header: HEADER }, values.join(' | '))
  }
})

t.test('a repeated key is not accepted where Node keeps only one of them or makes a list of them', async (t) => {
  const authenticate = createKeyCheck('somePlugin', 'apiKeys', HEADER, [CANARY])
  const rawHeaders = ['X-API-KEY', CANARY, 'x-api-key', 'x']
  for (const [value, reason] of [
    [CANARY, 'duplicate_header'], [[CANARY, 'x'], 'duplicate_header'], [[CANARY], 'missing_header']
  ] as const) {
    const request = { headers: { [HEADER]: value }, raw: { rawHeaders } } as unknown as FastifyRequest
    t.strictSame(authenticate(request, undefined), { ok: false, reason, header: HEADER }, inspect(value))
  }
})

t.test('later changes of the list have no effect', async (t) => {
  const keys = [CANARY]
  const authenticate = createKeyCheck('somePlugin', 'apiKeys', HEADER, keys)
  keys[0] = 'late-key'
  keys.push('later-key')
  t.strictSame(authenticate(requestWith(CANARY), undefined), { ok: true, secretIndex: 0 })
  for (const late of keys) t.match(authenticate(requestWith(late), undefined), { ok: false }, late)
})

const LISTS: [what: string, keys: unknown, expected: string][] = [
  ...[undefined, null, '', CANARY, 5, {}, { 0: CANARY, length: 1 }, new Set([CANARY]), () => [CANARY]].map(
    (keys): [string, unknown, string] => [inspect(keys), keys, 'must be an array of keys']),
  ['none', [], 'must be an array of keys'],
  ...['', ' ', `${CANARY} x`, ` ${CANARY}`, `${CANARY} `, `${CANARY},x`, ',', `${CANARY}\n`, `\n${CANARY}`, `${CANARY}\r\nx: y`,
    `${CANARY}\t`, `${CANARY}\0`, `${CANARY}\x7f`, `${CANARY}\u00e9`, `${CANARY}\u00a0`, `${CANARY}\u{1f600}`, 5, 0, null,
    undefined, true, {}, [CANARY], Buffer.from(CANARY), Object(CANARY)].flatMap((key): [string, unknown, string][] => [
    [inspect(key), [key], INVALID],
    [`${inspect(key)} after another`, ['good-key', key], INVALID]
  ]),
  ['a hole', Object.assign([], { length: 1 }), INVALID],
  ['repeated', [CANARY, 'other', CANARY], 'must not contain the same key twice'],
  ...['x', 'zz'].map((key): [string, unknown, string] => [key, [CANARY, key], 'must be at least 3 characters long']),
  ...['undefined', 'null', 'key_undefined'].map((key): [string, unknown, string] =>
    [key, [CANARY, key], 'must not be a placeholder such as "undefined"']),
  ['zeros', ['0000'], 'must not be all zeros']
]

t.test('an invalid list of keys is refused, and never shown', async (t) => {
  for (const [what, keys, expected] of LISTS) {
    const error = refusal(() => createKeyCheck('somePlugin', 'apiKeys', HEADER, keys))
    const { code, message } = Object(error)
    t.strictSame({ code, message }, {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: `somePlugin: option "apiKeys" ${expected}`
    }, what)
    t.notMatch(inspect(error, { depth: 9, showHidden: true }), CANARY, `${what}: not shown`)
  }
})

t.test('a single key is checked the same way', async (t) => {
  t.equal(checkApiKey('somePlugin', 'apiKey', CANARY), CANARY)
  for (const key of [undefined, null, 5, '', 'a b', 'a,b', 'a\n', [CANARY]]) {
    t.match(refusal(() => checkApiKey('somePlugin', 'apiKey', key)), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: `somePlugin: option "apiKey" ${INVALID}`
    }, inspect(key))
  }
})
