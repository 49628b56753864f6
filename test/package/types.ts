import { Type } from '@sinclair/typebox'
import Fastify, {
  type FastifyInstance, type FastifyPluginAsync, type FastifyPluginCallback, type FastifyRequest
} from 'fastify'
import type { Http2Server } from 'node:http2'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import t from 'tap'
import { z } from 'zod'
import {
  aghanimOptions, aghanimPlugin, altdentifierPlugin, createProvider, decodeHex, deny, humandetectApiPlugin,
  humandetectPlugin, identityValidationOptions, identityValidationPlugin, issueToken, memoryDeliveries, openToken,
  parseUnixSeconds, redisDeliveries,
  type AghanimEvent, type AghanimOptions, type AltDentifierEvent, type AltDentifierOptions, type DeliveryStore,
  type HumanDetectOptions, type HumanDetectResult, type IdentityValidationOptions, type Player, type PlayerVerifyEvent,
  type SecretResolver, type VerifiedRequest
} from '../../plugins/index.js'
import { API_KEY, API_SECRET, PLAYER, SECRET } from '../support/deliveries.js'
import { createHost } from '../support/host.js'

const secret = SECRET
const apiKeys = { [API_KEY]: API_SECRET }
const verifyPlayer = (): Player => PLAYER
const handleEvent = () => {}
const handleSession = () => {}

const Login = Type.Object({ provider: Type.Literal('steam'), steam_id: Type.String() })
const Composite = Type.Object({ player_id: Type.String(), server: Type.Integer() })
const Session = Type.Object({ session: Type.Object({ id: Type.String() }), attempt: Type.Integer() })
const schemas = { sessions: Session }
const Files = Type.Object({ files: Type.Array(Type.String()) })

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false

/** `exactly<Expected>()(value)` compiles for the expected type only: not for `any`, and not for a subtype. */
function exactly<Expected> () {
  return <Actual>(_value: Actual, ..._same: Same<Actual, Expected> extends true ? [] : ['another type']): void => {}
}

/** Checks that a registration which compiles also starts. */
function valid (name: string, register: (app: FastifyInstance) => unknown): void {
  t.test(`${name} compiles and starts`, async (t) => {
    const { app } = createHost(t)
    await register(app)
    await t.resolves(async () => { await app.ready() })
  })
}

/** Accepts registrations that must not compile; never calls them. Each differs from a valid one in one detail. */
function invalid (..._registrations: ((app: FastifyInstance) => unknown)[]): void {}

valid('the least of options', (app) => {
  app.register(altdentifierPlugin, { secret, handleEvent })
  app.register(aghanimPlugin, { secret, verifyPlayer })
  app.register(identityValidationPlugin, { apiKeys, handleSession })
})

invalid(
  // @ts-expect-error an unknown option
  (app) => app.register(altdentifierPlugin, { secret, handleEvent, tolerence: 300 }),
  // @ts-expect-error no secret
  (app) => app.register(altdentifierPlugin, { handleEvent }),
  // @ts-expect-error no handler
  (app) => app.register(altdentifierPlugin, { secret }),
  // @ts-expect-error no options
  (app) => app.register(altdentifierPlugin, {}),
  // @ts-expect-error a secret that is not a string
  (app) => app.register(altdentifierPlugin, { secret: 1, handleEvent }),
  // @ts-expect-error a resolver that returns a number
  (app) => app.register(altdentifierPlugin, { secret: () => 1, handleEvent }),
  // @ts-expect-error a value that is not one of the choices
  (app) => app.register(altdentifierPlugin, { secret, handleEvent, httpSignature: 'off' }),
  // @ts-expect-error an unknown option
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer, verifyplayer: verifyPlayer }),
  // @ts-expect-error no secret
  (app) => app.register(aghanimPlugin, { verifyPlayer }),
  // @ts-expect-error no handler
  (app) => app.register(aghanimPlugin, { secret }),
  // @ts-expect-error another handler than the required one
  (app) => app.register(aghanimPlugin, { secret, handleEvent }),
  // @ts-expect-error a time that is not a number
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer, tolerance: '300' }),
  // @ts-expect-error an unknown option
  (app) => app.register(identityValidationPlugin, { apiKeys, handleSession, secret }),
  // @ts-expect-error no keys
  (app) => app.register(identityValidationPlugin, { handleSession }),
  // @ts-expect-error no handler
  (app) => app.register(identityValidationPlugin, { apiKeys }),
  // @ts-expect-error no handler, with schemas
  (app) => app.register(identityValidationPlugin, identityValidationOptions({ apiKeys, schemas })),
  // @ts-expect-error an unknown route
  (app) => app.register(identityValidationPlugin, { apiKeys, handleSession, paths: { session: '/sessions' } })
)

