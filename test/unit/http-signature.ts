import type { FastifyRequest } from 'fastify'
import { createHmac } from 'node:crypto'
import t from 'tap'
import { altdentifierPlugin, signAltdentifier } from '../../plugins/index.js'
import { checkHttpSignature, parseParameters, type HttpSignatureRules } from '../../plugins/lib/signature/http-signature.js'
import { createMacKey } from '../../plugins/lib/signature/hmac.js'
import { freshnessOf } from '../../plugins/lib/signature/fields.js'
import { NOW, now, SECRET } from '../support/deliveries.js'
import { createHost, exchange, rawRequest, statusOf } from '../support/host.js'
import { quiet } from '../support/quiet.js'
import { cpuTime } from '../support/waiting.js'

const KEY = createMacKey('md5', Buffer.from(SECRET))
const RULES: HttpSignatureRules = { algorithm: 'md5', freshness: freshnessOf({ now }) }
const TARGET = '/hooks/altdentifier?guild=1&x=%20'
const dateOf = (seconds: number) => new Date(seconds * 1000).toUTCString()
const DATE = dateOf(NOW)
const BODY = '{"OP":5}'
const { digest: DIGEST } = signAltdentifier({ secret: SECRET, body: BODY })

type Fields = [name: string, value: string][]
const FIELDS: Fields = [
  ['Host', 'localhost:3000'], ['Date', DATE], ['Digest', DIGEST], ['X-Empty', ''], ['X-Colon', 'a: b']
]

