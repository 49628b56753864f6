import t from 'tap'
import {
  checkFreshness, freshnessOf, parseDateTime, parseHttpDate, parseUnixSeconds, replayWindow, systemClock
} from '../../plugins/lib/signature/fields.js'
import { NOW, now } from '../support/deliveries.js'
import { quiet } from '../support/quiet.js'
import { cpuTime } from '../support/waiting.js'

/** Strings that Number, parseInt, Date or similar would accept as a time. */
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

t.test('only the HTTP date format that RFC 9110 allows senders is accepted', async (t) => {
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
  ['year 10000, as Date prints it', 'Sat, 01 Jan 10000 00:00:00 GMT'],
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

t.test('any other date is refused, though Date might accept it', quiet(async (t) => {
  for (const [what, text] of NO_DATES) t.equal(parseHttpDate(text), undefined, what)
  t.ok(NO_DATES.filter(([, text]) => !Number.isNaN(Date.parse(text))).length > 20, 'Date accepts many of them')
}))

t.test('every second of a leap day and the days around it', async (t) => {
  const first = Date.UTC(2024, 1, 28) / 1000
  let wrong = 0
  for (let seconds = first; seconds < first + 3 * 86_400; seconds += 97) {
    if (parseHttpDate(new Date(seconds * 1000).toUTCString()) !== seconds) wrong++
  }
  t.equal(wrong, 0)
})

t.test('a date is parsed the same way in every time zone', async (t) => {
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

t.test('the clock counts whole seconds', async (t) => {
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
  t.strictSame(freshnessOf({}), { tolerance: 300, futureTolerance: 60, now: systemClock })
  t.strictSame(freshnessOf({ tolerance: undefined, futureTolerance: undefined, now: undefined }), freshnessOf({}))
  t.strictSame(freshnessOf({ tolerance: 5, futureTolerance: 0, now }), { tolerance: 5, futureTolerance: 0, now })
})

t.test('the replay window spans both tolerances, in whole seconds', async (t) => {
  t.equal(replayWindow({ ...freshnessOf({}), tolerance: 300, futureTolerance: 60 }), 421_000)
  t.equal(replayWindow({ ...freshnessOf({}), tolerance: 0, futureTolerance: 7 }), 68_000)
})

t.test('16 KiB of any characters are refused quickly', async (t) => {
  for (const part of ['1', ' ', 'Mon, ', 'Mon, 21 Sep 2026 14:13:20 GMT', 'A', '0', ':', '\n', '(', '-', 'é']) {
    const text = part.repeat(16_384 / part.length)
    const start = cpuTime()
    t.equal(parseHttpDate(text), undefined)
    t.equal(parseUnixSeconds(text), undefined)
    t.equal(parseDateTime(text), undefined)
    t.ok(cpuTime() - start < 200, JSON.stringify(part))
  }
})

const DATE_TIMES: [text: string, same: string][] = [
  ['2020-09-22T14:52:11.104-0500', '2020-09-22T19:52:11.104Z'],
  ['2020-09-22T14:52:11.104-05:00', '2020-09-22T19:52:11.104Z'],
  ['2020-09-22T14:52:11.104+05:30', '2020-09-22T09:22:11.104Z'],
  ['2020-09-22T14:52:11.104+0530', '2020-09-22T09:22:11.104Z'],
  ['2020-09-22T14:52:11.104Z', '2020-09-22T14:52:11.104Z'],
  ['2020-09-22T14:52:11.104+0000', '2020-09-22T14:52:11.104Z'],
  ['2020-09-22T14:52:11.104-0000', '2020-09-22T14:52:11.104Z'],
  ['2020-09-22T14:52:11.104+00:00', '2020-09-22T14:52:11.104Z'],
  ['2020-09-22T14:52:11.104-00:00', '2020-09-22T14:52:11.104Z'],
  ['2020-09-22T14:52:11Z', '2020-09-22T14:52:11.000Z'],
  ['2020-09-22T14:52:11-0500', '2020-09-22T19:52:11.000Z'],
  ['2020-09-22T14:52:11.1Z', '2020-09-22T14:52:11.100Z'],
  ['2020-09-22T14:52:11.10Z', '2020-09-22T14:52:11.100Z'],
  ['2020-09-22T14:52:11.000000000Z', '2020-09-22T14:52:11.000Z'],
  ['2020-09-22T14:52:11+2359', '2020-09-21T14:53:11.000Z'],
  ['2020-09-22T14:52:11-2359', '2020-09-23T14:51:11.000Z'],
  ['2020-09-22T14:52:11+0059', '2020-09-22T13:53:11.000Z'],
  ['2024-02-29T23:59:59.999Z', '2024-02-29T23:59:59.999Z'],
  ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00.000Z'],
  ['2020-12-31T23:59:59-0100', '2021-01-01T00:59:59.000Z'],
  ['1970-01-01T00:00:00Z', '1970-01-01T00:00:00.000Z'],
  ['1969-12-31T23:59:59.5Z', '1969-12-31T23:59:59.500Z'],
  ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00.000Z'],
  ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
  ['9999-12-31T23:59:59-0100', '+010000-01-01T00:59:59.000Z']
]

t.test('a date and time is parsed with its offset, with or without a colon, to the millisecond', async (t) => {
  t.equal(parseDateTime('2020-09-22T14:52:11.104-0500'), 1_600_804_331_104, "the document's own")
  for (const [text, same] of DATE_TIMES) t.equal(parseDateTime(text), Date.parse(same), text)
})

t.test('a fraction of a second may have one to nine digits', async (t) => {
  for (let digits = 1; digits <= 9; digits++) {
    const time = parseDateTime(`2020-09-22T14:52:11.${'123456789'.slice(0, digits)}Z`)!
    const expected = 1_600_786_331_000 + Number('123456789'.slice(0, digits)) / 10 ** (digits - 3)
    t.ok(Math.abs(time - expected) < 0.001, `${digits} digits`)
  }
  t.equal(parseDateTime('2020-09-22T14:52:11.1234567890Z'), undefined, 'ten digits')
  t.equal(parseDateTime('2020-09-22T14:52:11.Z'), undefined, 'none after the dot')
  let wrong = 0
  for (let ms = 0; ms < 1000; ms++) {
    const text = `2020-09-22T14:52:11.${String(ms).padStart(3, '0')}+0000`
    if (parseDateTime(text) !== 1_600_786_331_000 + ms) wrong++
  }
  t.equal(wrong, 0, 'every millisecond of a second is exact')
})

const NO_DATE_TIMES: [what: string, text: string][] = [
  ['no offset', '2020-09-22T14:52:11.104'], ['no offset, no fraction', '2020-09-22T14:52:11'],
  ['lower-case t', '2020-09-22t14:52:11.104-0500'], ['lower-case z', '2020-09-22T14:52:11.104z'],
  ['a space for T', '2020-09-22 14:52:11.104-0500'], ['an underscore for T', '2020-09-22_14:52:11Z'],
  ['no T', '2020-09-2214:52:11Z'], ['a space before the offset', '2020-09-22T14:52:11 -0500'],
  ['30 February', '2020-02-30T00:00:00Z'], ['29 February 2021', '2021-02-29T00:00:00Z'],
  ['29 February 1900', '1900-02-29T00:00:00Z'], ['31 April', '2020-04-31T00:00:00Z'], ['day 0', '2020-09-00T00:00:00Z'],
  ['day 32', '2020-01-32T00:00:00Z'], ['month 0', '2020-00-22T00:00:00Z'], ['month 13', '2020-13-22T00:00:00Z'],
  ['hour 24', '2020-09-22T24:00:00Z'], ['hour 24 of an offset', '2020-09-22T24:00:00+0100'],
  ['hour 25', '2020-09-22T25:00:00Z'], ['minute 60', '2020-09-22T14:60:00Z'], ['second 60', '2020-09-22T14:52:60Z'],
  ['a leap second', '2016-12-31T23:59:60Z'], ['ten digits of a fraction', '2020-09-22T14:52:11.1234567890Z'],
  ['a comma', '2020-09-22T14:52:11,104-0500'], ['a dot and no fraction', '2020-09-22T14:52:11.-0500'],
  ['a fraction of a minute', '2020-09-22T14:52.5Z'], ['a sign in the fraction', '2020-09-22T14:52:11.-104Z'],
  ['an exponent', '2020-09-22T14:52:11.1e3Z'], ['offset +24:00', '2020-09-22T14:52:11+24:00'],
  ['offset -2400', '2020-09-22T14:52:11-2400'], ['offset +9900', '2020-09-22T14:52:11+9900'],
  ['offset +0560', '2020-09-22T14:52:11+0560'], ['offset +05:60', '2020-09-22T14:52:11+05:60'],
  ['offset +05', '2020-09-22T14:52:11+05'], ['offset +5:00', '2020-09-22T14:52:11+5:00'],
  ['offset +500', '2020-09-22T14:52:11+500'], ['offset +05:', '2020-09-22T14:52:11+05:'],
  ['offset +05:0', '2020-09-22T14:52:11+05:0'], ['offset +050', '2020-09-22T14:52:11+050'],
  ['offset +05000', '2020-09-22T14:52:11+05000'], ['offset +05:00:00', '2020-09-22T14:52:11+05:00:00'],
  ['offset +05.00', '2020-09-22T14:52:11+05.00'], ['an offset without a sign', '2020-09-22T14:52:110500'],
  ['a minus sign of typography', '2020-09-22T14:52:11\u22120500'], ['two signs', '2020-09-22T14:52:11+-0500'],
  ['Z and an offset', '2020-09-22T14:52:11Z+0000'], ['an offset and Z', '2020-09-22T14:52:11+0000Z'],
  ['a zone by name', '2020-09-22T14:52:11 UTC'], ['GMT', '2020-09-22T14:52:11GMT'],
  ['a zone in brackets', '2020-09-22T14:52:11Z[UTC]'], ['another letter', '2020-09-22T14:52:11A'],
  ['leading space', ' 2020-09-22T14:52:11Z'], ['trailing space', '2020-09-22T14:52:11Z '],
  ['leading line feed', '\n2020-09-22T14:52:11Z'], ['trailing line feed', '2020-09-22T14:52:11Z\n'],
  ['NUL', '2020-09-22T14:52:11Z\0'], ['two lines', '2020-09-22T14:52:11Z\n2020-09-22T14:52:11Z'],
  ['an expanded year', '+002020-09-22T14:52:11Z'], ['a negative year', '-002020-09-22T14:52:11Z'],
  ['a negative year of four digits', '-2020-09-22T14:52:11Z'], ['five digits of a year', '12020-09-22T14:52:11Z'],
  ['two digits of a year', '20-09-22T14:52:11Z'], ['a week date', '2020-W39-2T14:52:11Z'],
  ['an ordinal date', '2020-266T14:52:11Z'], ['basic format', '20200922T145211Z'], ['no dashes', '20200922T14:52:11Z'],
  ['no colons', '2020-09-22T145211Z'], ['slashes', '2020/09/22T14:52:11Z'], ['no seconds', '2020-09-22T14:52Z'],
  ['one digit of a month', '2020-9-22T14:52:11Z'], ['one digit of an hour', '2020-09-22T4:52:11Z'],
  ['a date only', '2020-09-22'], ['a date with an offset', '2020-09-22Z'], ['a time only', '14:52:11Z'],
  ['an HTTP date', 'Tue, 22 Sep 2020 14:52:11 GMT'], ['Unix time', '1600804331'], ['milliseconds', '1600804331104'],
  ['full-width digits', '２０２０-09-22T14:52:11Z'], ['Arabic digits', '2020-09-22T14:52:١١Z'], ['empty', ''], ['blank', ' '],
  ['nonsense', 'now'], ['not a number', 'NaN'], ['null', 'null'], ['sent twice', '2020-09-22T14:52:11Z, 2020-09-22T14:52:11Z']
]

t.test('any other date and time is refused, though Date might accept it', quiet(async (t) => {
  for (const [what, text] of NO_DATE_TIMES) t.equal(parseDateTime(text), undefined, what)
  t.ok(NO_DATE_TIMES.filter(([, text]) => !Number.isNaN(Date.parse(text))).length > 10, 'Date accepts many of them')
}))

/** Formats a local date and time, independently of the code under test. */
function formatAt (time: number, offset: number, colon: string): string {
  const wall = new Date(time + offset * 60_000)
  const two = (number: number) => String(number).padStart(2, '0')
  const date = [String(wall.getUTCFullYear()).padStart(4, '0'), two(wall.getUTCMonth() + 1), two(wall.getUTCDate())]
  const clock = [wall.getUTCHours(), wall.getUTCMinutes(), wall.getUTCSeconds()].map(two)
  const fraction = String(wall.getUTCMilliseconds()).padStart(3, '0')
  const [hours, minutes] = [Math.floor(Math.abs(offset) / 60), Math.abs(offset) % 60]
  return `${date.join('-')}T${clock.join(':')}.${fraction}${offset < 0 ? '-' : '+'}${two(hours)}${colon}${two(minutes)}`
}

t.test('20,000 moments in every offset are parsed exactly', async (t) => {
  t.equal(formatAt(1_600_804_331_104, -300, ''), '2020-09-22T14:52:11.104-0500', 'the format is that of the document')
  const [from, to] = [Date.UTC(1000, 0), Date.UTC(9999, 11)]
  let seed = 1
  const random = () => {
    seed = Math.imul(seed ^ (seed >>> 15), 0x2c1b3c6d) + 0x9e3779b9 >>> 0
    return seed / 2 ** 32
  }
  const wrong: string[] = []
  const offsets = new Set<number>()
  for (let round = 0; round < 20_000; round++) {
    const time = Math.floor(from + random() * (to - from))
    const offset = Math.floor(random() * 2879) - 1439 // at most 23:59 in either direction
    offsets.add(offset)
    const text = formatAt(time, offset, round % 2 === 0 ? '' : ':')
    if (parseDateTime(text) !== time) wrong.push(text)
  }
  t.strictSame(wrong, [])
  t.ok(offsets.size > 2_000, `${offsets.size} offsets`)
})

t.test('a date and time is parsed the same way in every time zone', async (t) => {
  const zone = process.env['TZ']
  t.teardown(() => {
    if (zone === undefined) delete process.env['TZ']
    else process.env['TZ'] = zone
  })
  for (const name of ['America/New_York', 'Asia/Kathmandu', 'Pacific/Kiritimati', 'UTC']) {
    process.env['TZ'] = name
    t.equal(parseDateTime('2020-09-22T14:52:11.104-0500'), 1_600_804_331_104, name)
  }
})
