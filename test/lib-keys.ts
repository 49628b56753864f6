import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import t from 'tap'
import { cacheKeys, createKeyLookup, createKeyRingLookup, findSecret } from '../plugins/lib/keys.js'
import type { SecretRules } from '../plugins/lib/secrets.js'
import { SECRET } from './fixtures/deliveries.js'

const RULES: SecretRules = { plugin: 'somePlugin', option: 'secret', algorithm: 'sha256', encoding: 'utf8' }
const ANOTHER = 'another secret of 24 bytes'
const LOG = { warn () { throw new Error('nothing to warn of') } } as unknown as FastifyBaseLogger
const secretOf = (index: number) => `a secret of 24 bytes, number ${index}`

t.test('keys are derived once', async (t) => {
  const keysOf = cacheKeys(RULES)
  const first = keysOf(SECRET)
  for (const secret of [SECRET, ANOTHER, [SECRET], [ANOTHER], [SECRET, ANOTHER], [ANOTHER, SECRET]]) {
    const keys = keysOf(secret)
    t.equal(keys.length, [secret].flat().length)
    t.equal(keysOf(structuredClone(secret)), keys)
  }
  t.equal(keysOf(SECRET), first, 'beside others, too')
})

t.test('a text that looks like a list of secrets is a secret of its own', async (t) => {
  const keysOf = cacheKeys(RULES)
  for (const text of [`list ${JSON.stringify([SECRET])}`, JSON.stringify([SECRET]), `text ${SECRET}`]) {
    const [[key], [listed], [plain]] = [keysOf(text), keysOf([SECRET]), keysOf(SECRET)]
    t.not(key!.name, listed!.name)
    t.not(key!.name, plain!.name)
  }
})

t.test('the keys of a thousand secrets are kept, and the oldest go first', async (t) => {
  const keysOf = cacheKeys(RULES)
  const all = Array.from({ length: 1001 }, (_, index) => keysOf(secretOf(index)))
  t.equal(all.findIndex((keys, index) => index > 0 && keysOf(secretOf(index)) !== keys), -1)
  t.not(keysOf(secretOf(0)), all[0])
  t.not(keysOf(secretOf(1)), all[1], 'it made room for that')
  t.equal(keysOf(secretOf(3)), all[3])
})

t.test('what is no secret is never kept', async (t) => {
  const keysOf = cacheKeys(RULES)
  for (const secret of [undefined, null, 5, {}, [], [5], [SECRET, 5], '', 'weak', [['a'.repeat(24)]]]) {
    for (let time = 0; time < 2; time++) t.throws(() => keysOf(secret), { code: 'FST_VERIFICATION_INVALID_OPTION' })
  }
  const encoding = () => { throw new Error(`canary ${SECRET}`) }
  t.throws(() => cacheKeys({ ...RULES, encoding })(SECRET), {
    message: 'somePlugin: option "secret" is not written as the secrets of this provider are', cause: undefined
  })
})

t.test('what is known of the secrets of an option is there to be asked', async (t) => {
  t.strictSame([...createKeyLookup(SECRET, RULES, LOG).known!.keys()], [''])
  t.equal(createKeyLookup([SECRET, ANOTHER], RULES, LOG).known!.get('')!.length, 2)
  t.strictSame([...createKeyRingLookup({ a: SECRET, b: ANOTHER }, RULES, LOG).known!.keys()], ['a', 'b'])
  t.equal(createKeyLookup(() => SECRET, RULES, LOG).known, undefined)
  t.equal(createKeyRingLookup(() => SECRET, RULES, LOG).known, undefined)
})

t.test('the first weak secret of a resolver is warned of, and no other', async (t) => {
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
  await t.rejects((async () => createKeyLookup(() => 'weak', RULES, log)(request))(), {
    code: 'FST_VERIFICATION_INVALID_OPTION'
  })
})

t.test('the secret of an id is found in an object or a Map, and nowhere else', async (t) => {
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
