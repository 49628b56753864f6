import t from 'tap'
import { describeFailure } from '../../cli/connection.js'
import { harmless, jsonLine } from '../../cli/harmless.js'
import { AT_A_TIME, repeat } from '../../cli/repeat.js'
import { PROVIDERS, variantsOf } from '../../cli/providers.js'
import { createTally } from '../../cli/tally.js'
import { expectationOf, isExpected } from '../../cli/verdict.js'
import { gateOf, until } from '../support/waiting.js'

const reply = (status: number, duration = 1, headers = {}) => ({ status, headers, body: '', duration })

t.test('the cause of a failed connection is described in words, with its code', async (t) => {
  const cases: [error: object, words: string][] = [
    [{ code: 'ECONNREFUSED', message: '' }, 'connection refused (ECONNREFUSED)'],
    [{ code: 'ECONNRESET', message: 'read ECONNRESET' }, 'connection closed unexpectedly (ECONNRESET)'],
    [{ code: 'UND_ERR_SOCKET', message: 'other side closed' }, 'connection closed unexpectedly (UND_ERR_SOCKET)'],
    [{ code: 'ENOTFOUND', message: 'getaddrinfo' }, 'host not found (ENOTFOUND)'],
    [{ code: 'UND_ERR_CONNECT_TIMEOUT', message: '' }, 'no connection within 10 s (UND_ERR_CONNECT_TIMEOUT)'],
    [{ code: 'UND_ERR_HEADERS_TIMEOUT', message: '' }, 'no response within 30 s (UND_ERR_HEADERS_TIMEOUT)'],
    [{ code: 'UND_ERR_BODY_TIMEOUT', message: '' }, 'response stalled for 30 s (UND_ERR_BODY_TIMEOUT)'],
    [{ code: 'EHOSTUNREACH', message: 'connect EHOSTUNREACH\nand more' }, 'connect EHOSTUNREACH (EHOSTUNREACH)'],
    [{ message: 'no code\nat all' }, 'no code']
  ]
  for (const code of [
    'DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'CERT_HAS_EXPIRED',
    'ERR_TLS_CERT_ALTNAME_INVALID', 'INVALID_CA'
  ]) {
    const words = `the certificate is not trusted; NODE_EXTRA_CA_CERTS can add a trusted authority (${code})`
    cases.push([{ code, message: 'long' }, words])
  }
  for (const [error, words] of cases) t.equal(describeFailure(error as Error), words)
})

t.test('foreign strings contain nothing that could act on a terminal', async (t) => {
  const acting = '\x1b[31m\x07\x7f\x9b\xad\u061c\u200b\u202e\u2028\u2029\u2066\ufeff\ud800\u{e0041}'
  const shown = '\\x1b[31m\\x07\\x7f\\x9b\\xad\\u{061c}\\u{200b}\\u{202e}\\u{2028}\\u{2029}\\u{2066}\\u{feff}\\u{d800}\\u{e0041}'
  t.equal(harmless(`a\tå\n${acting}b`), `a\tå\n${shown}b`)
  const line = jsonLine({ [acting]: [acting, 'å\n'] })
  t.notMatch(line, /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u)
  t.equal(line.split('\n').length, 1)
  t.strictSame(JSON.parse(line), { [acting]: [acting, 'å\n'] })
})

t.test('percentiles are measured durations, in any order', async (t) => {
  const tally = createTally()
  t.match(tally.summary(), { sent: 0, expected: 0, unexpected: 0, answers: {}, perSecond: 0 })
  t.notOk('latency' in tally.summary())
  for (let duration = 200; duration > 0; duration--) {
    tally.count({ outcome: reply(duration % 2 === 0 ? 204 : 403, duration), expected: duration > 50 })
  }
  tally.count({ outcome: { failure: 'gone' }, expected: false })
  const { latency, answers, sent, expected, unexpected } = tally.summary()
  t.strictSame(latency, { p50: 100, p95: 190, p99: 198, max: 200 })
  t.strictSame(answers, { 204: 100, 403: 100, none: 1 })
  t.strictSame([sent, expected, unexpected], [201, 150, 51])
  const single = createTally()
  single.count({ outcome: reply(200, 7), expected: true })
  t.strictSame(single.summary().latency, { p50: 7, p95: 7, p99: 7, max: 7 })
})

t.test('work runs the given number of times, some at a time, and no more after a stop', async (t) => {
  const stop = new AbortController()
  const { signal } = stop
  const gate = gateOf<void>()
  const begun: number[] = []
  const ended = repeat({ times: 20, rate: undefined, signal }, async (number) => {
    begun.push(number)
    await gate.promise
  })
  await until(() => begun.length === AT_A_TIME)
  stop.abort()
  gate.resolve()
  await ended
  t.strictSame(begun, Array.from({ length: AT_A_TIME }, (_, index) => index + 1))
  await t.rejects(repeat({ times: 2, rate: 5000, signal: new AbortController().signal }, () => Promise.reject(new Error('x'))))
})

t.test('what is expected, and what is that', async (t) => {
  for (const provider of Object.keys(PROVIDERS)) {
    for (const sample of Object.values(PROVIDERS[provider]!.events)) {
      for (const variant of variantsOf(PROVIDERS[provider]!)) {
        const first = expectationOf({ variant, sample }, 1)
        const good = (variant === 'valid' || variant === 'duplicate') && !sample.refused
        t.equal(first, good ? 'accepted' : 'refused')
        if (variant === 'duplicate') t.equal(expectationOf({ variant, sample }, 2), sample.again)
      }
    }
  }
  const replayed = { 'idempotency-replayed': 'true' }
  for (const [expectation, outcome, expected] of [
    ['accepted', reply(200), true], ['accepted', reply(299), true], ['accepted', reply(300), false],
    ['accepted', reply(199), false], ['accepted', reply(200, 1, replayed), true], ['accepted', { failure: 'gone' }, false],
    ['replayed', reply(204), false], ['replayed', reply(204, 1, replayed), true], ['replayed', reply(422, 1, replayed), false],
    ['refused', reply(403), true], ['refused', reply(401), false], ['refused', reply(200), false],
    ['refused', { failure: 'gone' }, false]
  ] as const) {
    t.equal(isExpected({ refusalStatus: 403 }, expectation, outcome), expected)
  }
})

t.test('samples differ by their id, and nothing else is random', async (t) => {
  for (const provider of Object.keys(PROVIDERS)) {
    for (const { body } of Object.values(PROVIDERS[provider]!.events)) {
      t.strictSame(body('1', 1_790_000_000), body('1', 1_790_000_000))
      if (!provider.startsWith('humandetect')) t.strictNotSame(body('1', 1_790_000_000), body('2', 1_790_000_000))
    }
    t.match(PROVIDERS[provider]!.path('session'), /^\/\w/)
  }
})
