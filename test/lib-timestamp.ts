import t from 'tap'
import { checkFreshness, freshnessOf, parseHttpDate, parseUnixSeconds } from '../plugins/lib/timestamp.js'
import { NOW, now } from './fixtures/deliveries.js'

/** What Number, parseInt or Date would take for a time, and their like. */
const FORMS: [what: string, text: string][] = [
  ['leading space', ' 1725548450'], ['trailing space', '1725548450 '], ['plus', '+1725548450'],
  ['minus', '-1725548450'], ['fraction', '1725548450.5'], ['exponent', '1.72554845e9'], ['hexadecimal', '0x66D9CA62'],
  ['letters after it', '1725548450abc'], ['separators', '1_725_548_450'], ['full-width digits', '１７２５５４８４５０'],
  ['empty', ''], ['blank', '  '], ['not a number', 'NaN'], ['infinite', 'Infinity'], ['beyond all', '1e400'],
  ['leading zero', '0725548450'], ['milliseconds', '1725548450000'], ['twenty digits', '17255484501725548450'],
  ['null', 'null'], ['true', 'true'], ['sent twice', '1725548450, 1725548451'],
  ['nine digits', '172554845'], ['eleven digits', '01725548450'], ['line feed', '1725548450\n'],
  ['leading line feed', '\n1725548450'], ['NUL', '1725548450\0'], ['BigInt', '1725548450n'], ['octal', '0o14666345142'],
  ['HTTP date', 'Thu, 05 Sep 2024 15:00:50 GMT'], ['ISO date', '2024-09-05T15:00:50Z'], ['a dot', '1725548450.'],
  ['Arabic digits', '١٧٢٥٥٤٨٤٥٠'], ['no break', '1725548450\u00a0']
]

t.test('only ten digits are a Unix time in seconds', async (t) => {
  t.equal(parseUnixSeconds('1725548450'), 1725548450)
  t.equal(parseUnixSeconds('1000000000'), 1e9)
  t.equal(parseUnixSeconds('9999999999'), 9999999999)
  for (const [what, text] of FORMS) t.equal(parseUnixSeconds(text), undefined, what)
})

const DATES: [text: string, seconds: number][] = [
  ['Mon, 21 Sep 2026 14:13:20 GMT', NOW],
  ['Sun, 06 Nov 1994 08:49:37 GMT', 784111777],
  ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
  ['Wed, 31 Dec 1969 23:59:59 GMT', -1],
  ['Thu, 29 Feb 2024 23:59:59 GMT', 1709251199],
  ['Tue, 29 Feb 2000 00:00:00 GMT', 951782400],
  ['Fri, 31 Dec 9999 23:59:59 GMT', 253402300799]
]

t.test('an HTTP date is the one form that RFC 9110 lets senders use', async (t) => {
  for (const [text, seconds] of DATES) t.equal(parseHttpDate(text), seconds, text)
})

const NO_DATES: [what: string, text: string][] = [
  ['30 February', 'Mon, 30 Feb 2026 14:13:20 GMT'], ['29 February in a common year', 'Sun, 29 Feb 2026 14:13:20 GMT'],
  ['31 September', 'Thu, 31 Sep 2026 14:13:20 GMT'], ['day 0', 'Mon, 00 Sep 2026 14:13:20 GMT'],
  ['day 32', 'Mon, 32 Sep 2026 14:13:20 GMT'], ['29 February 1900', 'Thu, 29 Feb 1900 00:00:00 GMT'],
  ['hour 24', 'Mon, 21 Sep 2026 24:00:00 GMT'], ['hour 25', 'Mon, 21 Sep 2026 25:13:20 GMT'],
  ['minute 60', 'Mon, 21 Sep 2026 14:60:20 GMT'], ['leap second', 'Sat, 31 Dec 2016 23:59:60 GMT'],
  ['second 61', 'Mon, 21 Sep 2026 14:13:61 GMT'],
  ['wrong weekday', 'Tue, 21 Sep 2026 14:13:20 GMT'], ['no weekday', '21 Sep 2026 14:13:20 GMT'],
  ['unknown weekday', 'Xyz, 21 Sep 2026 14:13:20 GMT'], ['unknown month', 'Mon, 21 Xyz 2026 14:13:20 GMT'],
  ['lower case', 'mon, 21 sep 2026 14:13:20 gmt'], ['upper case', 'MON, 21 SEP 2026 14:13:20 GMT'],
  ['lower-case weekday', 'mon, 21 Sep 2026 14:13:20 GMT'], ['lower-case month', 'Mon, 21 sep 2026 14:13:20 GMT'],
  ['lower-case zone', 'Mon, 21 Sep 2026 14:13:20 gmt'],
  ['two-digit year', 'Mon, 21 Sep 26 14:13:20 GMT'], ['five-digit year', 'Mon, 21 Sep 12026 14:13:20 GMT'],
  ['year 0', 'Sat, 01 Jan 0000 00:00:00 GMT'], ['one-digit day', 'Mon, 1 Sep 2026 14:13:20 GMT'],
  ['one-digit hour', 'Mon, 21 Sep 2026 4:13:20 GMT'], ['no seconds', 'Mon, 21 Sep 2026 14:13 GMT'],
  ['fraction', 'Mon, 21 Sep 2026 14:13:20.5 GMT'], ['UTC', 'Mon, 21 Sep 2026 14:13:20 UTC'],
  ['Z', 'Mon, 21 Sep 2026 14:13:20 Z'], ['numeric zone', 'Mon, 21 Sep 2026 14:13:20 +0000'],
  ['zone after GMT', 'Mon, 21 Sep 2026 14:13:20 GMT+0000'], ['other zone', 'Mon, 21 Sep 2026 14:13:20 EST'],
  ['no zone', 'Mon, 21 Sep 2026 14:13:20'], ['comment', 'Mon, 21 Sep 2026 14:13:20 GMT (x)'],
  ['RFC 850', 'Monday, 21-Sep-26 14:13:20 GMT'], ['asctime', 'Mon Sep 21 14:13:20 2026'],
  ['ISO', '2026-09-21T14:13:20Z'], ['ISO of an impossible day', '2020-02-30T00:00:00Z'], ['Unix time', String(NOW)],
  ['0', '0'], ['empty', ''], ['nonsense', 'now'], ['leading space', ' Mon, 21 Sep 2026 14:13:20 GMT'],
  ['trailing space', 'Mon, 21 Sep 2026 14:13:20 GMT '], ['line feed', 'Mon, 21 Sep 2026 14:13:20 GMT\n'],
  ['two spaces', 'Mon,  21 Sep 2026 14:13:20 GMT'], ['no comma', 'Mon 21 Sep 2026 14:13:20 GMT'],
  ['tab', 'Mon,\t21 Sep 2026 14:13:20 GMT'], ['full-width digits', 'Mon, ２１ Sep 2026 14:13:20 GMT'],
  ['sent twice', 'Mon, 21 Sep 2026 14:13:20 GMT, Mon, 21 Sep 2026 14:13:20 GMT']
]