valid('every way to give a secret', (app) => {
  app.register(altdentifierPlugin, { secret: [secret, API_SECRET] as const, handleEvent })
  app.register(aghanimPlugin, {
    verifyPlayer,
    async secret (request) {
      exactly<unknown>()(request.body)
      exactly<unknown>()(request.params)
      if (request.ip === '') return null
      return request.id === '' ? undefined : [secret]
    }
  })
  app.register(identityValidationPlugin, { apiKeys: new Map([[API_KEY, [API_SECRET]]]), handleSession })
  app.register(identityValidationPlugin, {
    prefix: '/tenants', handleSession, apiKeys: (apiKey, request) => apiKey === request.id ? API_SECRET : undefined
  })
})

valid('undefined for options that have defaults', (app) => {
  const common = {
    tolerance: undefined,
    futureTolerance: undefined,
    now: undefined,
    bodyLimit: undefined,
    bodyTimeout: undefined,
    handlerTimeout: undefined,
    onRejected: undefined,
    allowWeakSecret: undefined
  }
  app.register(altdentifierPlugin, { ...common, secret, handleEvent })
  app.register(aghanimPlugin, { ...common, secret, verifyPlayer })
  app.register(identityValidationPlugin, { ...common, apiKeys, handleSession })
})

valid('every common option', (app) => {
  const common = {
    prefix: '/webhooks',
    logLevel: 'warn',
    logSerializers: { provider: (name: string) => name },
    tolerance: 300,
    futureTolerance: 60,
    now: Date.now,
    bodyLimit: 1024,
    bodyTimeout: 1000,
    handlerTimeout: 1000,
    onRejected: () => {},
    allowWeakSecret: true
  } as const
  app.register(altdentifierPlugin, {
    ...common, path: '/a', secret, handleEvent, httpSignature: 'require', keyId: 'Verification'
  })
  app.register(aghanimPlugin, { ...common, path: '/b', secret, verifyPlayer, handleEvent })
  app.register(identityValidationPlugin, {
    ...common,
    apiKeys,
    handleSession,
    paths: { sessions: '/c' },
    endpoints: { sessions: '/c?d' },
    onRejected ({ reason, ageSeconds }) {
      exactly<number | undefined>()(ageSeconds)
      // @ts-expect-error an unknown reason
      return reason === 'wrong_secret'
    }
  })
})

valid('a row whose columns may be null, nobody, and any result of a handler', (app) => {
  interface Row { id: string, nick: string, level: number, gold: number | null, country: string | null }
  const rows = new Map<string, Row>()
  const toPlayer = ({ id, nick, level, gold, country }: Row) => ({
    player_id: id, name: nick, attributes: { level, soft_currency_amount: gold }, country, segments: null
  })
  app.register(aghanimPlugin, {
    secret,
    verifyPlayer ({ event_data: { player_id: id } }) {
      const row = rows.get(id)
      return row && toPlayer(row)
    },
    handleEvent: async () => [{ rowCount: 1 }],
    onFailed (error, { reason }) {
      exactly<unknown>()(error)
      // @ts-expect-error an unknown reason
      return reason === 'wrong_secret'
    }
  })
  app.register(aghanimPlugin, { path: '/nobody', secret, verifyPlayer: () => new Map<string, Player>().get('') })
})

