import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import { Type } from '@sinclair/typebox'
import { createHash, createHmac, type BinaryLike } from 'node:crypto'
import { inspect } from 'node:util'
import t from 'tap'
import { z } from 'zod'
import {
  aghanimPlugin, altdentifierPlugin, identityValidationPlugin, signAghanim, signAltdentifier, signIdentityValidation
} from '../../plugins/index.js'
import { API_KEY, API_SECRET, bodyOf, NOW, now, PLAYER, PROVIDERS, SECRET, SESSIONS } from '../support/deliveries.js'
import { createHost } from '../support/host.js'
import { quiet } from '../support/quiet.js'

type Options = Record<string, unknown>
type Plugin = { name: string, plugin: unknown, valid: Options }
type Test = Pick<typeof t, 'teardown' | 'strictSame' | 'notMatch'>
type Case = [what: string, options: Options, option: string, expected: string]

/** Part of every string value; no error may contain it. */
const CANARY = 'canary'
const BASE64 = Buffer.from('another secret of thirty-two byt').toString('base64')

const PLUGINS: Plugin[] = [
  { name: 'altdentifierPlugin', plugin: altdentifierPlugin, valid: { secret: SECRET, handleEvent () {} } },
  { name: 'aghanimPlugin', plugin: aghanimPlugin, valid: { secret: SECRET, verifyPlayer: () => PLAYER } },
  {
    name: 'identityValidationPlugin',
    plugin: identityValidationPlugin,
    valid: { apiKeys: { [API_KEY]: API_SECRET }, handleSession () {} }
  }
]
const [ALTDENTIFIER, AGHANIM, IDENTITY] = PLUGINS as [Plugin, Plugin, Plugin]

function register (app: FastifyInstance, plugin: unknown, options: Options): void {
  app.register(plugin as FastifyPluginAsync<Options>, options)
}

/** Returns the error that `ready()` rejects with, or undefined. */
async function refusal (test: Test, plugin: unknown, options: Options): Promise<unknown> {
  const { app } = createHost(test)
  register(app, plugin, options)
  return app.ready().then(() => undefined, (error: unknown) => error)
}

async function refuses (
  test: Test, { name, plugin, valid }: Plugin, [what, options, option, expected]: Case
): Promise<void> {
  const given = Object.assign(Object.create(Object.getPrototypeOf(options)), valid, options) // with inherited options
  const error = await refusal(test, plugin, given)
  const { code, message } = Object(error)
  test.strictSame(
    { code, message },
    { code: 'FST_VERIFICATION_INVALID_OPTION', message: `${name}: option "${option}" ${expected}` },
    what
  )
  test.notMatch(inspect(error, { depth: 9, showHidden: true }), CANARY, `${what}: the value does not appear`)
}

const WEEK = 604_800
const seconds = (least: number) => `must be a number of seconds from ${least} to ${WEEK}`
const whole = (most: number) => `must be an integer from 1 to ${most}`
const NO_NUMBERS = [null, '300', CANARY, true, {}, [300], 300n, NaN, Infinity, -Infinity]

const numbers = (option: string, expected: string, wrong: unknown[]): Case[] =>
  [...NO_NUMBERS, ...wrong].map((value) => [`${option}: ${inspect(value)}`, { [option]: value }, option, expected])

const noFunctions = (...options: string[]): Case[] => options.flatMap((option) =>
  [null, CANARY, true, 5, {}, [() => {}]].map((value): Case =>
    [`${option}: ${inspect(value)}`, { [option]: value }, option, 'must be a function']))

const PATHLESS = [null, '', CANARY, `${CANARY}/x`, ` /${CANARY}`, 5, {}, ['/x'], `/${CANARY}?b`, `/#${CANARY}`, `/${CANARY} b`, '/\u00fc']

