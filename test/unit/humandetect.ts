import { Type } from '@sinclair/typebox'
import { createDecipheriv, createHash, hkdfSync } from 'node:crypto'
import { inspect } from 'node:util'
import t from 'tap'
import { memoryDeliveries } from '../../plugins/stores/memory.js'
import { issueToken, openToken } from '../../plugins/index.js'
import { createMacKey } from '../../plugins/lib/signature/hmac.js'
import { seal, unseal } from '../../plugins/humandetect/encrypted-token.js'
import { createExaminer, type Verdict } from '../../plugins/humandetect/token-verifier.js'
import { quiet } from '../support/quiet.js'
import { cpuTime } from '../support/waiting.js'

const schema = Type.Object({
  valid: Type.Boolean(), identifier: Type.String(), timestamp: Type.String(), checksum: Type.String()
})
const unknownToken = Type.Object({ code: Type.Literal('unknown') })
const NOW = Date.parse('2026-11-22T12:00:00Z')
const VERDICT: Verdict = { valid: true, identifier: 'ada', timestamp: '2026-11-22T12:00:00Z', checksum: 'a' }

/** Creates an examiner whose service answers each token with the result of `answer`. */
function createExam (answer: (token: string) => object, now: () => unknown = () => NOW) {
  const examine = createExaminer({
    provider: 'test',
    tenant: 'key',
    deliveries: memoryDeliveries({ maxEntries: 1000 }),
    service: {
      post: async (body) => ({ statusCode: 200, body: answer((body as { token: string }).token) }),
      async close () {}
    },
    schema,
    unknownToken,
    maxAge: 300,
    skew: 60,
    now: now as () => number
  })
  return (token: string) => examine({ token, identify: () => 'ada' })
}

t.test('members that the schema does not name are removed', async (t) => {
  const exam = createExam(() => ({ ...VERDICT, more: 1 }))
  t.strictSame(await exam('token'), { verdict: VERDICT })
})

t.test('the second of two tokens with one checksum is refused', async (t) => {
  const exam = createExam(() => VERDICT)
  t.ok('verdict' in await exam('first'))
  t.strictSame(await exam('second'), { refusal: 'not_human', reason: 'used' })
})

t.test('a token that is refused for another reason is not used up', async (t) => {
  let identifier = 'eve'
  const exam = createExam(() => ({ ...VERDICT, identifier }))
  t.strictSame(await exam('token'), { refusal: 'not_human', reason: 'other_identifier' })
  identifier = 'ada'
  t.ok('verdict' in await exam('token'))
})

t.test('a used token stays used if the clock is set back', async (t) => {
  let wall = NOW
  let passed = 0
  t.intercept(performance, 'now', { value: () => passed })
  const exam = createExam(() => VERDICT, () => wall)
  t.ok('verdict' in await exam('token'))
  for (const [elapsed, clock] of [[0, 300], [360, 300], [361, 300], [419, 300]] as const) {
    passed = elapsed * 1000
    wall = NOW + clock * 1000
    t.strictSame(await exam('token'), { refusal: 'not_human', reason: 'used' }, `after ${elapsed} s`)
  }
})

t.test('a broken clock admits nobody, and is reported as such', async (t) => {
  const values = [Number.NaN, String(NOW), BigInt(NOW), undefined, new Date(NOW)]
  const fail = () => { throw new Error('canary') }
  for (const clock of [fail, ...values.map((value) => () => value)]) {
    const exam = createExam(() => VERDICT, clock)
    t.strictSame(await exam('token'),
      { refusal: 'unavailable', reason: 'verification_failed', details: { problem: 'the clock returned an invalid time' } })
  }
  for (const [clock, reason] of [[Infinity, 'stale'], [-Infinity, 'future']] as const) {
    t.strictSame(await createExam(() => VERDICT, () => clock)('token'), { refusal: 'not_human', reason })
  }
})