valid('options that were typed beforehand', (app) => {
  const altdentifier: AltDentifierOptions = { secret, handleEvent }
  const aghanim: AghanimOptions = { secret, verifyPlayer }
  const identity: IdentityValidationOptions = { apiKeys, handleSession }
  app.register(altdentifierPlugin, altdentifier)
  app.register(aghanimPlugin, aghanim)
  app.register(identityValidationPlugin, identity)
  app.register(aghanimPlugin, () => ({ ...aghanim, path: '/by-function' }))
})

valid('an AltDentifier event, told apart by OP,', (app) => app.register(altdentifierPlugin, {
  secret,
  handleEvent (event, request) {
    exactly<AltDentifierEvent>()(event)
    exactly<unknown>()(request.body)
    exactly<0 | 1 | 2 | 3 | 4 | 5>()(event.OP)
    // @ts-expect-error a member of some events only
    exactly<unknown>()(event.reason)
    // @ts-expect-error a test event has no member
    exactly<unknown>()(event.member)
    if (event.OP === 4 && typeof event.incorrect_account === 'object') {
      exactly<string | null | undefined>()(event.incorrect_account?.id)
    }
    if (event.OP === 2) exactly<string | null | undefined>()(event.reason)
    // @ts-expect-error an event that passed has no reason
    if (event.OP === 1) exactly<unknown>()(event.reason)
    if (event.OP === 5) exactly<{ OP: 5 }>()(event)
    else exactly<string>()(event.member.id)
    // @ts-expect-error an event of an unknown kind does not reach the handler
    return event.OP === 6
  }
}))

valid('an Aghanim event', (app) => app.register(aghanimPlugin, {
  secret,
  async verifyPlayer (event, request) {
    exactly<PlayerVerifyEvent>()(event)
    exactly<unknown>()(request.body)
    exactly<'player.verify'>()(event.event_type)
    exactly<string>()(event.event_data.player_id)
    // @ts-expect-error a member that player.verify does not have
    exactly<unknown>()(event.event_data.steam_id)
    if (event.sandbox) throw deny({ statusCode: 403, code: undefined, message: 'not here' })
    return event.trigger === 'hub.login' ? { ...PLAYER, attributes: { level: 2, guild: 'any attribute' } } : null
  },
  handleEvent (event) {
    exactly<AghanimEvent>()(event)
    exactly<string>()(event.event_type)
    exactly<unknown>()(event.event_data['sku'])
    return event.sandbox ? { status: 'ok', transaction: 1 } : undefined
  }
}))

const { name: _, ...nameless } = PLAYER
const badLevel = { ...PLAYER, attributes: { level: '2' } }
const badPlatform = { ...PLAYER, attributes: { level: 2, platform: 'x' } }

const decimalLevel = { ...PLAYER, attributes: { level: { toNumber: () => 2 } } }
const bigLevel = { ...PLAYER, attributes: { level: 2n } }
const nullName = { ...PLAYER, name: null }

invalid(
  // @ts-expect-error a decimal of a database driver
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer: () => decimalLevel }),
  // @ts-expect-error a BigInt
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer: () => bigLevel }),
  // @ts-expect-error null for a required member
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer: () => nullName }),
  // @ts-expect-error no name
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer: () => nameless }),
  // @ts-expect-error no name, in a promise
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer: async () => nameless }),
  // @ts-expect-error a string for the level
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer: () => badLevel }),
  // @ts-expect-error an unknown platform
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer: () => badPlatform }),
  // @ts-expect-error a player without a name, with eventData
  (app) => app.register(aghanimPlugin, aghanimOptions({ secret, eventData: Login, verifyPlayer: () => nameless })),
  // @ts-expect-error true, which is not a player
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer: () => true }),
  // @ts-expect-error a denial whose status is not a number
  () => deny({ statusCode: '401' })
)

valid('literals in what a handler without parameters returns', (app) => app.register(aghanimPlugin, {
  secret,
  verifyPlayer: async () => ({ player_id: '1', name: '', attributes: { level: 1, platform: 'ios', guild: 'their own' } })
}))

valid('a schema for event_data that is more than the default', (app) => app.register(aghanimPlugin, {
  secret,
  eventData: Composite,
  verifyPlayer (event: PlayerVerifyEvent<typeof Composite>) {
    exactly<{ player_id: string, server: number }>()(event.event_data)
    return null
  }
}))

