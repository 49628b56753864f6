import { inspect } from 'node:util'
import t from 'tap'
import { readBaseUrl } from '../../plugins/humandetect/base-url.js'
import {
  milliseconds, mostAge, mostLead, oneOf, path, retention, nonEmptyString, integer, type Rule
} from '../../plugins/lib/rules.js'
import { ROUTE_RULES } from '../../plugins/lib/options.js'
import { quiet } from '../support/quiet.js'

const WEEK = 7 * 24 * 3600
const YEAR = 365 * 24 * 3600
const TIMER = 2 ** 31 - 1

const NUMBERS: [what: string, rule: Rule, least: number, most: number][] = [
  ['milliseconds', milliseconds, 1, TIMER], ['an age', mostAge, 1, WEEK], ['a lead', mostLead, 0, WEEK],
  ['a time to keep', retention, 1, YEAR], ['a whole number', integer(5), 1, 5]
]

t.test('numbers are accepted from the minimum to the maximum', quiet(async (t) => {
  for (const [what, { accepts }, least, most] of NUMBERS) {
    for (const value of [least, most]) t.ok(accepts(value), `${what}: ${value}`)
    for (const value of [least - 1, most + 1, Number.NaN, Infinity, String(least), BigInt(most), null, [most]]) {
      t.notOk(accepts(value), `${what}: ${String(value)}`)
    }
  }
  for (const rule of [milliseconds, integer(5)]) t.notOk(rule.accepts(1.5))
  for (const rule of [mostAge, mostLead, retention]) t.ok(rule.accepts(1.5))
}))

t.test('what is expected is said with its bounds', async (t) => {
  t.equal(milliseconds.expects, `must be an integer from 1 to ${TIMER}`)
  t.equal(mostLead.expects, `must be a number of seconds from 0 to ${WEEK}`)
  t.equal(oneOf('a', 'b').expects, 'must be one of "a", "b"')
})

t.test('strings, paths and choices', async (t) => {
  for (const value of ['/', '/a', '/a/:id', '/a/*', '/~!"$%']) t.ok(path.accepts(value), value)
  for (const value of ['', 'a', '/a?b', '/a#b', '/a b', '/é', '/a\n', ['/a'], 5]) t.notOk(path.accepts(value), String(value))
  t.ok(nonEmptyString.accepts(' '))
  for (const value of ['', 5, ['a'], null]) t.notOk(nonEmptyString.accepts(value))
  t.ok(oneOf('a', 'b').accepts('b'))
  for (const value of ['c', 'a, b', undefined, ['a']]) t.notOk(oneOf('a', 'b').accepts(value))
})

t.test('serializers are functions, all of them', async (t) => {
  const { accepts } = ROUTE_RULES['logSerializers']!
  const serialize = () => ''
  for (const value of [{}, { a: serialize }, { a: serialize, b: serialize }]) t.ok(accepts(value))
  for (const value of [null, undefined, 5, 'text', serialize, { a: 'text' }, { a: serialize, b: 'text' }]) t.notOk(accepts(value))
})

const PLUGIN = 'somePlugin'
const NOT_NORMAL = 'must be a normalized absolute URL'
const TOO_MUCH = 'must not have credentials, a query or a fragment'
const NOT_SAFE = 'must use https, or http on loopback with "allowHttp"'

/** Returns the error that `readBaseUrl` throws, or undefined. */
function refusal (text: unknown, allowHttp: boolean): unknown {
  try {
    readBaseUrl(PLUGIN, text, allowHttp)
    return undefined
  } catch (error) {
    return error
  }
}

const HTTPS: [text: string, origin: string, prefix: string][] = [
  ['https://api.unify.id', 'https://api.unify.id', ''],
  ['https://api.unify.id/', 'https://api.unify.id', ''],
  ['https://api.unify.id/v2', 'https://api.unify.id', '/v2'],
  ['https://api.unify.id/v2/', 'https://api.unify.id', '/v2'],
  ['https://api.unify.id/a/b/c', 'https://api.unify.id', '/a/b/c'],
  ['https://api.unify.id/a/b/c/', 'https://api.unify.id', '/a/b/c'],
  ['https://api.unify.id/a%20b', 'https://api.unify.id', '/a%20b'],
  ['https://api.unify.id:8443', 'https://api.unify.id:8443', ''],
  ['https://api.unify.id:8443/v2/', 'https://api.unify.id:8443', '/v2'],
  ['https://192.0.2.1', 'https://192.0.2.1', ''],
  ['https://[2001:db8::1]:8443', 'https://[2001:db8::1]:8443', ''],
  ['https://xn--mnchen-3ya.example', 'https://xn--mnchen-3ya.example', ''],
  ['https://localhost', 'https://localhost', ''],
  ['https://127.0.0.1:3000/', 'https://127.0.0.1:3000', '']
]