const COMMON: Case[] = [
  ['a typo', { tolerence: CANARY }, 'tolerence', 'is not known'],
  ['an inherited typo', Object.create({ tolerence: CANARY }), 'tolerence', 'is not known'],
  ['a prefix that is not a string', { prefix: 5 }, 'prefix', 'must be a string'],
  ['a log level that is not a string', { logLevel: 5 }, 'logLevel', 'must be a non-empty string'],
  ['log serializers that are none', { logSerializers: { provider: CANARY } }, 'logSerializers', 'must be an object of functions'],
  ['a misspelt option that is undefined', { tolerence: undefined }, 'tolerence', 'is not known'],
  ['the option of another plugin', { maxAge: 5 }, 'maxAge', 'is not known'],
  ['no switch skips verification', { verify: false }, 'verify', 'is not known'],
  ...numbers('tolerance', seconds(1), [0, -0, -1, 0.5, WEEK + 1, Number.MAX_VALUE]),
  ...numbers('futureTolerance', seconds(0), [-1, -0.001, WEEK + 1]),
  ...numbers('bodyLimit', whole(2 ** 30), [0, -1, 1.5, 2 ** 30 + 1]),
  ...numbers('bodyTimeout', whole(2 ** 31 - 1), [0, -1, 0.5, 2 ** 31]),
  ...numbers('handlerTimeout', whole(2 ** 31 - 1), [0, -1, 0.5, 2 ** 31]),
  ...noFunctions('now', 'onRejected'),
  ...[null, CANARY, 5, () => {}, []].map((value): Case =>
    [`routeOptions: ${inspect(value)}`, { routeOptions: value }, 'routeOptions', 'must be an object']),
  ...['url', 'method', 'schema', 'handler', 'preParsing', 'preSerialization', 'onSend', 'bodyLimit', 'errorHandler', 'prehandler']
    .map((name): Case => [
      `routeOptions.${name}`, { routeOptions: { [name]: () => CANARY } }, `routeOptions.${name}`, 'is not known'
    ]),
  ...[null, CANARY, 5, {}, [null], [() => {}, CANARY]].flatMap((value) => ['onRequest', 'preHandler'].map((name): Case => [
    `routeOptions.${name}: ${inspect(value)}`, { routeOptions: { [name]: value } }, `routeOptions.${name}`,
    'must be a function or an array of functions'
  ])),
  ...[null, CANARY, 5, []].flatMap((value) => ['config', 'constraints'].map((name): Case => [
    `routeOptions.${name}: ${inspect(value)}`, { routeOptions: { [name]: value } }, `routeOptions.${name}`,
    'must be an object'
  ])),
  ...['yes', CANARY, 1, 0, null, {}].map((value): Case =>
    [`allowWeakSecret: ${inspect(value)}`, { allowWeakSecret: value }, 'allowWeakSecret', 'must be a boolean'])
]

const REQUIRED = 'is required'
const path = 'must be a path that starts with "/", without a query'
const wrongPaths = PATHLESS.map((value): Case => [`path: ${inspect(value)}`, { path: value }, 'path', path])

const TYPEBOX = 'must be a TypeBox schema'
const OTHER_SCHEMA = `${TYPEBOX} of @sinclair/typebox 0.34, which fastify-verification/provider exports as "Type"`
const NO_SCHEMAS: [value: unknown, expected: string][] = [
  ...[null, CANARY, 5, true, {}, [], () => {}].map((value): [unknown, string] => [value, TYPEBOX]),
  [{ type: 'object', title: CANARY }, `${OTHER_SCHEMA}: this one is plain JSON Schema`],
  [z.object({ title: z.literal(CANARY) }), `${OTHER_SCHEMA}: this one was made with zod`]
]
const ENDPOINT = 'must be a path with an optional query'
const NO_ENDPOINTS = [
  null, 5, '', CANARY, `/${CANARY} x`, `/${CANARY}{`, `/${CANARY}}`, `/${CANARY}é`, `/${CANARY}"`, `/${CANARY}\n`,
  `/${CANARY}\\`, `/${CANARY}#x`, ` /${CANARY}`, `https://example.com/${CANARY}`
]