t.test('without room to remember more tokens nobody is admitted', quiet(async (t) => {
  const exam = createExam((token) => ({ ...VERDICT, checksum: token }))
  for (let index = 0; index < 1000; index++) t.ok('verdict' in await exam(`token ${index}`))
  t.match(await exam('one more'), {
    refusal: 'unavailable', reason: 'store_unavailable', details: { failure: { code: 'FST_VERIFICATION_STORE_FULL' } }
  })
  t.strictSame(await exam('token 0'), { refusal: 'not_human', reason: 'used' }, 'a used token stays used')
}))

const SECRET = 'canary secret of the token service'
const OTHER_SECRET = 'another secret, which is as good'
const PURPOSE = 'fastify-verification humandetect token'
const TIMESTAMP = '2020-09-22T14:52:11.104-0500'
const KEY = createMacKey('sha256', Buffer.from(SECRET))
const OTHER_KEY = createMacKey('sha256', Buffer.from(OTHER_SECRET))

const issue = (claims: object = {}) =>
  issueToken({ secret: SECRET, identifier: 'canary-1', human: true, timestamp: TIMESTAMP, ...claims })
const open = (token: string, secret: string | string[] = SECRET) => openToken({ secret, token })

function thrownBy (run: () => unknown): unknown {
  try {
    run()
    return undefined
  } catch (error) {
    return error
  }
}

const VALUES: unknown[] = [
  null, true, false, 0, -1.5, '', ' ', 'x', [], {}, [[]], { a: [1, { b: null }] }, ['canary', '', true], '\u00e9\u{1f600}\0\n',
  '\ud800', 'y'.repeat(174), 'y'.repeat(175), 'y'.repeat(176), 'y'.repeat(177), 'y'.repeat(1000), ' '.repeat(400)
]

t.test('a sealed value can be unsealed with the same key and purpose only', quiet(async (t) => {
  for (const value of VALUES) {
    const what = inspect(value).slice(0, 40)
    const sealed = seal(KEY, PURPOSE, value)
    t.strictSame(unseal(KEY, PURPOSE, sealed), value, what)
    t.equal(unseal(OTHER_KEY, PURPOSE, sealed), undefined, `${what}: another key`)
    for (const purpose of ['', `${PURPOSE} `, PURPOSE.slice(1), PURPOSE.toUpperCase(), 'other']) {
      t.equal(unseal(KEY, purpose, sealed), undefined, `${what}: the purpose "${purpose}"`)
    }
  }
  const empty = seal(KEY, '', 'x')
  t.equal(unseal(KEY, '', empty), 'x', 'an empty purpose is a purpose, too')
  t.equal(unseal(KEY, PURPOSE, empty), undefined)
}))

t.test('sealed values are blocks of 177 bytes in base64 without padding', async (t) => {
  for (const [characters, length] of [[0, 300], [1, 300], [175, 300], [176, 536], [352, 536], [353, 772]] as const) {
    const sealed = seal(KEY, PURPOSE, 'y'.repeat(characters)) // plus two quotes
    t.equal(sealed.length, length, `${characters} characters`)
    t.match(sealed, /^[A-Za-z0-9+/]+$/)
    t.equal(Buffer.from(sealed, 'base64').toString('base64'), sealed, 'canonical')
  }
})

t.test('it is AES-256-GCM with HKDF-SHA-256, and everyone who has the secret can open it', async (t) => {
  const bytes = Buffer.from(seal(KEY, PURPOSE, ['a', 1]), 'base64')
  const derived = Buffer.from(hkdfSync('sha256', SECRET, bytes.subarray(0, 32), PURPOSE, 44))
  const decipher = createDecipheriv('aes-256-gcm', derived.subarray(0, 32), derived.subarray(32))
  decipher.setAuthTag(bytes.subarray(-16))
  const text = decipher.update(bytes.subarray(32, -16), undefined, 'utf8') + decipher.final('utf8')
  t.equal(text, '["a",1]'.padEnd(177))
})

t.test('a string that is too short to be sealed is not opened, whatever it contains', quiet(async (t) => {
  for (let length = 0; length <= 60; length++) {
    t.equal(unseal(KEY, PURPOSE, Buffer.alloc(length).toString('base64')), undefined, `${length} bytes`)
  }
}))

