import type { IncomingHttpHeaders } from 'node:http'
import t from 'tap'
import {
  signAghanim, signAltdentifier, signIdentityValidation, verifyAghanim, verifyAltdentifier, verifyIdentityValidation,
  type Secret, type VerifyResult
} from '../../plugins/index.js'
import { API_KEY, API_SECRET, NOW, now, SECRET } from '../support/deliveries.js'
import { quiet } from '../support/quiet.js'

const BODY = '{"event":"ñ 😀","spaced" : 1e0}\r\n'
const BYTES = Buffer.from(BODY)
const ENDPOINT = '/kyc/sessions?tenant=1'

type Headers = Record<string, string>

/** Changes that a case makes to a call of a verify function. */
interface Given {
  secret?: unknown
  headers?: IncomingHttpHeaders
  body?: unknown
  tolerance?: unknown
  futureTolerance?: unknown
  now?: unknown
}

interface Case {
  name: string
  option: string
  sign: (secret: string, timestamp?: number | string, body?: string | Uint8Array) => Headers
  verify: (given: Given) => VerifyResult
  secrets: readonly [string, string, string, string]
  /** Headers, each with the ways to break a value that could be a signature, one at a time. */
  malformed: Record<string, readonly ((value: string) => string)[]>
  signature: string
  timestamp?: string
  weak: string
  least: number
}

const strong = (encoding: BufferEncoding) => (name: string) => Buffer.from(name.repeat(24)).toString(encoding)
const TEXTS = [SECRET, ...['a', 'b', 'c'].map(strong('utf8'))] as unknown as Case['secrets']
const BASE64 = [API_SECRET, ...['a', 'b', 'c'].map(strong('base64'))] as unknown as Case['secrets']

/** Doubles a value, cuts it, adds something before, after and inside it, and joins it with another like Node does. */
const BROKEN = [
  (value: string) => value + value, (value: string) => value.slice(0, -1), (value: string) => `${value}0`,
  (value: string) => ` ${value}`, (value: string) => `${value} `, (value: string) => `${value}\n`,
  (value: string) => `${value}\0`, (value: string) => `${value}, ${value}`, (value: string) => value.replace(/.$/, 'é'),
  (value: string) => value.replace(/.$/, ' '), () => ' ', () => 'é'.repeat(64), () => '😀'
]

const CASES: Case[] = [{
  name: 'Altdentifier',
  option: 'secret',
  sign: (secret, _timestamp, body = BODY) => signAltdentifier({ secret, body }),
  verify: (given) => verifyAltdentifier({ secret: SECRET, headers: {}, body: BYTES, now, ...given } as never),
  secrets: TEXTS,
  signature: 'digest',
  malformed: {
    digest: [
      ...BROKEN, (value) => value.slice(4), (value) => value.replace('=', ' = '), (value) => value.replace('=', ''),
      (value) => value.replace('MD5', 'SHA-256'), (value) => `${value},SHA-256=x`, (value) => value.replace('=', '=='),
      (value) => `MD5=${Buffer.from(value.slice(4), 'hex').toString('base64')}`, () => 'MD5='
    ]
  },
  weak: 'x'.repeat(15),
  least: 16
}, {
  name: 'Aghanim',
  option: 'secret',
  sign: (secret, timestamp = NOW, body = BODY) => signAghanim({ secret, body, timestamp }),
  verify: (given) => verifyAghanim({ secret: SECRET, headers: {}, body: BYTES, now, ...given } as never),
  secrets: TEXTS,
  signature: 'x-aghanim-signature',
  timestamp: 'x-aghanim-signature-timestamp',
  malformed: {
    'x-aghanim-signature': [
      ...BROKEN, (value) => `${value}zz`, (value) => `0x${value.slice(2)}`, (value) => `sha256=${value}`,
      (value) => Buffer.from(value, 'hex').toString('base64')
    ],
    'x-aghanim-signature-timestamp': BROKEN
  },
  weak: 'x'.repeat(23),
  least: 24
}, {
  name: 'IdentityValidation',
  option: 'apiKeys',
  sign: (secret, timestamp = NOW, body = BODY) =>
    signIdentityValidation({ apiKey: API_KEY, secret, endpoint: ENDPOINT, body, timestamp }),
  verify: ({ secret = API_SECRET, ...given }) => verifyIdentityValidation({
    apiKeys: { [API_KEY]: secret }, endpoint: ENDPOINT, headers: {}, body: BYTES, now, ...given
  } as never),
  secrets: BASE64,
  signature: 'x-signature',
  timestamp: 'x-timestamp',
  malformed: {
    'x-signature': [
      ...BROKEN, (value) => value.replace(' ', '  '), (value) => value.slice(12), (value) => value.toUpperCase(),
      (value) => value.replace('256', '512'), (value) => value.replace('=', ''), (value) => value.replace('=', '-'),
      (value) => `hmac-sha256 ${Buffer.from(value.slice(12), 'base64').toString('hex')}`,
      (value) => `hmac-sha256 ${Buffer.from(value.slice(12), 'base64').subarray(0, 31).toString('base64')}`,
      // Canonical base64 leaves the last two bits of the last character at zero.
      (value) => value.replace(/.=$/, (end) => `${String.fromCharCode(end.charCodeAt(0) + 1)}=`)
    ],
    'x-timestamp': BROKEN,
    'x-endpoint': [
      (value) => value.slice(1), (value) => ` ${value}`, (value) => `${value}\n`, (value) => `${value}é`,
      (value) => `https://example.com${value}`, (value) => `${value}{}`, (value) => `${value}, ${value}`
    ],
    'x-api-key': [
      (value) => ` ${value}`, (value) => `${value},`, (value) => `${value}, ${value}`, (value) => `${value}\n`,
      (value) => `${value}é`, (value) => `${value}\0`
    ]
  },
  weak: Buffer.alloc(23, 'x').toString('base64'),
  least: 24
}]