valid('a schema for event_data', (app) => app.register(aghanimPlugin, aghanimOptions({
  secret,
  eventData: Login,
  verifyPlayer (event, request) {
    exactly<PlayerVerifyEvent<typeof Login>>()(event)
    exactly<{ provider: 'steam', steam_id: string }>()(event.event_data)
    exactly<unknown>()(request.body)
    // @ts-expect-error a member that the schema replaced
    exactly<unknown>()(event.event_data.player_id)
    return null
  }
})))

valid('a schema for event_data that has several forms', (app) => app.register(aghanimPlugin, aghanimOptions({
  secret,
  eventData: Type.Union([Login, Type.Object({ provider: Type.Literal('email'), email: Type.String() })]),
  verifyPlayer ({ event_data: data }) {
    exactly<string>()(data.provider === 'email' ? data.email : data.steam_id)
    return null
  }
})))

invalid(
  // @ts-expect-error a misspelt option, with eventData
  (app) => app.register(aghanimPlugin, aghanimOptions({ secret, verifyPlayer, eventData: Login, tolerence: 300 })),
  // @ts-expect-error a misspelt eventData
  (app) => app.register(aghanimPlugin, aghanimOptions({ secret, verifyPlayer, eventdata: Login })),
  // @ts-expect-error no secret, with eventData
  (app) => app.register(aghanimPlugin, aghanimOptions({ verifyPlayer, eventData: Login })),
  // @ts-expect-error no handler, with eventData
  (app) => app.register(aghanimPlugin, aghanimOptions({ secret, eventData: Login })),
  // @ts-expect-error a schema without a player_id, and an untyped event
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer, eventData: Login }),
  (app) => app.register(aghanimPlugin,
    // @ts-expect-error a handler for other data
    aghanimOptions({ secret, verifyPlayer: (_event: PlayerVerifyEvent) => null, eventData: Login })),
  // @ts-expect-error not a TypeBox schema
  (app) => app.register(aghanimPlugin, aghanimOptions({ secret, verifyPlayer, eventData: z.object({}) })),
  (app) => app.register(identityValidationPlugin,
    // @ts-expect-error not a TypeBox schema
    identityValidationOptions({ apiKeys, handleSession, schemas: { sessions: z.object({}) } })),
  (app) => app.register(identityValidationPlugin,
    // @ts-expect-error a misspelt option, with schemas
    identityValidationOptions({ apiKeys, handleSession, schemas, tolerence: 300 })),
  (app) => app.register(identityValidationPlugin,
    // @ts-expect-error a misspelt member of schemas
    identityValidationOptions({ apiKeys, handleSession, schemas: { session: Session } }))
)

valid('identity validation without schemas', (app) => app.register(identityValidationPlugin, {
  apiKeys,
  handleSession (notification, request) {
    exactly<string | null | undefined>()(notification.session?.status)
    exactly<unknown>()(request.body)
  },
  handleRequiredFiles (notification) {
    exactly<string | null | undefined>()(notification.idempotency_key)
    exactly<unknown>()(notification.session)
  }
}))

valid('schemas for identity validation', (app) => {
  app.register(identityValidationPlugin, identityValidationOptions({
    prefix: '/both',
    apiKeys,
    schemas: { sessions: Session, requiredFiles: Files },
    handleSession (notification) {
      exactly<{ session: { id: string }, attempt: number }>()(notification)
      // @ts-expect-error a member that is not in the schema
      exactly<unknown>()(notification.session.status)
    },
    handleRequiredFiles: (notification) => exactly<{ files: string[] }>()(notification)
  }))
  app.register(identityValidationPlugin, identityValidationOptions({
    prefix: '/sessions',
    apiKeys,
    schemas: { sessions: Session },
    handleSession: (notification) => exactly<number>()(notification.attempt),
    handleRequiredFiles: (notification) => exactly<string | null | undefined>()(notification.event_id)
  }))
  app.register(identityValidationPlugin, identityValidationOptions({
    prefix: '/files',
    apiKeys,
    schemas: { requiredFiles: Files },
    handleRequiredFiles: (notification) => exactly<string[]>()(notification.files)
  }))
})