const IDENTIFIERS = [
  'ada@example.com', '', ' ', '  spaces around  ', '0', 'null', '"', '\\', '"],["', '\0', '\n\r\t', '\u007f', '\u2028\u2029',
  'h\u00e9llo w\u00f6rld', 'e\u0301', '\u65e5\u672c\u8a9e', '\u{1f600}\u{1f469}\u200d\u{1f680}', '\ufeff', '\ufffd', '\ud800', '\udc00',
  '\udc00\ud800', 'a\ud83d', '\ude00b', '__proto__', 'constructor', 'x'.repeat(5_000), '\u{1f600}'.repeat(1_200), '\ud800'.repeat(900)
]

t.test('a token contains exactly its claims, for humans and bots', quiet(async (t) => {
  for (const identifier of IDENTIFIERS) {
    for (const human of [true, false]) {
      const token = issue({ identifier, human })
      const checksum = createHash('sha256').update(token).digest('hex')
      const what = JSON.stringify(identifier.slice(0, 20)).replace(/[^ -~]/g, '?') // characters that TAP can carry
      t.strictSame(open(token), { valid: human, identifier, timestamp: TIMESTAMP, checksum, version: 1 }, what)
      t.match(token, /^[A-Za-z0-9+/]+$/, `${what}: base64 without padding`)
      t.equal(token.length % 4, 0)
      t.equal(Buffer.from(token, 'base64').toString('base64'), token, `${what}: canonical`)
    }
  }
}))

t.test('a token of an earlier day is still valid', async (t) => {
  const token = '5kQ3OW5CK7bK+TqOhrVMAfG/1MTECjp+gVJT3ZtLAbj6/CUXprUVBwFosGGwayngTyVeZS/gVRRgTZMDPVNvNA32V4wadIypdDRMysnpUlgWxtYffbjV//rKkgBZNXHIweHLrMw+d5y/GV2YcEtWnPNX5sdCSYNBkjcDaTI69+9q8fXBytuxx7loSBaQBUw5tppxUGbos8U13G4u4AyjS3GsTmyCvmcohTj4djBteEadQNSDn326Kdb8IIFC2JvE7k/mpFCB4UJ4/I8aPz5ynw2Gk7014kuX17Sbah50aDua'
  const checksum = createHash('sha256').update(token).digest('hex')
  t.strictSame(open(token), { valid: true, identifier: 'canary-1', timestamp: TIMESTAMP, checksum, version: 1 })
})

t.test('tokens of short identifiers are 300 characters long, so that the length reveals nothing', async (t) => {
  const most = 177 - JSON.stringify(['', TIMESTAMP, false]).length
  for (const length of [0, 1, 15, 36, 64, 100, most]) {
    for (const human of [true, false]) t.equal(issue({ identifier: 'x'.repeat(length), human }).length, 300, `${length}`)
  }
  t.equal(issue({ identifier: 'x'.repeat(most + 1), human: false }).length, 536, 'one character more')
  t.equal(issue({ identifier: 'x'.repeat(5_950) }).length, 8_088, 'the longest that can be sent')
  t.equal(open('A'.repeat(8 << 20)), null, 'a longer one is not examined')
  for (const identifier of ['x'.repeat(6_000), '\u{1f600}'.repeat(2_500), '\ud800'.repeat(1_000)]) {
    t.throws(() => issue({ identifier }), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: 'issueToken: option "identifier" is too long'
    })
  }
})

t.test('no two tokens are alike, even with the same claims', async (t) => {
  const tokens = Array.from({ length: 200 }, () => issue())
  const [first, second] = tokens as [string, string]
  const a = Buffer.from(first, 'base64')
  const b = Buffer.from(second, 'base64')
  for (const [part, from, to] of [['salt', 0, 32], ['text', 32, 209], ['end of the text', 177, 209], ['tag', 209, 225]] as const) {
    t.notOk(a.subarray(from, to).equals(b.subarray(from, to)), part)
  }
  const same = a.filter((byte, index) => byte === b[index]).length
  t.ok(same < 20, `${same} of 225 bytes are the same by chance`)
  t.equal(new Set(tokens).size, 200)
  t.equal(new Set(tokens.map((token) => open(token)!.checksum)).size, 200, 'nor are their checksums')
  t.equal(new Set(tokens.map((token) => token.slice(0, 16))).size, 200)
})