t.test('any other date is none, though Date might take it', async (t) => {
  for (const [what, text] of NO_DATES) t.equal(parseHttpDate(text), undefined, what)
  t.ok(NO_DATES.filter(([, text]) => !Number.isNaN(Date.parse(text))).length > 20, 'Date takes many of them')
})

t.test('every second of a leap day and the days around it', async (t) => {
  const first = Date.UTC(2024, 1, 28) / 1000
  let wrong = 0
  for (let seconds = first; seconds < first + 3 * 86_400; seconds += 97) {
    if (parseHttpDate(new Date(seconds * 1000).toUTCString()) !== seconds) wrong++
  }
  t.equal(wrong, 0)
})

t.test('a date is read alike in every time zone', async (t) => {
  const zone = process.env['TZ']
  t.teardown(() => {
    if (zone === undefined) delete process.env['TZ']
    else process.env['TZ'] = zone
  })
  for (const name of ['America/New_York', 'Asia/Kathmandu', 'Pacific/Kiritimati', 'UTC']) {
    process.env['TZ'] = name
    t.equal(parseHttpDate('Mon, 21 Sep 2026 14:13:20 GMT'), NOW, name)
  }
})

t.test('a timestamp is fresh within the tolerances, both ends included', async (t) => {
  const ages: [age: number, reason?: 'stale' | 'future'][] = [
    [0], [1], [299], [300], [301, 'stale'], [1e9, 'stale'], [-1], [-59], [-60], [-61, 'future'], [-315_360_000, 'future']
  ]
  for (const [age, reason] of ages) {
    const expected = reason && { ok: false, reason, ageSeconds: age }
    t.strictSame(checkFreshness(NOW - age, freshnessOf({ now })), expected, `${age} s`)
  }
  const narrow = freshnessOf({ tolerance: 1, futureTolerance: 0, now })
  t.strictSame([-1, 0, 1, 2].map((age) => checkFreshness(NOW - age, narrow)?.reason), [
    'future', undefined, undefined, 'stale'
  ])
})

t.test('the clock counts in whole seconds', async (t) => {
  for (const milliseconds of [0, 1, 999]) {
    const freshness = freshnessOf({ now: () => now() + milliseconds })
    t.equal(checkFreshness(NOW - 300, freshness), undefined)
    t.equal(checkFreshness(NOW + 60, freshness), undefined)
    t.equal(checkFreshness(NOW - 301, freshness)?.reason, 'stale')
    t.equal(checkFreshness(NOW + 61, freshness)?.reason, 'future')
  }
})

t.test('a broken clock or timestamp is never fresh', async (t) => {
  for (const broken of [NaN, Infinity, -Infinity, undefined, 'noon', {}]) {
    const reading = broken as number
    t.equal(checkFreshness(NOW, freshnessOf({ now: () => reading }))?.ok, false, `clock: ${broken}`)
    t.equal(checkFreshness(reading, freshnessOf({ now }))?.ok, false, `timestamp: ${broken}`)
  }
  t.equal(checkFreshness(NaN, freshnessOf({ now: () => NaN }))?.ok, false)
})

t.test('the defaults are those of the contract', async (t) => {
  t.strictSame(freshnessOf({}), { tolerance: 300, futureTolerance: 60, now: Date.now })
  t.strictSame(freshnessOf({ tolerance: undefined, futureTolerance: undefined, now: undefined }), freshnessOf({}))
  t.strictSame(freshnessOf({ tolerance: 5, futureTolerance: 0, now }), { tolerance: 5, futureTolerance: 0, now })
})

t.test('16 KiB of anything is refused in no time', async (t) => {
  for (const part of ['1', ' ', 'Mon, ', 'Mon, 21 Sep 2026 14:13:20 GMT', 'A', '0', ':', '\n', '(', '-', 'é']) {
    const text = part.repeat(16_384 / part.length)
    const start = performance.now()
    t.equal(parseHttpDate(text), undefined)
    t.equal(parseUnixSeconds(text), undefined)
    t.ok(performance.now() - start < 200, JSON.stringify(part))
  }
})