t.test('https is accepted for every host, with and without a path, and a trailing slash is removed', async (t) => {
  for (const [text, origin, prefix] of HTTPS) {
    for (const allowHttp of [false, true]) t.strictSame(readBaseUrl(PLUGIN, text, allowHttp), { origin, prefix }, text)
  }
})

const LOOPBACK: [text: string, origin: string, prefix: string][] = [
  ['http://localhost', 'http://localhost', ''],
  ['http://localhost:3000', 'http://localhost:3000', ''],
  ['http://localhost:3000/', 'http://localhost:3000', ''],
  ['http://localhost:3000/mock/', 'http://localhost:3000', '/mock'],
  ['http://127.0.0.1', 'http://127.0.0.1', ''],
  ['http://127.0.0.1:3000/v1', 'http://127.0.0.1:3000', '/v1'],
  ['http://127.255.255.254:1', 'http://127.255.255.254:1', ''],
  ['http://[::1]', 'http://[::1]', ''],
  ['http://[::1]:3000/', 'http://[::1]:3000', '']
]

t.test('http is accepted for this machine, where allowed', async (t) => {
  for (const [text, origin, prefix] of LOOPBACK) {
    t.strictSame(readBaseUrl(PLUGIN, text, true), { origin, prefix }, text)
    t.match(refusal(text, false), { message: `${PLUGIN}: option "baseUrl" ${NOT_SAFE}` }, `${text}, not allowed`)
  }
})

const REFUSED: [expected: string, texts: unknown[]][] = [
  [NOT_NORMAL, [
    undefined, null, 5, true, {}, [], ['https://canary.example'], new URL('https://canary.example'),
    { toString: () => 'https://canary.example' }, '', ' ', '/', '/canary', 'canary', 'canary.example',
    '//canary.example', '?canary', 'https', 'https:', 'https:/', 'https://', 'https:///',
    // spellings that a parser normalizes
    'https:/canary', 'https:canary', 'https:///canary', 'https:////canary', 'https:\\\\canary', 'https:/\\canary',
    'https://api.unify.id\\@canary', 'https://api.unify.id\\canary', 'https://api.unify.id\\', 'https://canary\\.example',
    'https://@canary', 'https://:@canary', 'https://canary@', 'https://canary:443', 'https://canary:443/',
    'https://canary:0443', 'https://canary:', 'https://canary:/', 'https://canary:70000', 'https://canary:x',
    'http://localhost:80', 'http://localhost:80/', 'https://CANARY.example', 'https://Canary.example/', 'HTTPS://canary',
    'Https://canary', 'HTTP://localhost', 'http://LOCALHOST', 'https://m\u00fcnchen.canary', 'https://canary\u3002example',
    'https://\uff43anary.example', 'https://cana\u00adry.example', 'https://%63anary.example',
    'http://0x7f.1', 'http://0x7f.0.0.1', 'http://2130706433', 'http://0177.0.0.1', 'http://127.1', 'http://127.0.1',
    'http://127.0.0.01', 'http://127.0.0.1.', 'http://127.0.0.256', 'http://[0:0:0:0:0:0:0:1]', 'http://[::0.0.0.1]',
    'http://[::1', 'http://::1', 'http://[::1%25lo]',
    // white space, which a parser trims or removes
    ' https://canary', 'https://canary ', '\thttps://canary', 'https://canary\n', '\nhttps://canary', 'https://canary\r\n',
    'ht\ttps://canary', 'https:/\n/canary', 'https://can\tary', 'https://can\nary', 'https://can\rary', 'https://can ary',
    'https://canary/a\tb', 'https://canary/a\nb', 'https://canary/a b', '\0https://canary', 'https://canary\0',
    'https://canary/\0', '\u00a0https://canary', '\ufeffhttps://canary', 'https://canary\u2028',
    // paths that a parser resolves or escapes
    'https://canary/.', 'https://canary/..', 'https://canary/a/../b', 'https://canary/a/./b', 'https://canary/../a',
    'https://canary/%2e%2e/a', 'https://canary/a/%2E/', 'https://canary/a/.%2e', 'https://canary/\u00fc',
    'https://canary/a\\b', 'https://canary/a\\..\\b', 'https://canary/"', 'https://canary/<x>', 'https://canary/{x}',
    'https://canary?', 'https://canary#', 'https://canary?a=1', 'https://canary#a', 'javascript:canary\n', 'file://canary\\x'
  ]],
  [TOO_MUCH, [
    'https://api.unify.id@canary', 'https://api.unify.id@canary/', 'https://api.unify.id:443@canary/',
    'https://canary:secret@api.unify.id', 'https://canary@api.unify.id/', 'https://:canary@api.unify.id/',
    'http://localhost@canary/', 'http://127.0.0.1:3000@canary', 'http://canary@localhost/', 'https://%40@canary/',
    'https://h/?', 'https://h/?canary', 'https://h/v1?canary=1', 'https://h/v1/?', 'https://h/#', 'https://h/#canary',
    'https://h/v1#canary', 'https://h/?#', 'https://h/canary@api.unify.id', 'http://localhost/?canary',
    'mailto:canary@api.unify.id', 'javascript:canary?', 'data:,canary#'
  ]],
  [NOT_SAFE, [
    'http://canary', 'http://api.unify.id', 'http://api.unify.id/', 'http://api.unify.id:3000/v1', 'http://localhost.canary',
    'http://localhost.canary/', 'http://canary.localhost', 'http://localhost.', 'http://localhosts', 'http://xlocalhost',
    'http://127.0.0.1.canary', 'http://127.0.0.1.nip.canary/', 'http://canary.127.0.0.1.example', 'http://128.0.0.1',
    'http://126.0.0.1', 'http://10.0.0.1', 'http://192.168.0.1', 'http://169.254.169.254', 'http://0.0.0.0', 'http://1.127.0.0',
    'http://[::]', 'http://[::2]', 'http://[::ffff:7f00:1]', 'http://[fe80::1]', 'http://[::1:1]', 'http://[1::1]',
    'ftp://canary/', 'ftp://localhost/', 'file:///canary', 'file://localhost.canary/', 'file:///', 'ws://localhost/',
    'ws://canary', 'wss://canary/', 'javascript:canary', 'javascript:alert(1)', 'data:text/plain,canary', 'data:,', 'blob:canary',
    'about:blank', 'canary.example:443', 'unix:/canary.sock', 'httpss://canary', 'xhttps://canary', 'https+x://canary', 'canary:443', 'localhost:3000',
    'view-source:https://canary', 'node:fs', 'mailto:canary', 'custom://127.0.0.1/', 'http://xn--canary-9ua'
  ]]
]