const OWN: [Plugin, Case[]][] = [
  [ALTDENTIFIER, [
    ...wrongPaths,
    ...noFunctions('handleEvent'),
    ['no secret', { secret: undefined }, 'secret', REQUIRED],
    ['no handler', { handleEvent: undefined }, 'handleEvent', REQUIRED],
    ...['if-present', 'Require', '', true, null, ['ignore']].map((value): Case => [
      `httpSignature: ${inspect(value)}`, { httpSignature: value }, 'httpSignature',
      'must be one of "ignore", "require"'
    ]),
    ...['', 5, null, [CANARY]].map((value): Case => [
      `keyId: ${inspect(value)}`, { keyId: value }, 'keyId', 'must be a non-empty string'
    ])
  ]],
  [AGHANIM, [
    ...wrongPaths,
    ...noFunctions('verifyPlayer', 'handleEvent'),
    ['no secret', { secret: undefined }, 'secret', REQUIRED],
    ['no handler', { verifyPlayer: undefined }, 'verifyPlayer', REQUIRED],
    ...NO_SCHEMAS.map(([value, expected]): Case => [
      `eventData: ${inspect(value)}`, { eventData: value }, 'eventData', expected
    ])
  ]],
  [IDENTITY, [
    ...noFunctions('handleSession', 'handleRequiredFiles'),
    ['no api-keys', { apiKeys: undefined }, 'apiKeys', REQUIRED],
    ['neither handler', { handleSession: undefined }, 'handleSession', 'or "handleRequiredFiles" is required'],
    ['one path for two routes', { path: `/${CANARY}` }, 'path', 'is not known'],
    ['a secret without an api-key', { secret: CANARY }, 'secret', 'is not known'],
    ...['paths', 'endpoints', 'schemas'].flatMap((group): Case[] => [
      ...[null, CANARY, 5, () => {}, []].map((value): Case => [
        `${group}: ${inspect(value)}`, { [group]: value }, group, 'must be an object'
      ]),
      [`an unknown member of ${group}`, { [group]: { session: `/${CANARY}` } }, `${group}.session`, 'is not known']
    ]),
    ...PATHLESS.map((value): Case => [
      `paths.sessions: ${inspect(value)}`, { paths: { sessions: value } }, 'paths.sessions', path
    ]),
    ...NO_ENDPOINTS.flatMap((value) => ['sessions', 'requiredFiles'].map((kind): Case => [
      `endpoints.${kind}: ${inspect(value)}`, { endpoints: { [kind]: value } }, `endpoints.${kind}`, ENDPOINT
    ])),
    ...NO_SCHEMAS.flatMap(([value, expected]) => ['sessions', 'requiredFiles'].map((kind): Case => [
      `schemas.${kind}: ${inspect(value)}`, { schemas: { [kind]: value } }, `schemas.${kind}`, expected
    ])),
    ...['sessions', 'requiredFiles'].map((kind): Case => [
      `schemas.${kind}: a schema of strings`, { schemas: { [kind]: Type.String() } }, `schemas.${kind}`,
      'must accept objects'
    ]),
    ...[
      { endpoints: { sessions: `/${CANARY}`, requiredFiles: `/${CANARY}` } },
      { endpoints: { sessions: '/identity-validation/required-files' } },
      { paths: { sessions: `/${CANARY}`, requiredFiles: `/${CANARY}` } }
    ].map((options): Case => [
      `one endpoint for both routes: ${inspect(options)}`, { ...options, handleRequiredFiles () {} }, 'endpoints',
      'must not be the same for both routes'
    ])
  ]]
]

for (const plugin of PLUGINS) {
  t.test(`${plugin.name}: invalid options that all plugins have`, quiet(async (t) => {
    for (const wrong of COMMON) await refuses(t, plugin, wrong)
  }))
}

for (const [plugin, cases] of OWN) {
  t.test(`${plugin.name}: invalid options of its own`, quiet(async (t) => {
    for (const wrong of cases) await refuses(t, plugin, wrong)
  }))
}