const no = (reason: string) => ({ ok: false, reason })
const yes = (secretIndex: number) => ({ ok: true, secretIndex })
const errorOf = (work: () => unknown) => {
  try {
    return work()
  } catch (error) {
    const { code, message } = Object(error)
    return { code, message }
  }
}
const thrown = (option: string, expected: string, caller: string) => ({
  code: 'FST_VERIFICATION_INVALID_OPTION', message: `${caller}: option "${option}" ${expected}`
})

const circular: unknown[] = []
circular.push(circular)

for (const { name, option, sign, verify, secrets, malformed, signature, timestamp, weak, least } of CASES) {
  const headers = sign(secrets[0])

  t.test(`verify${name}: during a rotation each secret is accepted`, quiet(async (t) => {
    for (let length = 1; length <= 4; length++) {
      const live = secrets.slice(0, length)
      for (const [index, secret] of secrets.entries()) {
        const expected = index < length ? yes(index) : no('mismatch')
        t.strictSame(verify({ secret: live, headers: sign(secret) }), expected)
        if (index < length) {
          const reversed = yes(length - 1 - index)
          t.strictSame(verify({ secret: live.toReversed(), headers: sign(secret) }), reversed)
        }
      }
    }
    for (const [index, secret] of secrets.entries()) {
      t.strictSame(verify({ secret, headers }), index === 0 ? yes(0) : no('mismatch'), 'one secret, not in an array')
    }
  }))

  t.test(`verify${name}: bytes of any kind, as they arrived`, quiet(async (t) => {
    for (const body of [BYTES, new Uint8Array(BYTES), BYTES.subarray(0), new Uint8Array(), Buffer.from([0xff, 0xfe])]) {
      t.strictSame(verify({ headers: sign(secrets[0], NOW, body), body }), yes(0))
    }
    t.strictSame(sign(secrets[0], NOW, BODY), sign(secrets[0], NOW, BYTES), 'a string is signed as UTF-8')
    const other = JSON.stringify(JSON.parse(BODY))
    t.strictSame(verify({ headers, body: Buffer.from(other) }), no('mismatch'), 'the same JSON in other bytes')
    const signed = sign(secrets[0], NOW, Buffer.of(0xff))
    t.strictSame(verify({ headers: signed, body: Buffer.of(0xfe) }), no('mismatch'), 'the same string, were it decoded')
    t.strictSame(verify({ headers, body: undefined }), no('no_body'))
    t.strictSame(verify({ headers: {}, body: undefined }), no('no_body'))
    for (const body of [BODY, '', null, 5, {}, [1], JSON.parse(BODY), BYTES.buffer, new Uint16Array(2)]) {
      t.strictSame(errorOf(() => verify({ headers, body })), thrown('body', 'must be a Uint8Array', `verify${name}`))
      t.strictSame(errorOf(() => verify({ body })), thrown('body', 'must be a Uint8Array', `verify${name}`))
    }
  }))

  t.test(`verify${name}: headers that are missing, repeated or malformed`, quiet(async (t) => {
    const required = Object.keys(headers).filter((header) => header !== 'content-type')
    t.strictSame(Object.keys(malformed).sort(), required.toSorted(), 'the table names them all')
    t.strictSame(verify({ headers }), yes(0))
    t.strictSame(verify({ headers: {} }), no('missing_header'))
    for (const header of required) {
      const value = headers[header]!
      const given: [what: string, sent: unknown, reason: string][] = [
        ['undefined', undefined, 'missing_header'],
        ['empty', '', 'missing_header'],
        ['an empty list', [], 'missing_header'],
        ['a list of one', [value], 'missing_header'],
        ['a list of two', [value, value], 'duplicate_header'],
        ['a list of a good and a bad one', [value, 'x'], 'duplicate_header'],
        ...malformed[header]!.map((broken): [string, string, string] => [
          broken(value), broken(value), 'malformed_header'
        ])
      ]
      for (const [what, sent, reason] of given) {
        const result = verify({ headers: { ...headers, [header]: sent } as IncomingHttpHeaders })
        t.strictSame(result, no(reason), `${header}: ${what}`)
      }
      const { [header]: dropped, ...rest } = headers
      t.strictSame(verify({ headers: rest }), no('missing_header'), `${header}: dropped`)
      t.strictSame(verify({ headers: { ...rest, [header.toUpperCase()]: dropped } }), no('missing_header'))
    }
  }))

  t.test(`verify${name}: a header of one delivery does not prove another`, async (t) => {
    const others = sign(secrets[0], NOW - 1, `${BODY} `)
    t.strictSame(verify({ headers: { ...headers, [signature]: others[signature] } }), no('mismatch'))
    t.strictSame(verify({ headers, body: Buffer.from(`${BODY} `) }), no('mismatch'))
    if (timestamp === undefined) return
    t.strictSame(verify({ headers: { ...headers, [timestamp]: others[timestamp] } }), no('mismatch'))
  })

  t.test(`verify${name}: invalid secrets`, quiet(async (t) => {
    const cases: [unknown, string][] = [
      ['', 'must not be empty'], [' ', 'must not be empty'], [null, 'must be a string'], [5, 'must be a string'],
      [[], 'must have 1 to 4 secrets'], [[...secrets, strong('base64')('d')], 'must have 1 to 4 secrets'],
      [[secrets[0], ''], 'must not be empty'], [[[secrets[0]]], 'must be a string'],
      [[secrets[0], secrets[0]], 'must not contain the same secret twice'],
      [5n, 'must be a string'], [[5n], 'must be a string'], [circular, 'must be a string'],
      [`${secrets[0]}\n`, 'must not end with a line break: trim the content of a file'],
      [weak, `must be at least ${least} bytes long`], [[secrets[0], weak], `must be at least ${least} bytes long`]
    ]
    for (const [secret, expected] of cases) {
      const error = thrown(option, expected, `verify${name}`)
      t.strictSame(errorOf(() => verify({ secret, headers })), error)
      t.strictSame(errorOf(() => verify({ secret, headers })), error, 'the second time as well')
    }
  }))

  t.test(`verify${name}: invalid times`, quiet(async (t) => {
    for (const [option, least] of [['tolerance', 1], ['futureTolerance', 0]] as const) {
      const error = thrown(option, `must be a number of seconds from ${least} to 604800`, `verify${name}`)
      for (const value of [NaN, Infinity, -1, least - 0.5, 604_801, '300', null, true]) {
        t.strictSame(errorOf(() => verify({ headers, [option]: value })), error, `${option}: ${value}`)
      }
    }
    t.strictSame(verify({ headers, futureTolerance: 0, tolerance: 1 }), yes(0))
    for (const value of [null, NOW, new Date()]) {
      t.strictSame(errorOf(() => verify({ headers, now: value })), thrown('now', 'must be a function', `verify${name}`))
    }
    const undefineds = { tolerance: undefined, futureTolerance: undefined }
    t.strictSame(verify({ headers, ...undefineds }), yes(0), 'undefined is the default')
  }))

  if (timestamp !== undefined) {
    t.test(`verify${name}: the bounds of both tolerances`, quiet(async (t) => {
      const ages: [age: number, given: Given, expected: object][] = [
        [0, {}, yes(0)], [299, {}, yes(0)], [300, {}, yes(0)], [301, {}, no('stale')], [86_400, {}, no('stale')],
        [-60, {}, yes(0)], [-61, {}, no('future')], [-315_360_000, {}, no('future')],
        [604_800, { tolerance: 604_800 }, yes(0)], [604_801, { tolerance: 604_800 }, no('stale')],
        [1, { tolerance: 1 }, yes(0)], [2, { tolerance: 1 }, no('stale')],
        [0, { futureTolerance: 0 }, yes(0)], [-1, { futureTolerance: 0 }, no('future')],
        [-604_800, { futureTolerance: 604_800 }, yes(0)], [-604_801, { futureTolerance: 604_800 }, no('future')],
        [300, { now: () => now() + 999 }, yes(0)], [300, { now: () => now() + 1000 }, no('stale')]
      ]
      for (const [age, given, expected] of ages) {
        t.strictSame(verify({ headers: sign(secrets[0], NOW - age), ...given }), expected, `${age} s`)
      }
      t.strictSame(verify({ headers: { ...headers, [signature]: sign(secrets[1])[signature] } }), no('mismatch'))
      for (const broken of [NaN, undefined, 'noon', Infinity]) {
        t.equal(verify({ headers, now: () => broken }).ok, false, `a clock that returns ${broken}`)
      }
    }))

    t.test(`verify${name}: a timestamp in another format is refused, even if it is signed`, quiet(async (t) => {
      for (const text of [
        ` ${NOW}`, `${NOW} `, `+${NOW}`, `-${NOW}`, `${NOW}.5`, '1.79e9', `0x${NOW.toString(16)}`, `${NOW}abc`,
        '1_790_000_000', '１７９０００００００', '  ', 'NaN', 'Infinity', '1e400', `0${NOW}`, `${NOW}000`,
        '17900000000000000000', 'null', 'true', `${NOW}, ${NOW}`, `${NOW}\n`
      ]) t.strictSame(verify({ headers: sign(secrets[0], text) }), no('malformed_header'), text)
      t.strictSame(verify({ headers: sign(secrets[0], '') }), no('missing_header'))
      t.strictSame(verify({ headers: sign(secrets[0], String(NOW)) }), yes(0), 'a string in the right format is accepted')
    }))
  }

  t.test(`verify${name}: more secrets than are cached`, async (t) => {
    const many = Array.from({ length: 1100 }, (_, index) =>
      Buffer.from(`secret number ${index} of 1,100`.padEnd(32, '.')).toString(option === 'secret' ? 'utf8' : 'base64'))
    const right = (secret: string) => verify({ secret, headers: sign(secret) })
    const wrong = (secret: string) => verify({ secret, headers })
    for (const round of [1, 2]) {
      t.strictSame(many.map(right), many.map(() => yes(0)), `round ${round}`)
      t.strictSame(many.map(wrong), many.map(() => no('mismatch')), `round ${round}`)
    }
    t.strictSame(many.slice(4).map((secret, index) =>
      verify({ secret: many.slice(index, index + 4), headers: sign(secret) }).ok), Array(1096).fill(false))
    t.strictSame(many.slice(3).map((secret, index) =>
      verify({ secret: many.slice(index, index + 4), headers: sign(secret) })), Array(1097).fill(yes(3)))
  })

  t.test(`verify${name}: changes of a list of secrets take effect`, async (t) => {
    const list = [secrets[0], secrets[1]]
    t.strictSame(verify({ secret: list, headers }), yes(0))
    list.shift()
    t.strictSame(verify({ secret: list, headers }), no('mismatch'))
    list.push(secrets[0])
    t.strictSame(verify({ secret: list, headers }), yes(1))
  })

  t.test(`sign${name}: weak secrets are accepted, empty ones are refused`, async (t) => {
    t.strictSame(Object.keys(sign(weak)), Object.keys(headers))
    t.not(sign(weak)[signature], headers[signature])
    const cases: [unknown, string][] = [
      ['', 'must not be empty'], [' ', 'must not be empty'], ['\n', 'must not be empty'],
      [undefined, 'must be a string'], [null, 'must be a string'], [5, 'must be a string'], [{}, 'must be a string'],
      [[secrets[0]], 'must be a string'], [`${secrets[0]} `, 'must not begin or end with white space']
    ]
    for (const [secret, expected] of cases) {
      t.strictSame(errorOf(() => sign(secret as string)), thrown('secret', expected, `sign${name}`))
    }
  })
}