const humandetect: HumanDetectOptions = { apiKey: 'key', baseUrl: 'https://localhost' }
const tokens = { secret, identifier: 'a', human: true }
const result: HumanDetectResult = { valid: true, identifier: 'a', timestamp: '', checksum: 'a', version: 1 }

valid('a guarded route', async (app) => {
  await app.register(humandetectPlugin, { ...humandetect, timeout: undefined, reply: Login, handleResult: () => null })
  const { verify, requireHuman } = app.humandetect
  exactly<Promise<HumanDetectResult>>()(verify(issueToken(tokens), { identifier: 'a', onBot: 'flag' }).catch(() => openToken({
    secret, token: issueToken(tokens)
  })!))
  app.post<{ Body: { email: string } }>('/inferred', {
    preHandler: requireHuman({
      identifier: ({ body }) => exactly<string>()(body.email) ?? body.email,
      token: ({ body }) => exactly<string>()(body.email)
    })
  }, ({ humandetect }) => {
    exactly<HumanDetectResult | null>()(humandetect)
    exactly<boolean | undefined>()(humandetect?.valid)
  })
  app.route<{ Body: { email: string } }>({
    method: 'POST',
    url: '/route',
    preHandler: [requireHuman({ identifier: async ({ body }) => body.email })],
    handler: () => {}
  })
  app.post('/named', { preHandler: requireHuman<{ Body: { email: string } }>({ identifier: ({ body }) => body.email }) }, () => {})
  app.addHook('preHandler', requireHuman({ identifier: 'a' }))
  app.register(humandetectApiPlugin, { apiKeys: ['key'], verifyToken: (token) => openToken({ secret: [secret], token }) })
})

invalid(
  // @ts-expect-error no key
  (app) => app.register(humandetectPlugin, { baseUrl: 'https://localhost' }),
  // @ts-expect-error a list of keys
  (app) => app.register(humandetectPlugin, { ...humandetect, apiKey: ['key'] }),
  // @ts-expect-error an unknown option
  (app) => app.register(humandetectPlugin, { ...humandetect, baseURL: 'https://localhost' }),
  // @ts-expect-error a string for the timeout
  (app) => app.register(humandetectPlugin, { ...humandetect, timeout: '3s' }),
  // @ts-expect-error no identifier
  (app) => app.humandetect.requireHuman({}),
  // @ts-expect-error no identifier, in a direct call
  (app) => app.humandetect.verify('token'),
  // @ts-expect-error a number for an identifier
  (app) => app.humandetect.requireHuman({ identifier: () => 5 }),
  // @ts-expect-error an option that would admit bots
  (app) => app.humandetect.requireHuman({ identifier: 'a', onBot: 'allow' }),
  (app) => app.post<{ Body: { email?: string } }>('/host', {
    // @ts-expect-error an identifier that may be undefined
    preHandler: app.humandetect.requireHuman({ identifier: ({ body }) => body.email })
  }, () => {}),
  // @ts-expect-error a result that may be undefined
  (app) => app.get('/host', ({ humandetect }) => humandetect.valid),
  // @ts-expect-error a single key instead of a list
  (app) => app.register(humandetectApiPlugin, { apiKeys: 'key', verifyToken: () => null }),
  // @ts-expect-error no verifyToken
  (app) => app.register(humandetectApiPlugin, { apiKeys: ['key'] }),
  // @ts-expect-error an invalid verdict
  (app) => app.register(humandetectApiPlugin, { apiKeys: ['key'], verifyToken: () => true }),
  // @ts-expect-error another version
  (app) => app.register(humandetectApiPlugin, { apiKeys: ['key'], verifyToken: () => ({ ...result, version: 2 }) }),
  // @ts-expect-error no `human`
  () => issueToken({ secret, identifier: 'a' }),
  // @ts-expect-error several secrets, of which only one can issue
  () => issueToken({ ...tokens, secret: [secret] })
)

const wantsAghanim = (_event: AghanimEvent) => {}
const wantsAltDentifier = (_event: AltDentifierEvent) => {}