t.test('a token has the same checksum at all times, whichever secret of a rotation opens it', async (t) => {
  const token = issue()
  const { checksum } = open(token)!
  t.match(checksum, /^[0-9a-f]{64}$/)
  for (let again = 0; again < 3; again++) t.equal(open(token)!.checksum, checksum)
  t.equal(open(token, [OTHER_SECRET, SECRET])!.checksum, checksum)
  t.equal(open(token, [SECRET])!.checksum, checksum)
})

t.test('no claim is visible in a token', quiet(async (t) => {
  const seen = Array.from({ length: 20 }, () => issue({ identifier: 'canary-1' }))
  for (const token of seen) {
    const bytes = Buffer.from(token, 'base64')
    for (const text of ['canary', '2020-09', 'true', 'human', '   ', SECRET.slice(0, 6)]) {
      t.notOk(bytes.includes(text), text)
      t.notOk(bytes.includes(Buffer.from(text, 'utf16le')), text)
      t.notOk(token.includes(Buffer.from(text).toString('base64').slice(0, 4)), `${text} in base64`)
    }
  }
}))

t.test('a token with any one bit changed is refused', async (t) => {
  const token = issue()
  const bytes = Buffer.from(token, 'base64')
  t.equal(bytes.length, 225)
  const opened: string[] = []
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes)
    changed[bit >> 3]! ^= 1 << (bit & 7)
    if (open(changed.toString('base64')) !== null) opened.push(`bit ${bit}`)
  }
  t.strictSame(opened, [])
  t.not(open(bytes.toString('base64')), null, 'the original one is accepted')
})

t.test('a token with any one character changed, doubled or removed is refused', async (t) => {
  const token = issue()
  const opened: string[] = []
  for (let index = 0; index < token.length; index++) {
    const before = token.slice(0, index)
    const after = token.slice(index + 1)
    const character = token[index]!
    const instead = ['A', '/', '=', '-', '_', ' ', '\n', '\0', '\u00e9', '', character + character]
      .filter((other) => other !== character)
    for (const other of instead) if (open(before + other + after) !== null) opened.push(`${index}: ${inspect(other)}`)
  }
  t.strictSame(opened, [])
})

t.test('a token cut anywhere, from either end, is refused', async (t) => {
  const token = issue({ identifier: 'x'.repeat(200) })
  const opened: number[] = []
  for (let length = 0; length < token.length; length++) {
    if (open(token.slice(0, length)) !== null) opened.push(length)
    if (open(token.slice(token.length - length)) !== null) opened.push(-length)
  }
  t.strictSame(opened, [])
  t.not(open(token), null)
})

t.test('a token with other contents is refused', async (t) => {
  const token = issue()
  const bytes = Buffer.from(token, 'base64')
  const others: [what: string, text: string][] = [
    ['base64url', bytes.toString('base64url')], ['hex', bytes.toString('hex')], ['latin1', bytes.toString('latin1')],
    ['padding', `${token}=`], ['two of padding', `${token}==`], ['a whole group of padding', `${token}====`],
    ['a line feed after it', `${token}\n`], ['a line feed before it', `\n${token}`], ['CRLF', `${token}\r\n`],
    ['a space after it', `${token} `], ['a space before it', ` ${token}`], ['a NUL after it', `${token}\0`],
    ['MIME lines', token.replace(/.{76}/g, '$&\r\n')], ['twice', token + token], ['twice with a comma', `${token},${token}`],
    ['quotes', `"${token}"`], ['percent-encoding', encodeURIComponent(`${token}=`)], ['lower case', token.toLowerCase()],
    ['backwards', [...token].reverse().join('')], ['halves swapped', token.slice(152) + token.slice(0, 152)],
    ['empty', ''], ['blank', ' '], ['a word', 'token'], ['an emoji', '\u{1f600}'], ['zeros', 'A'.repeat(300)],
    ['the claims', Buffer.from(JSON.stringify(['canary-1', TIMESTAMP, true])).toString('base64')]
  ]
  for (const [what, text] of others) {
    if (text === token) t.fail(`${what} changes nothing`)
    t.equal(open(text), null, what)
  }
})