t.test('a signer uses the current time', async (t) => {
  const signers: [string, () => Headers][] = [
    ['x-aghanim-signature-timestamp', () => signAghanim({ secret: SECRET, body: BODY })],
    ['x-timestamp', () =>
      signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint: ENDPOINT, body: BODY })]
  ]
  for (const [header, sign] of signers) {
    for (const [milliseconds, text] of [[NOW * 1000, `${NOW}`], [NOW * 1000 + 999, `${NOW}`]] as const) {
      const restore = t.intercept(Date, 'now', { value: () => milliseconds }).restore
      const headers = sign()
      restore()
      t.equal(headers[header], text)
    }
    const before = Math.floor(Date.now() / 1000)
    const stamped = Number(sign()[header])
    t.ok(stamped >= before && stamped <= Date.now() / 1000)
  }
  t.equal(verifyAghanim({ secret: SECRET, headers: signAghanim({ secret: SECRET, body: BODY }), body: BYTES }).ok, true,
    'the default clock of both is the same')
})

t.test('signers return the headers to send, and nothing else', async (t) => {
  t.match(signAltdentifier({ secret: SECRET, body: BODY }), { digest: /^MD5=[0-9a-f]{32}$/ })
  t.strictSame(Object.keys(signAltdentifier({ secret: SECRET, body: BODY })), ['content-type', 'digest'])
  t.strictSame(Object.keys(signAghanim({ secret: SECRET, body: BODY })), [
    'content-type', 'x-aghanim-signature', 'x-aghanim-signature-timestamp'
  ])
  t.match(signAghanim({ secret: SECRET, body: BODY }), { 'x-aghanim-signature': /^[0-9a-f]{64}$/ })
  const identity = signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint: ENDPOINT, body: BODY })
  t.strictSame(Object.keys(identity), ['content-type', 'x-api-key', 'x-signature', 'x-timestamp', 'x-endpoint'])
  t.match(identity, {
    'content-type': /^application\/json$/,
    'x-api-key': API_KEY,
    'x-endpoint': ENDPOINT,
    'x-signature': /^hmac-sha256 [A-Za-z0-9+/]{43}=$/
  })
})