invalid((app) => app.post('/host', (request) => {
  // @ts-expect-error a body that was neither verified nor validated
  wantsAghanim(request.body)
  // @ts-expect-error a body that was neither verified nor validated
  wantsAltDentifier(request.body)
}))

interface ForeignOptions { size: number, label?: string }
const foreign: FastifyPluginAsync<ForeignOptions> = async () => {}
const foreignPicker: FastifyPluginAsync<{ pick: () => 'x' | 'y' }> = async () => {}
const foreignCallback: FastifyPluginCallback<ForeignOptions> = (_app, _options, done) => done()
interface Namesake { secret: number, verifyPlayer: string, eventData: typeof Login }
const foreignNamesake: FastifyPluginAsync<Namesake> = async () => {}

valid('a plugin of somebody else', (app) => {
  app.register(foreignPicker, { pick: () => 'x' })
  app.register(foreign, { size: 1, prefix: '/foreign' })
  app.register(foreignCallback, { size: 1, label: 'x' })
  app.register(foreignNamesake, { secret: 1, verifyPlayer: 'x', eventData: Login })
  app.register(async (scope, options) => {
    exactly<FastifyInstance>()(scope)
    exactly<{ prefix: string }>()(options)
  }, { prefix: '/inline' })
})

invalid(
  // @ts-expect-error a string for the size
  (app) => app.register(foreign, { size: '1' }),
  // @ts-expect-error no size
  (app) => app.register(foreign, { label: 'x' }),
  // @ts-expect-error an unknown option
  (app) => app.register(foreign, { size: 1, lable: 'x' }),
  // @ts-expect-error a string for the size
  (app) => app.register(foreignCallback, { size: '1' }),
  // @ts-expect-error Aghanim's options
  (app) => app.register(foreign, { secret, verifyPlayer, eventData: Login }),
  // @ts-expect-error Aghanim's options
  (app) => app.register(foreignNamesake, { secret, verifyPlayer, eventData: Login }),
  // @ts-expect-error identity validation's options
  (app) => app.register(foreign, { apiKeys, handleSession, schemas }),
  // @ts-expect-error an unknown option of the plugin
  (app) => app.register(async (_scope, _options: { size: number }) => {}, { size: 1, sise: 1 })
)

valid("a host with zod's type provider", (host) => {
  const app = host.withTypeProvider<ZodTypeProvider>()
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  app.register(altdentifierPlugin, { secret, handleEvent: (event) => exactly<AltDentifierEvent>()(event) })
  app.register(aghanimPlugin, aghanimOptions({
    secret,
    eventData: Login,
    verifyPlayer (event) {
      exactly<string>()(event.event_data.steam_id)
      return null
    }
  }))
  app.register(identityValidationPlugin, identityValidationOptions({
    apiKeys, schemas: { sessions: Session }, handleSession: ({ attempt }) => exactly<number>()(attempt)
  }))
  app.post('/host', { schema: { body: z.object({ n: z.number() }) } }, ({ body }) => exactly<number>()(body.n))
})

const store: DeliveryStore = {
  claim: (key, fingerprint, leaseMs) => ({ state: 'claimed', token: `${key} ${fingerprint} ${leaseMs}` }),
  complete: async (_key, _token, { statusCode }) => statusCode === 200,
  release: () => true
}

valid('a delivery store of one\'s own, in part synchronous, and one store for all plugins', async (app) => {
  app.register(altdentifierPlugin, { secret, handleEvent, deliveries: store, dedupe: 60, lease: 20_000 })
  const deliveries = memoryDeliveries({ maxEntries: 1000, ttl: 60 })
  app.register(aghanimPlugin, { secret, verifyPlayer, deliveries })
  app.register(identityValidationPlugin, { apiKeys, handleSession, deliveries, lease: undefined })
  await app.register(humandetectPlugin, { apiKey: 'key', baseUrl: 'https://localhost', deliveries })
})