t.test('parts of two tokens do not make a third', async (t) => {
  const a = Buffer.from(issue(), 'base64')
  const b = Buffer.from(issue({ human: false }), 'base64')
  const part = (bytes: Buffer, ...[from, to]: [number, number]) => bytes.subarray(from, to)
  for (const mixed of [
    [part(a, 0, 32), part(b, 32, 225)], [part(a, 0, 209), part(b, 209, 225)],
    [part(a, 0, 32), part(b, 32, 209), part(a, 209, 225)]
  ]) t.equal(open(Buffer.concat(mixed).toString('base64')), null)
})

t.test('a token can be opened with its own secret only, and every secret of a rotation is tried', async (t) => {
  const old = issue()
  const fresh = issue({ secret: OTHER_SECRET })
  const foreign = issue({ secret: 'a third secret, which nobody knows' })
  for (const secret of [[OTHER_SECRET, SECRET], [SECRET, OTHER_SECRET]]) {
    t.match(open(old, secret), { identifier: 'canary-1', valid: true })
    t.match(open(fresh, secret), { identifier: 'canary-1', valid: true })
    t.equal(open(foreign, secret), null)
  }
  for (const secret of [OTHER_SECRET, [OTHER_SECRET], `${SECRET}x`, SECRET.slice(0, -1), SECRET.toUpperCase()]) {
    t.equal(open(old, secret), null, 'a foreign secret')
  }
  const four = Array.from({ length: 4 }, (_, index) => `secret number ${index} of the rotation`)
  for (const secret of four) t.not(open(issue({ secret }), four), null, secret)
})

t.test('a value that the secret sealed for another purpose is not a token', async (t) => {
  for (const purpose of ['', 'other', `${PURPOSE}s`]) {
    t.equal(open(seal(KEY, purpose, ['canary-1', TIMESTAMP, true])), null, purpose)
  }
  t.not(open(seal(KEY, PURPOSE, ['canary-1', TIMESTAMP, true])), null, 'for this purpose it is one')
})

t.test('a token has the current time unless another is given, in the format of the document', async (t) => {
  for (const claims of [{}, { timestamp: undefined }]) {
    const before = Date.now()
    const { timestamp } = open(issueToken({ secret: SECRET, identifier: 'x', human: true, ...claims }))!
    const after = Date.now()
    t.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$/)
    const time = Date.parse(timestamp.replace('+0000', 'Z'))
    t.ok(time >= before && time <= after, timestamp)
  }
  for (const [given, expected] of [
    [new Date('2020-09-22T19:52:11.104Z'), '2020-09-22T19:52:11.104+0000'], [new Date(0), '1970-01-01T00:00:00.000+0000'],
    ['2020-09-22T14:52:11.104-0500', '2020-09-22T14:52:11.104-0500'], ['2020-09-22T14:52:11-05:00', '2020-09-22T14:52:11-05:00'],
    ['2020-09-22T14:52:11.123456789Z', '2020-09-22T14:52:11.123456789Z']
  ] as const) t.equal(open(issue({ timestamp: given }))!.timestamp, expected, expected)
})