for (const [expected, texts] of REFUSED) {
  t.test(`a base URL ${expected}`, quiet(async (t) => {
    for (const text of texts) {
      for (const allowHttp of [false, true]) {
        const what = inspect(text).replace(/[^ -~]/g, '?') // characters that TAP can carry
        const error = refusal(text, allowHttp)
        const { code, message } = Object(error)
        t.strictSame({ code, message }, {
          code: 'FST_VERIFICATION_INVALID_OPTION', message: `${PLUGIN}: option "baseUrl" ${expected}`
        }, `${what}, ${allowHttp}`)
        t.notMatch(inspect(error, { depth: 9, showHidden: true }), 'canary', `${what} is not shown`)
      }
    }
  }))
}

t.test('an accepted URL has the same host for every parser', async (t) => {
  const parts = ['https:', 'http:', '/', '//', '\\', '@', ':', 'localhost', '127.0.0.1', 'h.example', '.', '..', '?', '#', '\t', ' ', '%2e', '80']
  let seed = 42
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return Math.floor(seed / 2 ** 31 * below)
  }
  let taken = 0
  for (let round = 0; round < 20_000; round++) {
    const scheme = random(2) === 0 ? 'https://' : 'http://'
    const text = scheme + Array.from({ length: 1 + random(4) }, () => parts[random(parts.length)]).join('')
    if (refusal(text, true) !== undefined) continue
    taken++
    const { origin, prefix } = readBaseUrl(PLUGIN, text, true)
    const [, host, path] = /^https?:\/\/([a-z0-9.:[\]-]+)(\/.*)?$/.exec(text) ?? []
    if (host === undefined || origin !== scheme + host || prefix !== (path ?? '').replace(/\/$/, '')) t.fail(text)
    if (scheme === 'http://' && !/^(?:localhost|127\.0\.0\.\d+)(?::\d+)?$/.test(host!)) t.fail(text)
  }
  t.ok(taken > 100, `${taken} were accepted`)
})