t.test('hex is accepted in either case', async (t) => {
  const digest = signAltdentifier({ secret: SECRET, body: BODY }).digest
  const headers = signAghanim({ secret: SECRET, body: BODY, timestamp: NOW })
  const upper = headers['x-aghanim-signature'].toUpperCase()
  t.not(upper, headers['x-aghanim-signature'])
  t.strictSame(verifyAghanim({
    secret: SECRET, headers: { ...headers, 'x-aghanim-signature': upper }, body: BYTES, now
  }), yes(0))
  for (const written of [digest.toUpperCase(), digest.toLowerCase(), digest.replace('MD', 'mD')]) {
    t.strictSame(verifyAltdentifier({ secret: SECRET, headers: { digest: written }, body: BYTES }), yes(0), written)
  }
})

t.test('a string that looks like a list is one secret, and a list with that string another', quiet(async (t) => {
  const text = `["${SECRET}"]`
  const list = [SECRET]
  t.equal(JSON.stringify(list), text)
  const providers = [
    { sign: signAltdentifier, verify: verifyAltdentifier }, { sign: signAghanim, verify: verifyAghanim }
  ]
  for (const { sign, verify } of providers) {
    const ok = (secret: Secret, signedBy: string) =>
      verify({ secret, headers: sign({ secret: signedBy, body: BODY }), body: BYTES }).ok
    for (const [secret, other] of [[text, list], [list, text]] as const) {
      t.strictSame([ok(secret, text), ok(secret, SECRET)], [secret === text, secret === list])
      t.strictSame([ok(other, text), ok(other, SECRET)], [other === text, other === list])
    }
    const inner = 'x'.repeat(24)
    t.equal(ok(`list ["${inner}"]`, inner), false)
    t.equal(ok([inner], inner), true)
    t.equal(ok(`text ${inner}`, inner), false)
  }
}))