invalid(
  // @ts-expect-error no store
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer, deliveries: {} }),
  // @ts-expect-error a store that cannot release claims
  (): DeliveryStore => ({ claim: store.claim, complete: store.complete }),
  // @ts-expect-error a claim without a token
  (): DeliveryStore => ({ ...store, claim: () => ({ state: 'claimed' }) }),
  // @ts-expect-error an option for AltDentifier, the only provider whose deliveries have no ids
  (app) => app.register(aghanimPlugin, { secret, verifyPlayer, dedupe: 60 }),
  // @ts-expect-error no client
  () => redisDeliveries({}),
  // @ts-expect-error a client that is not one
  () => redisDeliveries({ client: 'redis://localhost' }),
  // @ts-expect-error an unknown option
  () => memoryDeliveries({ max: 1000 })
)

t.test('a host of HTTP/2 compiles and starts', async (t) => {
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  app.register(altdentifierPlugin, { secret, handleEvent })
  app.register(aghanimPlugin, aghanimOptions({ secret, verifyPlayer, eventData: Login }))
  app.register(identityValidationPlugin, identityValidationOptions({ apiKeys, handleSession, schemas }))
  await app.register(humandetectPlugin, { apiKey: 'key-of-the-backend', baseUrl: 'https://localhost:1' })
  app.post<{ Body: { email: string } }>('/signup', {
    preHandler: [app.humandetect.requireHuman({ identifier: 'somebody' }), app.humandetect.requireHuman({
      identifier: (request: FastifyRequest<{ Body: { email: string } }, Http2Server>) => request.body.email
    })]
  }, async (request) => request.humandetect?.valid)
  await t.resolves(async () => { await app.ready() })
})

const Ping = Type.Object({ zen: Type.String() })
const Pong = Type.Object({ n: Type.Number() })
const mine = {
  name: 'mine',
  summary: 'Mine',
  headers: ['x-mac'],
  read: () => undefined,
  algorithm: 'sha256',
  secretEncoding: 'utf8',
  body: Ping
} as const

valid('a provider of one\'s own', (app) => {
  const plugin = createProvider({
    ...mine,
    headers: ['x-id', 'x-mac'],
    read (texts) {
      exactly<readonly [string, string]>()(texts)
      const [id, mac] = texts
      return { mac: [decodeHex(mac, 32)], prefix: id, timestamp: parseUnixSeconds(id), id }
    },
    reply: Pong,
    identify (event, { id, mac }) {
      exactly<{ zen: string }>()(event)
      exactly<string | undefined>()(id)
      return { id: [id ?? mac], content: event }
    }
  })
  app.register(plugin, {
    secret: [secret],
    path: '/x',
    handleEvent (event, request) {
      exactly<{ zen: string }>()(event)
      exactly<unknown>()(request.body)
      return { n: 1 }
    }
  })
  app.register(createProvider(mine), { prefix: '/any', secret: () => secret, handleEvent: ({ zen }) => zen })
})

invalid(
  // @ts-expect-error no secret
  (app) => app.register(createProvider(mine), { handleEvent }),
  // @ts-expect-error no handler
  (app) => app.register(createProvider(mine), { secret }),
  // @ts-expect-error a misspelt option
  (app) => app.register(createProvider(mine), { secret, handleEvent, tolerence: 300 }),
  // @ts-expect-error a member that is not in the schema
  (app) => app.register(createProvider(mine), { secret, handleEvent: (event) => event.more }),
  // @ts-expect-error a reply that does not match the schema
  (app) => app.register(createProvider({ ...mine, reply: Pong }), { secret, handleEvent: () => ({ n: '1' }) }),
  // @ts-expect-error no reply
  (app) => app.register(createProvider({ ...mine, reply: Pong }), { secret, handleEvent: async () => {} }),
  // @ts-expect-error no schema
  () => createProvider({ ...mine, body: undefined }),
  // @ts-expect-error not a TypeBox schema
  () => createProvider({ ...mine, body: z.object({}) }),
  // @ts-expect-error an unknown option
  () => createProvider({ ...mine, verify: false }),
  // @ts-expect-error an unknown algorithm
  () => createProvider({ ...mine, algorithm: 'none' }),
  // @ts-expect-error neither a timestamp nor null for its absence
  () => createProvider({ ...mine, read: ([mac]) => ({ mac: decodeHex(mac, 32), prefix: '' }) }),
  // @ts-expect-error a string for the MAC
  () => createProvider({ ...mine, read: ([mac]) => ({ mac, prefix: '', timestamp: null }) }),
  // @ts-expect-error a promise
  () => createProvider({ ...mine, read: async () => undefined }),
  // @ts-expect-error a header that `read` does not receive
  () => createProvider({ ...mine, read: ([, mac]) => ({ mac: decodeHex(mac, 32), prefix: '', timestamp: null }) }),
  // @ts-expect-error an id that may be undefined
  () => createProvider({ ...mine, identify: (_event, { id }) => ({ id: [id] }) })
)