t.test('the bounds of every range are valid', async (t) => {
  for (const { name, plugin, valid } of PLUGINS) {
    for (const options of [
      { tolerance: 1, futureTolerance: 0, bodyLimit: 1, bodyTimeout: 1, handlerTimeout: 1 },
      {
        tolerance: WEEK,
        futureTolerance: WEEK,
        bodyLimit: 2 ** 30,
        bodyTimeout: 2 ** 31 - 1,
        handlerTimeout: 2 ** 31 - 1
      },
      { tolerance: undefined, now: undefined, onRejected: undefined, allowWeakSecret: undefined }
    ]) t.equal(await refusal(t, plugin, { ...valid, ...options }), undefined, `${name}: ${inspect(options)}`)
  }
  const { plugin, valid } = IDENTITY
  const group = (options: Options) => refusal(t, plugin, { ...valid, ...options })
  t.equal(await group({ endpoints: { sessions: "/v1/a.b~!$&'()*+,;=:@%20/?c=d" } }), undefined)
  const nothing = { paths: {}, endpoints: { requiredFiles: undefined }, schemas: { sessions: undefined } }
  t.equal(await group(nothing), undefined)
})

const EMPTY = 'must not be empty'
const STRING = 'must be a string'
const UNTRIMMED = 'must not begin or end with white space'
const LINE = 'must not end with a line break: trim the content of a file'
const ZEROS = 'must not be all zeros'
const MISSING = 'must not be a placeholder such as "undefined"'
const INVISIBLE = 'must not contain invisible characters'
const HOW_MANY = 'must have 1 to 4 secrets'
const REPEATED = 'must not contain the same secret twice'
const NOT_BASE64 = 'must be canonical base64'
const short = (bytes: number) => `must be at least ${bytes} bytes long; "allowWeakSecret" allows shorter secrets`
const filled = (bytes: number) => CANARY.repeat(99).slice(0, bytes)
const base64 = (bytes: number) => Buffer.from(filled(bytes)).toString('base64')
const md5 = (text: string) => createHash('md5').update(text).digest()
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest()

/** Key longer than the hash's block, so that HMAC hashes it. The MD5 of this one happens to be printable. */
const LONG = 'a secret that is longer than one block of sixty-four bytes, to be hashed 20896406'
const LONG_BYTES = Buffer.from(filled(65))

/** Secrets that are invalid for all three plugins; `good` is a valid one. */
const anySecret = (good: string): [value: unknown, expected: string][] => [
  ['', EMPTY], [' ', EMPTY], ['\t\r\n', EMPTY], [['', good], EMPTY], [[good, ' '], EMPTY],
  [` ${good}`, UNTRIMMED], [`${good} `, UNTRIMMED], [`\r\n${good}`, UNTRIMMED], [`${good}\u00a0`, UNTRIMMED],
  [`\ufeff${good}`, UNTRIMMED], [`${good}\n`, LINE], [`${good}\r\n`, LINE], [` ${good}\n`, LINE], [[good, `${good}\n`], LINE],
  [null, STRING], [123, STRING], [true, STRING], [{}, STRING], [{ secret: CANARY }, STRING], [Object(good), STRING],
  [Buffer.from(good), STRING], [new Set([good]), STRING], [[undefined], STRING], [[good, null], STRING],
  [[[good]], STRING], [[good, 5], STRING],
  [[], HOW_MANY], [Array(5).fill(good), HOW_MANY],
  [[good, good], REPEATED], [[good, BASE64, good], REPEATED]
]