t.test('verifyIdentityValidation: api-keys', quiet(async (t) => {
  const sign = (apiKey: string, secret = API_SECRET) =>
    signIdentityValidation({ apiKey, secret, endpoint: ENDPOINT, body: BODY, timestamp: NOW })
  const verify = (apiKeys: unknown, apiKey: string, secret?: string) => verifyIdentityValidation({
    apiKeys: apiKeys as Record<string, string>, endpoint: ENDPOINT, headers: sign(apiKey, secret), body: BYTES, now
  })
  const [, second, third] = BASE64
  const ring: Record<string, Secret> = { [API_KEY]: API_SECRET, second, several: [API_SECRET, third] }
  const rings: [string, unknown][] = [
    ['record', ring], ['Map', new Map(Object.entries(ring))],
    ['record without a prototype', Object.assign(Object.create(null), ring)]
  ]
  for (const [kind, apiKeys] of rings) {
    t.strictSame(verify(apiKeys, API_KEY), yes(0), kind)
    t.strictSame(verify(apiKeys, 'second', second), yes(0), kind)
    t.strictSame(verify(apiKeys, 'several', third), yes(1), kind)
    t.strictSame(verify(apiKeys, 'second', API_SECRET), no('mismatch'), `${kind}: the secret of another api-key`)
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'size', 'get', 'nobody']) {
      t.strictSame(verify(apiKeys, name), no('unknown_key'), `${kind}: ${name}`)
    }
    t.strictSame(verify(apiKeys, API_KEY.toLowerCase()), no('unknown_key'), `${kind}: case matters`)
  }
  t.strictSame(verify(new Map([['__proto__', API_SECRET], ['constructor', second]]), '__proto__'), yes(0))
  t.strictSame(verify(JSON.parse(`{"__proto__":"${API_SECRET}"}`), '__proto__'), yes(0), 'a name like any other')
  for (const empty of [{}, new Map()]) t.strictSame(verify(empty, API_KEY), no('unknown_key'))
  for (const wrong of [undefined, null, [], [API_SECRET], API_SECRET, 5, () => API_SECRET]) {
    t.strictSame(errorOf(() => verify(wrong, API_KEY)), thrown(
      'apiKeys', 'must be an object or a Map', 'verifyIdentityValidation'))
  }
}))