valid('handlers and resolvers that name the types of their own route', (app) => {
  type Tenant = FastifyRequest<{ Params: { tenant: string } }>
  type Asked = FastifyRequest<{ Querystring: { server: string }, Headers: { 'x-server': string }, Body: AghanimEvent }>
  const resolver = ({ params }: Tenant) => params.tenant === '' ? null : secret
  const perTenant: SecretResolver = resolver
  app.register(altdentifierPlugin, {
    secret: resolver,
    handleEvent: (event: AltDentifierEvent, request: Tenant) => `${request.params.tenant} ${event.OP}`
  })
  app.register(aghanimPlugin, {
    secret: perTenant,
    async verifyPlayer (event, { params, log }: Tenant) {
      exactly<PlayerVerifyEvent>()(event)
      log.info(params.tenant)
      return null
    },
    handleEvent (event, { query, headers, body }: Asked) {
      exactly<AghanimEvent>()(event)
      return [query.server, headers['x-server'], body.event_id]
    }
  })
  app.register(aghanimPlugin, aghanimOptions({
    path: '/login',
    secret: async (request: Tenant) => request.params.tenant,
    eventData: Login,
    verifyPlayer (event, request: VerifiedRequest<{ Params: { tenant: string } }>) {
      exactly<{ provider: 'steam', steam_id: string }>()(event.event_data)
      const bytes: Buffer = request.rawBody
      exactly<string>()(request.params.tenant)
      return bytes.length > 0 ? null : undefined
    }
  }))
  app.register(identityValidationPlugin, {
    apiKeys: (keyId: string, { params }: Tenant) => params.tenant === keyId ? API_SECRET : null,
    handleSession: (_notification, { params }: Tenant) => params.tenant,
    handleRequiredFiles: (_notification, { params }: Tenant) => params.tenant
  })
  app.register(humandetectApiPlugin, {
    apiKeys: ['key'], verifyToken: (_token, { params }: Tenant) => params.tenant === '' ? null : result
  })
  app.register(createProvider(mine), {
    secret: resolver, handleEvent: ({ zen }, { params }: Tenant) => zen + params.tenant
  })
})

valid("the bytes in a handler, and no types for a request's own", (app) => app.register(altdentifierPlugin, {
  secret,
  handleEvent (event, request) {
    exactly<AltDentifierEvent>()(event)
    exactly<unknown>()(request.params)
    exactly<unknown>()(request.query)
    const bytes: Buffer = request.rawBody // fastify-raw-body, imported by other tests, adds a string
    return bytes.length
  }
}))

type Routed = FastifyRequest<{ Params: { tenant: string } }>

invalid(
  // @ts-expect-error a string for a request
  (app) => app.register(altdentifierPlugin, { secret, handleEvent: (_event, _request: string) => {} }),
  // @ts-expect-error an event with a member it does not have, with a typed request
  (app) => app.register(altdentifierPlugin, { secret, handleEvent (_event: { more: string }, _request: Routed) {} }),
  // @ts-expect-error an event with a member that is not in its schema
  (app) => app.register(createProvider(mine), { secret, handleEvent: (_event: { zen: string, more: string }) => {} }),
  // @ts-expect-error a request that has not been verified yet
  (app) => app.register(altdentifierPlugin, { secret: ({ rawBody }: VerifiedRequest) => String(rawBody), handleEvent }),
  // @ts-expect-error a secret that is a number, with a typed request
  (app) => app.register(altdentifierPlugin, { secret: (_request: Routed) => 1, handleEvent })
)