/** Secrets that are invalid where the string itself is the key, even where a weak one is accepted. */
const texts: [value: unknown, expected: string][] = [
  ...['undefined', 'null', 'NaN', '[object Object]', '[object Promise]', 'whsec_undefined', [SECRET, 'undefined']]
    .map((value): [unknown, string] => [value, MISSING]),
  ...['\0', '\t', '\x7f', '\x85', '\u00a0', '\u00ad', '\u034f', '\u061c', '\u115f', '\u2003', '\u200b', '\u200d', '\u202e',
    '\u2028', '\u2060', '\u2066', '\u2800', '\u3000', '\u3164', '\ufe0f', '\ufeff', '\uffa0', '\ud800', '\u{e0041}']
    .map((one): [unknown, string] => [`${SECRET.slice(0, 9)}${one}${SECRET.slice(9)}`, INVISIBLE]),
  [[SECRET, `${SECRET}\0`], INVISIBLE], [`${SECRET}\u200b`, INVISIBLE],
  ['0'.repeat(16), ZEROS], ['0'.repeat(99), ZEROS], ['\0'.repeat(32), ZEROS], ['\0'.repeat(99), ZEROS]
]

const SECRETS: { plugin: Plugin, option: string, wrong: [value: unknown, expected: string][] }[] = [
  {
    plugin: ALTDENTIFIER,
    option: 'secret',
    wrong: [
      ...anySecret(SECRET),
      [filled(1), short(16)], [filled(15), short(16)], ['ñ'.repeat(7), short(16)], [[SECRET, filled(15)], short(16)],
      [[LONG, md5(LONG).toString()], REPEATED], ...texts
    ]
  },
  {
    plugin: AGHANIM,
    option: 'secret',
    wrong: [
      ...anySecret(SECRET),
      [filled(1), short(24)], [filled(16), short(24)], [filled(23), short(24)], [[filled(23), SECRET], short(24)],
      ...texts
    ]
  },
  {
    plugin: IDENTITY,
    option: 'apiKeys',
    wrong: [
      ...anySecret(API_SECRET),
      [undefined, STRING],
      [base64(1), short(24)], [base64(16), short(24)], [base64(23), short(24)], [[API_SECRET, base64(23)], short(24)],
      ['AA==', ZEROS], [Buffer.alloc(65).toString('base64'), ZEROS], [[API_SECRET, Buffer.alloc(999).toString('base64')], ZEROS],
      ['0'.repeat(44), ZEROS],
      [[base64(32), Buffer.concat([Buffer.from(filled(32)), Buffer.alloc(2)]).toString('base64')], REPEATED],
      [[LONG_BYTES.toString('base64'), sha256(LONG_BYTES).toString('base64')], REPEATED],
      [`${CANARY} is no base64!`, NOT_BASE64], [SECRET.slice(1), NOT_BASE64],
      [API_SECRET.replaceAll('/', '_'), NOT_BASE64], ['+/'.repeat(20).replaceAll('+', '-'), NOT_BASE64],
      [API_SECRET.replace('=', ''), NOT_BASE64], [`${API_SECRET}=`, NOT_BASE64], [API_SECRET.slice(0, -2), NOT_BASE64],
      [API_SECRET.replace('U=', 'V='), NOT_BASE64], [API_SECRET.replace('M', ' M'), NOT_BASE64],
      [API_SECRET.replace('M', '\nM'), NOT_BASE64], [`${API_SECRET}AAAA`, NOT_BASE64],
      [`=${API_SECRET.slice(1)}`, NOT_BASE64], ['====', NOT_BASE64]
    ]
  }
]

for (const { plugin, option, wrong } of SECRETS) {
  t.test(`${plugin.name}: invalid secrets`, quiet(async (t) => {
    for (const [value, expected] of wrong) {
      const given = option === 'secret' ? [value] : [{ [API_KEY]: value }, new Map([['a', BASE64], ['b', value]])]
      for (const secrets of given) {
        await refuses(t, plugin, [`${inspect(secrets)} ${expected}`, { [option]: secrets }, option, expected])
      }
    }
  }))
}