t.test('verifyIdentityValidation: the endpoint is the configured one, exactly', quiet(async (t) => {
  const signed = { apiKey: API_KEY, secret: API_SECRET, body: BODY, timestamp: NOW }
  const delivered = (endpoint: string, sent: string) => verifyIdentityValidation({
    apiKeys: { [API_KEY]: API_SECRET },
    endpoint,
    headers: signIdentityValidation({ ...signed, endpoint: sent }),
    body: BYTES,
    now
  })
  t.strictSame(delivered('/kyc', '/kyc'), yes(0))
  t.match(errorOf(() => delivered(undefined as never, '/kyc')), { code: 'FST_VERIFICATION_INVALID_OPTION' })
  for (const sent of ['/kyc/', '/KYC', '/kyc?', '/kyc?a=1', '//kyc', '/ky%63', '/', '/kyc;x', '/kyc:443', '/kycx']) {
    t.strictSame(delivered('/kyc', sent), no('wrong_endpoint'), sent)
  }
  for (const sent of ['kyc', 'https://example.com/kyc', '/kyc ', '/kyc{}', '/kyç', '/kyc#x']) {
    t.strictSame(delivered('/kyc', sent), no('malformed_header'), sent)
    t.strictSame(errorOf(() => delivered(sent, sent)), thrown(
      'endpoint', 'must be a path with an optional query', 'verifyIdentityValidation'))
  }
}))

t.test('verifyIdentityValidation: the same bytes cannot be split in another way', async (t) => {
  const endpoint = '/kyc'
  const apiKeys = { [API_KEY]: API_SECRET }
  const body = '{"a":1}'
  const headers = signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint, body, timestamp: NOW })
  const all = `${NOW}${endpoint}${body}`
  const accepted: string[] = []
  for (let first = 0; first <= all.length; first++) {
    for (let second = first; second <= all.length; second++) {
      const split = [all.slice(0, first), all.slice(first, second), all.slice(second)] as const
      if (!split[1].startsWith('/') || /[{}"]/.test(split[1])) continue // registration refuses such endpoints
      const { ok } = verifyIdentityValidation({
        apiKeys,
        endpoint: split[1],
        headers: { ...headers, 'x-timestamp': split[0], 'x-endpoint': split[1] },
        body: Buffer.from(split[2]),
        now
      })
      if (ok && split[2].startsWith('{')) accepted.push(split.join(' '))
    }
  }
  t.strictSame(accepted, [`${NOW} ${endpoint} ${body}`])
})