const REFUSED: [what: string, claims: object, option: string, expected: string][] = [
  ...[new Date(NaN), new Date(253_402_300_800_000), new Date(-62_167_219_200_001), '', 'canary', 'now', '2020-09-22',
    '2020-09-22T14:52:11', '2020-02-30T00:00:00Z', '22 Sep 2020', 0, 1_600_804_331_104, null, true, {}, [TIMESTAMP],
    { toISOString: () => '2020-09-22T14:52:11.104Z' }
  ].map((timestamp): [string, object, string, string] => [
    `the timestamp ${inspect(timestamp)}`, { timestamp }, 'timestamp', 'must be a Date, or a date and time with an offset'
  ]),
  ...[undefined, null, 0, 1, 'true', '', {}, Object(true)].map((human): [string, object, string, string] => [
    `human ${inspect(human)}`, { human }, 'human', 'must be a boolean'
  ]),
  ...[undefined, null, 5, true, {}, ['canary'], Object('canary')].map((identifier): [string, object, string, string] => [
    `the identifier ${inspect(identifier)}`, { identifier }, 'identifier', 'must be a string'
  ]),
  ...[undefined, null, 5, {}, Buffer.from(SECRET), () => SECRET].map((secret): [string, object, string, string] => [
    `the secret ${inspect(secret)}`, { secret }, 'secret', 'must be a string'
  ]),
  ['an empty secret', { secret: '' }, 'secret', 'must not be empty'],
  ['a blank secret', { secret: ' '.repeat(32) }, 'secret', 'must not be empty'],
  ['a secret with a line feed', { secret: `${SECRET}\n` }, 'secret', 'must not end with a line break: trim the content of a file'],
  ['a weak secret', { secret: 'canary-of-23-characters' }, 'secret', 'must be at least 24 bytes long'],
  ['a secret of zeros', { secret: '\0'.repeat(32) }, 'secret', 'must not be all zeros'],
  ...[[], [SECRET], [SECRET, OTHER_SECRET], [[SECRET]]].map((secret): [string, object, string, string] => [
    `a list of ${secret.length}, of which it is not said which makes tokens`, { secret }, 'secret', 'must be a string'
  ])
]

t.test('claims that cannot make a token are refused, and never shown', quiet(async (t) => {
  for (const [what, claims, option, expected] of REFUSED) {
    const error = thrownBy(() => issue(claims.constructor === Object && 'timestamp' in claims
      ? claims
      : { timestamp: undefined, ...claims }))
    const { code, message } = Object(error)
    t.strictSame({ code, message }, {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: `issueToken: option "${option}" ${expected}`
    }, what)
    t.notMatch(inspect(error, { depth: 9, showHidden: true }), 'canary', `${what}: not shown`)
  }
  t.equal(issue({ secret: 'x'.repeat(24) }).length, 300, 'a secret of 24 bytes is enough')
}))

t.test('secrets that can open nothing, and tokens that are not strings, are refused', async (t) => {
  const token = issue()
  for (const [secret, expected] of [
    [undefined, 'must be a string'], [5, 'must be a string'], [[5], 'must be a string'], ['', 'must not be empty'],
    [[SECRET, ''], 'must not be empty'], ['canary-of-23-characters', 'must be at least 24 bytes long'],
    [[SECRET, 'canary'], 'must be at least 24 bytes long'], [[], 'must have 1 to 4 secrets'],
    [[1, 2, 3, 4, 5].map((n) => SECRET + n), 'must have 1 to 4 secrets'], [[SECRET, SECRET], 'must not contain the same secret twice']
  ] as const) {
    const error = thrownBy(() => openToken({ secret: secret as string, token }))
    const { code, message } = Object(error)
    t.strictSame({ code, message }, {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: `openToken: option "secret" ${expected}`
    }, inspect(secret))
    t.notMatch(inspect(error, { depth: 9, showHidden: true }), 'canary', `${inspect(secret)}: not shown`)
  }
  for (const none of [undefined, null, 5, true, {}, [token], Buffer.from(token), Object(token)]) {
    t.match(thrownBy(() => openToken({ secret: SECRET, token: none as string })), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: 'openToken: option "token" must be a string'
    }, inspect(none))
  }
})

t.test('a megabyte of any characters is refused as a token, quickly', quiet(async (t) => {
  for (const part of ['A', '/', '=', 'A=', 'AAA=', ' ', '\n', '\u00e9', '-', 'AAAA\n', issue()]) {
    for (const end of ['', '=', '!']) {
      const token = part.repeat(1_048_576 / part.length) + end
      const start = cpuTime()
      t.equal(open(token, [SECRET, OTHER_SECRET]), null)
      t.ok(cpuTime() - start < 500, JSON.stringify(part.slice(0, 8) + end))
    }
  }
}))