t.test('no secret appears in an error, whatever is wrong with it or with another option', quiet(async (t) => {
  for (const { name, plugin, valid } of PLUGINS) {
    const option = valid['secret'] === undefined ? 'apiKeys' : 'secret'
    const given = (secret: unknown) => option === 'secret' ? secret : { [API_KEY]: secret }
    for (const options of [
      { [option]: given([SECRET, SECRET]) }, { [option]: given(`${API_SECRET}\n`) },
      { [option]: given(Object(SECRET)) }, { [option]: given(API_SECRET.slice(0, 11)) },
      { [option]: given([SECRET, API_SECRET, API_SECRET, API_SECRET, API_SECRET]) }, { tolerance: 0 }, { unknown: 1 }
    ]) {
      const error = await refusal(t, plugin, { ...valid, ...options })
      t.match(error, { code: 'FST_VERIFICATION_INVALID_OPTION' }, `${name}: ${inspect(options)}`)
      const shown = inspect(error, { depth: 9, showHidden: true })
      for (const part of [SECRET, API_SECRET, API_SECRET.slice(0, 11), API_KEY]) t.notOk(shown.includes(part))
    }
  }
}))

t.test('an HMAC hashes a long key and pads a short one: the pairs above are the same key', async (t) => {
  const mac = (algorithm: string, key: BinaryLike) => createHmac(algorithm, key).update('x').digest('hex')
  t.equal(mac('sha256', LONG_BYTES), mac('sha256', sha256(LONG_BYTES)))
  t.equal(mac('md5', LONG), mac('md5', md5(LONG)))
  t.equal(mac('md5', SECRET), mac('md5', `${SECRET}\0`))
  t.match(md5(LONG).toString(), /^[\x21-\x7e]{16}$/)
})

t.test('secrets of minimum length, and the maximum number of them', async (t) => {
  const four = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(24))
  const alike = [SECRET, SECRET.toUpperCase()]
  for (const secret of [filled(16), 'ñ'.repeat(8), filled(64), filled(65), four, [LONG, SECRET], alike]) {
    t.equal(await refusal(t, altdentifierPlugin, { ...ALTDENTIFIER.valid, secret }), undefined, inspect(secret))
  }
  for (const secret of [filled(24), 'ñ'.repeat(12), filled(64), filled(65), four, Object.freeze([SECRET])]) {
    t.equal(await refusal(t, aghanimPlugin, { ...AGHANIM.valid, secret }), undefined, inspect(secret))
  }
  const encoded = four.map((key) => Buffer.from(key).toString('base64'))
  for (const secret of [base64(24), base64(25), base64(26), base64(65), encoded]) {
    for (const apiKeys of [{ [API_KEY]: secret }, new Map([[API_KEY, secret]])]) {
      t.equal(await refusal(t, identityValidationPlugin, { ...IDENTITY.valid, apiKeys }), undefined, inspect(secret))
    }
  }
})

t.test('api-keys that no header could name, and rings that are none', async (t) => {
  const NAME = 'must have ids of up to 256 visible ASCII characters without commas'
  for (const name of ['k'.repeat(257), '', ' ', 'a,b', `${CANARY} x`, `${CANARY}é`, `${CANARY}\n`, '\0', `${CANARY}\x7f`, 'ключ']) {
    for (const apiKeys of [{ [name]: API_SECRET }, new Map([[API_KEY, BASE64], [name, API_SECRET]])]) {
      await refuses(t, IDENTITY, [`api-key ${inspect(name)}`, { apiKeys }, 'apiKeys', NAME])
    }
  }
  for (const secret of [Buffer.alloc(32).toString('base64'), [API_SECRET, Buffer.alloc(48).toString('base64')]]) {
    const zeros = { apiKeys: { [API_KEY]: secret }, allowWeakSecret: true }
    await refuses(t, IDENTITY, ['zeros', zeros, 'apiKeys', 'must not be all zeros'])
  }
  const dated = Type.Object({ at: Type.Array(Type.String({ format: 'date-time' })) })
  await refuses(t, IDENTITY, ['an unknown format', { schemas: { sessions: dated } }, 'schemas.sessions',
    "uses a format that is not in TypeBox's FormatRegistry"])
  await refuses(t, IDENTITY, ['a number', { apiKeys: new Map([[5, API_SECRET]]) }, 'apiKeys', NAME])
  for (const apiKeys of [{}, new Map()]) {
    await refuses(t, IDENTITY, [inspect(apiKeys), { apiKeys }, 'apiKeys', EMPTY])
  }
  for (const apiKeys of [[], [API_SECRET], null, CANARY, 5, true]) {
    await refuses(t, IDENTITY, [inspect(apiKeys), { apiKeys }, 'apiKeys', 'must be an object, a Map or a function'])
  }
})

