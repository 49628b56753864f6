import t from 'tap'
import {
  milliseconds, mostAge, mostLead, oneOf, path, retention, text, whole, type Rule
} from '../plugins/lib/options.js'
import { ROUTE_RULES } from '../plugins/lib/settings.js'

const WEEK = 7 * 24 * 3600
const YEAR = 365 * 24 * 3600
const TIMER = 2 ** 31 - 1

const NUMBERS: [what: string, rule: Rule, least: number, most: number][] = [
  ['milliseconds', milliseconds, 1, TIMER], ['an age', mostAge, 1, WEEK], ['a lead', mostLead, 0, WEEK],
  ['a time to keep', retention, 1, YEAR], ['a whole number', whole(5), 1, 5]
]

t.test('numbers are taken from the least to the most', async (t) => {
  for (const [what, { accepts }, least, most] of NUMBERS) {
    for (const value of [least, most]) t.ok(accepts(value), `${what}: ${value}`)
    for (const value of [least - 1, most + 1, Number.NaN, Infinity, String(least), BigInt(most), null, [most]]) {
      t.notOk(accepts(value), `${what}: ${String(value)}`)
    }
  }
  for (const rule of [milliseconds, whole(5)]) t.notOk(rule.accepts(1.5))
  for (const rule of [mostAge, mostLead, retention]) t.ok(rule.accepts(1.5))
})

t.test('what is expected is said with its bounds', async (t) => {
  t.equal(milliseconds.expects, `must be a whole number from 1 to ${TIMER}`)
  t.equal(mostLead.expects, `must be a number of seconds from 0 to ${WEEK}`)
  t.equal(oneOf('a', 'b').expects, 'must be one of "a", "b"')
})

t.test('texts, paths and choices', async (t) => {
  for (const value of ['/', '/a', '/a/:id', '/a/*', '/~!"$%']) t.ok(path.accepts(value), value)
  for (const value of ['', 'a', '/a?b', '/a#b', '/a b', '/é', '/a\n', ['/a'], 5]) t.notOk(path.accepts(value), String(value))
  t.ok(text.accepts(' '))
  for (const value of ['', 5, ['a'], null]) t.notOk(text.accepts(value))
  t.ok(oneOf('a', 'b').accepts('b'))
  for (const value of ['c', 'a, b', undefined, ['a']]) t.notOk(oneOf('a', 'b').accepts(value))
})

t.test('serializers are functions, all of them', async (t) => {
  const { accepts } = ROUTE_RULES['logSerializers']!
  const serialize = () => ''
  for (const value of [{}, { a: serialize }, { a: serialize, b: serialize }]) t.ok(accepts(value))
  for (const value of [null, undefined, 5, 'text', serialize, { a: 'text' }, { a: serialize, b: 'text' }]) t.notOk(accepts(value))
})