/** Builds the parts of a request that the check reads. */
function request (fields: Fields): FastifyRequest {
  const headers: Record<string, string> = {}
  for (const [name, value] of fields) {
    const key = name.toLowerCase()
    headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`
  }
  const seen = { method: 'POST', originalUrl: TARGET, headers, raw: { rawHeaders: fields.flat() } }
  return seen as unknown as FastifyRequest
}

/** Signs these lines, each written as in the draft. */
const mac = (...lines: string[]) => createHmac('md5', SECRET).update(lines.join('\n')).digest('base64')
const check = (signature: string | string[], fields = FIELDS, rules: Partial<HttpSignatureRules> = {}) => {
  const sent = [signature].flat().map((text): Fields[0] => ['Signature', text])
  return checkHttpSignature(request([...fields, ...sent]), KEY, { ...RULES, ...rules })
}
const withDate = (...dates: string[]): Fields => [
  ...FIELDS.filter(([name]) => name !== 'Date'), ...dates.map((date): Fields[0] => ['Date', date])
]

const OVER_DATE = mac(`date: ${DATE}`)
const COVERED = ['(request-target)', 'date', 'digest', 'host']
const OVER_ALL = mac(`(request-target): post ${TARGET}`, `date: ${DATE}`, `digest: ${DIGEST}`, 'host: localhost:3000')
const GOOD = `keyId="k",algorithm="hmac-md5",signature="${OVER_DATE}"`
const over = (headers: string, signature: string) => `keyId="k",headers="${headers}",signature="${signature}"`

t.test('a valid signature, in each form it may have', async (t) => {
  const reversed = mac('host: localhost:3000', `digest: ${DIGEST}`, `date: ${DATE}`, `(request-target): post ${TARGET}`)
  const signatures = [
    GOOD,
    `keyId="k",signature="${OVER_DATE}"`,
    `signature="${OVER_DATE}",keyId="k"`,
    `keyId="k",algorithm="hmac-md5","signature"=${OVER_DATE}`,
    `keyId="k",algorithm="hmac-md5",signature=${OVER_DATE}`,
    `"keyId"="k","algorithm"="hmac-md5","signature"="${OVER_DATE}"`,
    `keyId=k,algorithm=hmac-md5,headers=date,signature=${OVER_DATE}`,
    `KEYID="k",Algorithm="hmac-md5",SIGNATURE="${OVER_DATE}"`,
    `keyId="k" , algorithm="hmac-md5"\t,\tsignature="${OVER_DATE}"`,
    `keyId="a key, with = and spaces",signature="${OVER_DATE}"`,
    `keyId="k",created="1",unknown="x",signature="${OVER_DATE}"`,
    over('date', OVER_DATE),
    over('Date', OVER_DATE),
    over(COVERED.join(' '), OVER_ALL),
    over('(Request-Target) DATE Digest hOST', OVER_ALL),
    over(COVERED.toReversed().join(' '), reversed),
    over('x-empty date', mac('x-empty: ', `date: ${DATE}`)),
    over('date x-colon', mac(`date: ${DATE}`, 'x-colon: a: b'))
  ]
  for (const signature of signatures) t.equal(check(signature), undefined, signature)
  t.equal(check(GOOD.replace('"k"', '"pinned"'), FIELDS, { keyId: 'pinned' }), undefined, 'the keyId that is ours')
})

t.test('the spelling of header names and values does not matter where the draft says so', async (t) => {
  const upper = FIELDS.map(([name, value]): Fields[0] => [name.toUpperCase(), value])
  t.equal(check(over(COVERED.join(' '), OVER_ALL), upper), undefined)
  const other = FIELDS.map(([name, value]): Fields[0] => [name, name === 'Host' ? value.toUpperCase() : value])
  t.match(check(over(COVERED.join(' '), OVER_ALL), other), { reason: 'mismatch' }, 'the case of a value counts')
})

const MALFORMED: [what: string, signature: string][] = [
  ['nothing', ''], ['a word', 'nonsense'], ['another scheme', `Signature ${GOOD}`], ['no keyId', GOOD.replace('keyId="k",', '')],
  ['no signature', 'keyId="k",algorithm="hmac-md5"'], ['an empty signature', 'keyId="k",signature=""'],
  ['an empty unquoted value', `keyId=,signature="${OVER_DATE}"`],
  ['keyId twice', `keyId="k",${GOOD}`],
  ['keyId twice, in another case', `KEYID="k",${GOOD}`],
  ['keyId twice, its twin quoted', `"keyId"="k",${GOOD}`],
  ['signature twice', `${GOOD},signature="${OVER_DATE}"`],
  ['signature twice, its twin quoted', `${GOOD},"signature"=${OVER_DATE}`],
  ['signature twice, in another case', `${GOOD},Signature="${OVER_DATE}"`],
  ['headers twice', `headers="date",headers="date",${GOOD}`],
  ['algorithm twice', `algorithm="hmac-md5",${GOOD}`],
  ['an unknown parameter twice', `x="1",x="1",${GOOD}`],
  ...['none', '', 'hmac-sha256', 'hmac-sha1', 'rsa-sha256', 'hs2019', 'md5', 'HMAC-MD5', 'hmac-md5 ', 'hmac']
    .map((algorithm): [string, string] => [
      `algorithm ${JSON.stringify(algorithm)}`, GOOD.replace('hmac-md5', algorithm)
    ]),
  ['headers=""', over('', mac(''))],
  ['headers="" over the date', over('', OVER_DATE)],
  ['headers=" "', over(' ', OVER_DATE)],
  ['date twice', over('date date', mac(`date: ${DATE}`, `date: ${DATE}`))],
  ['date twice, in another case', over('date Date', mac(`date: ${DATE}`, `date: ${DATE}`))],
  ['the target twice', over('(request-target) date (request-target)', OVER_ALL)],
  ['no date', over('(request-target) digest', mac(`(request-target): post ${TARGET}`, `digest: ${DIGEST}`))],
  ['only the digest', over('digest', mac(`digest: ${DIGEST}`))],
  ['only the target', over('(request-target)', mac(`(request-target): post ${TARGET}`))],
  ['(created)', over('(created) date', mac(`(created): ${NOW}`, `date: ${DATE}`))],
  ['(expires)', over('date (expires)', mac(`date: ${DATE}`, `(expires): ${NOW}`))],
  ['two spaces', over('date  digest', mac(`date: ${DATE}`, `digest: ${DIGEST}`))],
  ['a leading space', over(' date', OVER_DATE)], ['a trailing space', over('date ', OVER_DATE)],
  ['a tab', over('date\tdigest', OVER_DATE)], ['a comma', over('date,digest', OVER_DATE)],
  ['a colon', over('date:', OVER_DATE)], ['a colon at the end', over('date digest:', OVER_DATE)], ['a line feed', over('date\ndigest', OVER_DATE)],
  ['é', over('date é', OVER_DATE)], ['é and then a name', over('date édigest', OVER_DATE)], ['a parenthesis', over('date (digest', OVER_DATE)],
  ['unpadded base64', GOOD.replace('==', '')], ['half-padded base64', GOOD.replace('==', '=')],
  ['three pads', GOOD.replace('==', '===')],
  ['spare bits', GOOD.replace(/.(?===")/, (last) => String.fromCharCode(last.charCodeAt(0) + 1))],
  ['a space in base64', GOOD.replace('signature="', 'signature=" ')],
  ['url-safe base64', `keyId="k",signature="${'-_'.repeat(11)}=="`],
  ['hex', `keyId="k",signature="${Buffer.from(OVER_DATE, 'base64').toString('hex')}"`],
  ['15 bytes', `keyId="k",signature="${Buffer.from(OVER_DATE, 'base64').subarray(1).toString('base64')}"`],
  ['17 bytes', `keyId="k",signature="${Buffer.alloc(17).toString('base64')}"`],
  ['32 bytes', `keyId="k",signature="${createHmac('sha256', SECRET).update(`date: ${DATE}`).digest('base64')}"`],
  ['a comma after it', `${GOOD},`], ['a comma before it', `,${GOOD}`], ['two commas', GOOD.replace(',', ',,')],
  ['a space after it', `${GOOD} `], ['a space before it', ` ${GOOD}`], ['semicolons', GOOD.replaceAll(',', ';')],
  ['no comma', GOOD.replace(',', ' ')], ['spaces around =', GOOD.replace('=', ' = ')], ['no =', GOOD.replace('=', '')],
  ['an open quote', GOOD.slice(0, -1)], ['a name half quoted', `"keyId=${GOOD.slice(6)}`],
  ['single quotes', GOOD.replaceAll('"', "'")], ['an escape', GOOD.replace('"k"', '"\\"k"')],
  ['a name with a digit', `x1="1",${GOOD}`], ['a name with a dash', `key-id="1",${GOOD}`],
  ['an invalid name', `__proto__="1",${GOOD}`], ['characters after a value', GOOD.replace('"k"', '"k"x')],
  ['joined by Node', `${GOOD}, ${GOOD}`], ['another encoding', `keyId="k",signature*=UTF-8''${OVER_DATE}`]
]

t.test('a Signature that is malformed, weaker than required, or of another algorithm', quiet(async (t) => {
  for (const [what, signature] of MALFORMED) {
    t.strictSame(check(signature), { ok: false, reason: 'malformed_header', header: 'signature' }, what)
  }
}))

t.test('two Signature headers are refused, even where they could be joined', async (t) => {
  const twice = { ok: false, reason: 'duplicate_header', header: 'signature' }
  const cases = [
    [GOOD, GOOD], [GOOD, 'nonsense'], ['nonsense', GOOD], ['keyId="k"', `signature="${OVER_DATE}"`],
    [`signature="${OVER_DATE}"`, 'keyId="k"'], [GOOD, ''], ['', GOOD], [GOOD, GOOD, GOOD]
  ]
  for (const signatures of cases) t.strictSame(check(signatures), twice, signatures.join(' + '))
  const request2 = request([...FIELDS, ['signature', GOOD], ['SIGNATURE', GOOD]])
  t.strictSame(checkHttpSignature(request2, KEY, RULES), twice, 'in another case')
  t.strictSame(check([]), { ok: false, reason: 'missing_header', header: 'signature' })
  t.equal(check(GOOD, [...FIELDS, ['X_Signature', GOOD], ['X-Signature', GOOD]]), undefined, 'other names are others')
})

t.test('only the keyId that is ours', async (t) => {
  for (const keyId of ['K', 'k ', 'kk', 'hmac-key-1', '']) {
    t.strictSame(check(GOOD.replace('"k"', `"${keyId}"`), FIELDS, { keyId: 'k' }), {
      ok: false, reason: 'unknown_key', header: 'signature'
    }, keyId)
  }
})

t.test('a covered header must be present, once', async (t) => {
  const missing = (header: string) => ({ ok: false, reason: 'missing_header', header })
  const repeated = (header: string) => ({ ok: false, reason: 'duplicate_header', header })
  for (const name of ['x-missing', 'constructor', '__proto__', 'tostring', 'cookie']) {
    const signature = over(`date ${name}`, mac(`date: ${DATE}`, `${name}: `))
    t.strictSame(check(signature), missing(name), name)
  }
  t.strictSame(check(GOOD, withDate()), missing('date'))
  t.strictSame(check(GOOD, withDate(DATE, DATE)), repeated('date'))
  t.strictSame(check(GOOD, withDate(DATE, dateOf(NOW + 1))), repeated('date'))
  for (const joined of [`${DIGEST}, ${DIGEST}`, DIGEST]) {
    const signature = over('date digest', mac(`date: ${DATE}`, `digest: ${joined}`))
    t.strictSame(check(signature, [...FIELDS, ['digest', DIGEST]]), repeated('digest'))
    t.strictSame(check(signature, [['DIGEST', DIGEST], ...FIELDS]), repeated('digest'))
  }
  t.equal(check(GOOD, [...FIELDS, ['digest', DIGEST]]), undefined, 'headers that are not covered are not checked')
})

t.test('the date must be valid and fresh', async (t) => {
  const dated = (text: string, rules?: Partial<HttpSignatureRules>) =>
    check(`keyId="k",signature="${mac(`date: ${text}`)}"`, withDate(text), rules)
  const stale = (ageSeconds: number) => ({ ok: false, reason: ageSeconds < 0 ? 'future' : 'stale', ageSeconds })
  for (const age of [0, 1, 299, 300, -1, -60]) t.equal(dated(dateOf(NOW - age)), undefined, `${age} s`)
  for (const age of [301, 86_400, 1e9, -61, -315_360_000]) t.strictSame(dated(dateOf(NOW - age)), stale(age), `${age} s`)
  const freshness = freshnessOf({ tolerance: 1000, futureTolerance: 0, now })
  t.strictSame([1000, 1001, 0, -1].map((age) => dated(dateOf(NOW - age), { freshness })), [
    undefined, stale(1001), undefined, stale(-1)
  ])
  t.equal(dated(DATE, { freshness: freshnessOf({ now: () => NaN }) })?.ok, false, 'a broken clock')
  for (const text of [
    '', '0', String(NOW), `${DATE} `, DATE.toLowerCase(), DATE.replace('GMT', 'UTC'), DATE.replace('GMT', '+0000'),
    new Date(NOW * 1000).toISOString(), 'Mon, 30 Feb 2026 14:13:20 GMT', DATE.replace('Mon', 'Tue'), `${DATE}, ${DATE}`
  ]) t.strictSame(dated(text), { ok: false, reason: 'malformed_header', header: 'date' }, text)
})

t.test('a signature over other data, or with another key, does not match', async (t) => {
  const mismatch = { ok: false, reason: 'mismatch' }
  const by = (secret: string, text: string) => createHmac('md5', secret).update(text).digest('base64')
  const cases: [what: string, signature: string, fields?: Fields][] = [
    ['another date', GOOD, withDate(dateOf(NOW + 1))],
    ['the default covers the date alone', `keyId="k",signature="${OVER_ALL}"`],
    ['another order', over(COVERED.toReversed().join(' '), OVER_ALL)],
    ['fewer headers', over('(request-target) date digest', OVER_ALL)],
    ['more headers', over('date digest', OVER_DATE)],
    ['another digest', over(COVERED.join(' '), OVER_ALL), FIELDS.map(([name, value]) =>
      [name, name === 'Digest' ? `${value}0` : value])],
    ['upper-case method', over('(request-target) date', mac(`(request-target): POST ${TARGET}`, `date: ${DATE}`))],
    ['no query', over('(request-target) date', mac('(request-target): post /hooks/altdentifier', `date: ${DATE}`))],
    ['upper-case name', over('date', mac(`Date: ${DATE}`))],
    ['no space', over('date', mac(`date:${DATE}`))],
    ['a line feed at the end', over('date', mac(`date: ${DATE}`, ''))],
    ['CRLF', over('date digest', by(SECRET, `date: ${DATE}\r\ndigest: ${DIGEST}`))],
    ['another key', over('date', by('x'.repeat(32), `date: ${DATE}`))],
    ['no key', over('date', by('', `date: ${DATE}`))],
    ['zeros', over('date', Buffer.alloc(16).toString('base64'))],
    ['the digest itself', over('date', Buffer.from(DIGEST.slice(4), 'hex').toString('base64'))]
  ]
  for (const [what, signature, fields] of cases) t.strictSame(check(signature, fields), mismatch, what)
  const sent = request([...FIELDS, ['Signature', over(COVERED.join(' '), OVER_ALL)]])
  t.equal(checkHttpSignature(sent, KEY, RULES), undefined)
  for (const other of [{ originalUrl: '/elsewhere' }, { originalUrl: `${TARGET}0` }, { method: 'PUT' }]) {
    const changed = { ...sent, ...other } as FastifyRequest
    t.strictSame(checkHttpSignature(changed, KEY, RULES), mismatch, JSON.stringify(other))
  }
})

t.test('every single bit of a signature counts', async (t) => {
  const bytes = Buffer.from(OVER_DATE, 'base64')
  let refused = 0
  for (let bit = 0; bit < 128; bit++) {
    const flipped = Buffer.from(bytes)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    if (check(over('date', flipped.toString('base64')))?.reason === 'mismatch') refused++
  }
  t.equal(refused, 128)
})

t.test('SHA-256 works as well', async (t) => {
  const signature = createHmac('sha256', SECRET).update(`date: ${DATE}`).digest('base64')
  const key = createMacKey('sha256', Buffer.from(SECRET))
  const rules: HttpSignatureRules = { ...RULES, algorithm: 'sha256' }
  const check256 = (text: string) => checkHttpSignature(request([...FIELDS, ['Signature', text]]), key, rules)
  t.equal(check256(`keyId="k",algorithm="hmac-sha256",signature="${signature}"`), undefined)
  t.match(check256(`keyId="k",algorithm="hmac-md5",signature="${signature}"`), { reason: 'malformed_header' })
  t.match(check256(GOOD), { reason: 'malformed_header' })
})

t.test('parameters are read as written, with lower-case names', async (t) => {
  const cases: [text: string, expected: [string, string][]][] = [
    ['a="1"', [['a', '1']]], ['a=1', [['a', '1']]], ['"a"="1"', [['a', '1']]], ['"a"=1', [['a', '1']]],
    ['a=""', [['a', '']]], ['a=b=c', [['a', 'b=c']]], ['a="b=c"', [['a', 'b=c']]], ['A="B"', [['a', 'B']]],
    ['a="1",b=2', [['a', '1'], ['b', '2']]], ['a=1 \t,\t b=2', [['a', '1'], ['b', '2']]],
    ['a="x, b=2"', [['a', 'x, b=2']]], ['a=x=="', []], ['a="é"', [['a', 'é']]], ['constructor=1', [['constructor', '1']]],
    ['tostring=1,valueof=2', [['tostring', '1'], ['valueof', '2']]]
  ]
  for (const [text, expected] of cases) {
    t.strictSame([...parseParameters(text) ?? []], expected, text)
  }
  for (const text of [
    '', ' ', ',', 'a', 'a=', '=', '=1', '"a"', 'a="', 'a="1', 'a=1,', ',a=1', 'a=1,,b=2', 'a=1 b=2', 'a =1', 'a= 1',
    'a="1" ', ' a="1"', 'a=1\n', 'a=1\r\n,b=2', 'a=1,\nb=2', 'a=1,a=2', 'a=1,A=1', 'a=1,"a"=1', '"a=1', 'a"=1',
    'a="\\""', 'a="\\\\"', 'a1=1', 'a_b=1', 'é=1', '""=1', 'a=1"', 'a="1"2', 'a="1""2"'
  ]) t.equal(parseParameters(text), undefined, JSON.stringify(text))
})

t.test('a hostile Signature of 16 KiB is read quickly', quiet(async (t) => {
  const fill = (part: string) => part.repeat(Math.ceil(16_384 / part.length)).slice(0, 16_384)
  for (const part of [
    'a', 'a=', '"', '"a', '"a"', ',', ' ', '\t', ', ', ' ,', 'a=1,', 'a="', 'a="",', 'a= ', '=', '\\', 'a="\\', '(', '-',
    'date ', 'é', '=1,', '"=', '" "', 'a=1 ', '"a"=""', '"a"="" , '
  ]) {
    for (const text of [fill(part), `keyId="${fill(part)}`, `${GOOD},${fill(part)}`, `keyId=${fill(part)}`]) {
      const start = cpuTime()
      check(text)
      check(`keyId="k",headers="date ${fill(part).replaceAll('"', ' ')}",signature="${OVER_DATE}"`)
      t.ok(cpuTime() - start < 200, JSON.stringify(part))
    }
  }
  const letters = (index: number) => index.toString(2).replaceAll('0', 'a').replaceAll('1', 'b')
  const many = Array.from({ length: 1000 }, (_, index) => `${letters(index)}="${index}"`)
  const start = cpuTime()
  t.equal(parseParameters(many.join(','))?.size, 1000)
  t.equal(parseParameters([...many, many[500]].join(',')), undefined)
  t.ok(cpuTime() - start < 200)
}))

t.test('over a socket the reason appears in the log only', async (t) => {
  const { app, lines } = createHost(t)
  const calls: unknown[] = []
  const reasons: string[] = []
  app.register(altdentifierPlugin, {
    prefix: '/hooks',
    secret: SECRET,
    now,
    httpSignature: 'require',
    keyId: 'k',
    handleEvent: (event) => { calls.push(event) },
    onRejected: ({ reason }) => { reasons.push(reason) }
  })
  const all = over(COVERED.join(' '), OVER_ALL)
  const cases: [signatures: string[], reason?: string][] = [
    [[all]], [[GOOD]], [[], 'missing_header'], [[GOOD, GOOD], 'duplicate_header'],
    [['keyId="k"', `signature="${OVER_DATE}"`], 'duplicate_header'], [[`${GOOD},`], 'malformed_header'],
    [[GOOD.replace('"k"', '"x"')], 'unknown_key'], [[over('date x-missing', OVER_DATE)], 'missing_header'],
    [[over('digest date', OVER_ALL)], 'mismatch']
  ]
  const answers = new Set<string>()
  const end: Fields = [['Content-Type', 'application/json'], ['Connection', 'close']]
  const whole: Fields = [['Content-Length', String(BODY.length)], ...end]
  const send = async (what: string, reason: string | undefined, sent: Fields, target = TARGET, body = BODY) => {
    const raw = rawRequest(target, sent, body).toString('latin1').replace('Host: localhost\r', 'Host: localhost:3000\r')
    const { text } = await exchange(app, [raw])
    t.equal(statusOf(text), reason === undefined ? 204 : 403, what)
    if (reason === undefined) return
    t.equal(reasons.at(-1), reason, what)
    t.match(lines.findLast(({ msg }) => msg === 'delivery rejected'), { provider: 'altdentifier', reason }, what)
    answers.add(text.replace(/date: .+\r\n/i, ''))
  }
  const fields = FIELDS.filter(([name]) => name !== 'Host')
  for (const [signatures, reason] of cases) {
    const sent = signatures.map((text): Fields[0] => ['Signature', text])
    await send(signatures.join(' + '), reason, [...fields, ...sent, ...whole])
  }

  const signature: Fields[0] = ['Signature', GOOD]
  const covering: Fields[0] = ['Signature', all]
  const absolute = `http://localhost:3000${TARGET}`
  const overAbsolute = mac(`(request-target): post ${absolute}`, `date: ${DATE}`, `digest: ${DIGEST}`, 'host: localhost:3000')
  const without = (name: string) => fields.filter(([other]) => other !== name)
  const inTrailer = `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n`
  const chunked: Fields = [...end, ['Transfer-Encoding', 'chunked']]
  await send('the same Date twice', 'duplicate_header', [...fields, ['Date', DATE], signature, ...whole])
  await send('a later Date behind it', 'duplicate_header', [...fields, ['Date', dateOf(NOW + 1)], signature, ...whole])
  await send('no Date', 'missing_header', [...without('Date'), signature, ...whole])
  await send('a Signature in a trailer only', 'missing_header', [...fields, ...chunked], TARGET,
    `${inTrailer}Signature: ${GOOD}\r\n\r\n`)
  await send('a Date in a trailer only', 'missing_header', [...without('Date'), signature, ...chunked], TARGET,
    `${inTrailer}Date: ${DATE}\r\n\r\n`)
  await send('an absolute target, signed as a path', 'mismatch', [...fields, covering, ...whole], absolute)
  await send('an absolute target, signed as it stands', undefined,
    [...fields, ['Signature', over(COVERED.join(' '), overAbsolute)], ...whole], absolute)
  t.strictSame(calls, [{ OP: 5 }, { OP: 5 }, { OP: 5 }])
  t.equal(reasons.length, cases.length - 2 + 6)
  t.equal(answers.size, 1, 'the same answer for all of them')
})