type Signed = [
  plugin: Plugin,
  sign: (secret: string, timestamp?: number) => Record<string, string>,
  given: (secret: unknown) => Options,
  encoding: BufferEncoding
]

const [ALTDENTIFIER_BODY, AGHANIM_BODY, IDENTITY_BODY] = PROVIDERS.map(bodyOf) as [string, string, string]
const asSecret = (secret: unknown) => ({ secret })

const SIGNED: Signed[] = [
  [ALTDENTIFIER, (secret) => signAltdentifier({ secret, body: ALTDENTIFIER_BODY }), asSecret, 'utf8'],
  [AGHANIM, (secret, timestamp = NOW) => signAghanim({ secret, body: AGHANIM_BODY, timestamp }), asSecret, 'utf8'],
  [
    IDENTITY,
    (secret, timestamp = NOW) => signIdentityValidation({
      apiKey: API_KEY, secret, endpoint: SESSIONS, body: IDENTITY_BODY, timestamp
    }),
    (secret) => ({ apiKeys: { [API_KEY]: secret } }),
    'base64'
  ]
]

t.test('allowWeakSecret admits short secrets, with one warning that does not show them', quiet(async (t) => {
  for (const [index, [plugin, sign, given, encoding]] of SIGNED.entries()) {
    const { name, valid } = plugin
    const { url, success } = PROVIDERS[index]!
    const payload = bodyOf(PROVIDERS[index]!)
    const [weak, weaker] = ['c4n4ry!', 'c4'].map((text) => Buffer.from(text).toString(encoding)) as [string, string]
    const strong = index === 2 ? API_SECRET : SECRET
    const option = Object.keys(given(''))[0]!
    for (const secrets of [weak, [strong, weak], [weak, weaker]]) {
      const { app, lines } = createHost(t)
      register(app, plugin.plugin, { ...valid, ...given(secrets), allowWeakSecret: true, now })
      const reply = await app.inject({ method: 'POST', url, headers: sign(weak), payload })
      t.equal(reply.statusCode, success, `${name}: the short secret works`)
      const warnings = lines.filter(({ level }) => level >= 40)
      t.match(warnings, [{ level: 40, msg: 'a secret is weak', plugin: name, option }])
      t.equal(warnings.length, 1)
      for (const secret of [weak, 'c4n4ry']) t.notOk(JSON.stringify(lines).includes(secret))
    }

    const { app, lines } = createHost(t)
    register(app, plugin.plugin, { ...valid, allowWeakSecret: true })
    await app.ready()
    t.strictSame(lines.filter(({ level }) => level >= 40), [], `${name}: a strong secret causes no warning`)

    const wrong: [unknown, string][] = [['', EMPTY], [' ', EMPTY], [[], HOW_MANY], [[weak, weak], REPEATED]]
    for (const [secret, expected] of wrong) {
      const options = { ...given(secret), allowWeakSecret: true }
      await refuses(t, plugin, [inspect(options), options, option, expected])
    }
    const off = { ...given(weak), allowWeakSecret: false }
    await refuses(t, plugin, [inspect(off), off, option, short(index === 0 ? 16 : 24)])
  }
}))

t.test('a getter that returns no secret prevents the start, even if it returned one before', async (t) => {
  for (const [index, [{ name, plugin, valid }, , given]] of SIGNED.entries()) {
    const [option, secret] = Object.entries(given(index === 2 ? API_SECRET : SECRET))[0]!
    for (const values of [['', ''], [secret, '']]) {
      let reads = 0
      const { app } = createHost(t)
      register(app, plugin, Object.defineProperty({ ...valid, now }, option, {
        enumerable: true, get: () => values[Math.min(reads++, 1)]
      }))
      await t.rejects(async () => app.ready(), { code: 'FST_VERIFICATION_INVALID_OPTION' }, `${name}: ${values[0] === ''}`)
    }
  }
})

t.test('forged deliveries are rejected under any NODE_ENV', async (t) => {
  const before = process.env['NODE_ENV']
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  for (const env of ['test', 'development', 'production', '']) {
    process.env['NODE_ENV'] = env
    for (const [index, { url, success, register, signature }] of PROVIDERS.entries()) {
      const { app } = createHost(t)
      const calls: unknown[] = []
      register(app, calls)
      const payload = bodyOf(PROVIDERS[index]!)
      const headers = PROVIDERS[index]!.sign(payload)
      const post = async (body: string, more: Record<string, string> = {}) =>
        (await app.inject({ method: 'POST', url, headers: { ...headers, ...more }, payload: body })).statusCode
      t.equal(await post(`${payload} `), 403, `${env}: ${url}, forged`)
      t.equal(await post(payload, { [signature]: '' }), 403, `${env}: ${url}, not signed`)
      t.equal(calls.length, 0)
      t.equal(await post(payload), success)
    }
  }
})

t.test('later changes of the options have no effect', async (t) => {
  for (const [index, [{ name, plugin, valid }, sign]] of SIGNED.entries()) {
    const { url, success, signature } = PROVIDERS[index]!
    const payload = bodyOf(PROVIDERS[index]!)
    const handler = Object.keys(valid)[1]!
    const secret = index === 2 ? API_SECRET : SECRET
    for (const kind of index === 2 ? ['Map', 'record'] : ['array']) {
      const calls: string[] = []
      const functions = (which: string) => ({
        [handler]: () => { calls.push(which); return PLAYER }, onRejected: () => { calls.push(`${which}: rejected`) }
      })
      const secrets = [secret]
      const ring = new Map([[API_KEY, secrets]])
      const record = { [API_KEY]: secrets }
      const groups = { paths: {}, endpoints: { sessions: SESSIONS }, schemas: { sessions: Type.Object({}) } }
      const options: Options = {
        ...functions('first'),
        now,
        tolerance: 300,
        ...(kind === 'array' ? { secret: secrets } : { apiKeys: kind === 'Map' ? ring : record, ...groups })
      }
      const { app } = createHost(t)
      register(app, plugin, options)
      await app.ready()

      secrets[0] = BASE64
      ring.set(API_KEY, [BASE64])
      record[API_KEY] = [BASE64]
      for (const group of Object.values(groups)) Object.assign(group, { sessions: '/elsewhere' })
      Object.assign(options, functions('second'), {
        now: () => 0,
        tolerance: 1,
        futureTolerance: 1,
        bodyLimit: 1,
        bodyTimeout: 1,
        handlerTimeout: 1,
        path: '/elsewhere',
        httpSignature: 'require',
        eventData: Type.Never(),
        secret: BASE64,
        apiKeys: { [API_KEY]: BASE64 }
      })
      const status = async (headers: Record<string, string>) =>
        (await app.inject({ method: 'POST', url, headers, payload })).statusCode
      t.equal(await status(sign(secret, NOW - 300)), success, `${name}, ${kind}: the first secret stays`)
      t.equal(await status(sign(BASE64, NOW - 300)), 403, `${name}, ${kind}: the second is not used`)
      t.equal(await status({ ...sign(secret), [signature]: '' }), 403)
      t.strictSame(calls, ['first', 'first: rejected', 'first: rejected'], `${name}, ${kind}: the first functions stay`)
    }
  }
})
