import type { FastifyInstance } from 'fastify'
import { createHmac } from 'node:crypto'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import {
  aghanimPlugin, altdentifierPlugin, createProvider, decodeHex, identityValidationPlugin, memoryDeliveries, signAghanim,
  signAltdentifier, signIdentityValidation, type WebhookOptions
} from '../../plugins/index.js'
import { API_KEY, GUILD, MEMBER, NOW, now, PLAYER, SESSIONS } from '../support/deliveries.js'
import { createHost } from '../support/host.js'
import { BARE_SESSION, ITEM, outcomeOf, SESSION, VERIFY } from '../support/life-cycle.js'
import { standardWebhooksPlugin } from '../support/own-providers/standard-webhooks.js'
import { createTable } from '../support/table.js'

const OLD = 'the old secret, of thirty-two by'
const NEW = 'the new secret, of thirty-two by'
const base64 = (text: string) => Buffer.from(text).toString('base64')
const hmac = (secret: string, text: string, encoding: 'hex' | 'base64') =>
  createHmac('sha256', secret).update(text).digest(encoding)

type Headers = Record<string, string>

/** Kind of delivery whose sender rotates its secret. */
interface Kind {
  readonly name: string
  readonly path: string
  readonly register: (
    app: FastifyInstance, secrets: string[], options: WebhookOptions, handle: (event: unknown) => void
  ) => void
  readonly event: (id: string) => object
  /** Signs with one secret; senders that overlap their secrets during a rotation sign with the old and the new one. */
  readonly sign: (body: string, secrets: string[], id: string) => Headers
  /** Returns other headers with which a captured delivery is authentic, too. */
  readonly vary?: (headers: Headers) => Headers[]
}

const severalPlugin = createProvider({
  name: 'several',
  summary: 'Something happened at a sender that signs nothing but bodies, with all of its secrets',
  headers: ['x-signatures'],
  read: ([texts]) => ({ mac: texts.split(' ').map((text) => decodeHex(text, 32)), prefix: '', timestamp: null }),
  algorithm: 'sha256',
  secretEncoding: 'utf8',
  body: Type.Object({ id: Type.String() })
})

const withOne = (name: string) => (headers: Headers): Headers[] =>
  headers[name]!.split(' ').map((signature) => ({ ...headers, [name]: signature }))
const session = (name: string, event: Kind['event'], more: Pick<Kind, 'register' | 'vary'>): Kind => ({
  name,
  path: SESSIONS,
  event,
  sign: (body, secrets) => signIdentityValidation({
    apiKey: API_KEY, secret: base64(secrets.at(-1)!), endpoint: SESSIONS, body, timestamp: NOW
  }),
  ...more
})

const KINDS: readonly Kind[] = [
  ...[VERIFY, ITEM].map(({ name, event }): Kind => ({
    name,
    path: '/aghanim',
    register (app, secret, options, handle) {
      const verifyPlayer = (event: unknown) => { handle(event); return PLAYER }
      app.register(aghanimPlugin, { ...options, secret, verifyPlayer, handleEvent: handle })
    },
    event,
    sign: (body, secrets) => signAghanim({ secret: secrets.at(-1)!, body, timestamp: NOW })
  })),
  {
    name: 'an AltDentifier event, with dedupe',
    path: '/altdentifier',
    register (app, secret, options, handleEvent) {
      app.register(altdentifierPlugin, { ...options, secret: async () => secret, dedupe: 3600, handleEvent })
    },
    event: (id) => ({ OP: 1, member: MEMBER, guild: GUILD, method: id }),
    sign: (body, secrets) => signAltdentifier({ secret: secrets.at(-1)!, body })
  },
  session('a session of an api-key that is configured', SESSION.event, {
    register (app, secrets, options, handleSession) {
      app.register(identityValidationPlugin, { ...options, apiKeys: { [API_KEY]: secrets.map(base64) }, handleSession })
    }
  }),
  session('a session without a key, of an api-key that is found in any case', BARE_SESSION.event, {
    register (app, secrets, options, handleSession) {
      const apiKeys = (id: string) => id.toLowerCase() === API_KEY.toLowerCase() ? secrets.map(base64) : undefined
      app.register(identityValidationPlugin, { ...options, apiKeys, handleSession })
    },
    vary: (headers) => [API_KEY.toUpperCase(), API_KEY.toLowerCase()].map((id) => ({ ...headers, 'x-api-key': id }))
  }),
  {
    name: 'Standard Webhooks',
    path: '/standard-webhooks',
    register (app, secrets, options, handleEvent) {
      const secret = secrets.map((text) => `whsec_${base64(text)}`)
      app.register(standardWebhooksPlugin, { ...options, secret, handleEvent })
    },
    event: (id) => ({ type: 'passed', data: { id } }),
    sign: (body, secrets, id) => ({
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': `${NOW}`,
      'webhook-signature': secrets.map((secret) => `v1,${hmac(secret, `${id}.${NOW}.${body}`, 'base64')}`).join(' ')
    }),
    vary: withOne('webhook-signature')
  },
  {
    name: 'a provider with several signatures and no id',
    path: '/several',
    register (app, secret, options, handleEvent) { app.register(severalPlugin, { ...options, secret, handleEvent }) },
    event: (id) => ({ id }),
    sign: (body, secrets) => ({
      'content-type': 'application/json', 'x-signatures': secrets.map((secret) => hmac(secret, body, 'hex')).join(' ')
    }),
    vary: withOne('x-signatures')
  }
]

/** Steps of a rotation: secrets of the first server, of the second server, and of the sender. */
const STEPS: readonly [first: string[], second: string[], sender: string[]][] = [
  [[OLD], [OLD], [OLD]],
  [[OLD, NEW], [OLD], [OLD]], // docs/several-instances.md, step 1, on one server and then on both
  [[OLD, NEW], [OLD, NEW], [OLD]],
  [[OLD, NEW], [NEW, OLD], [OLD]], // in another order
  [[OLD, NEW], [OLD, NEW], [OLD, NEW]], // step 2
  [[NEW], [OLD, NEW], [NEW]], // step 4
  [[NEW], [NEW], [NEW]]
]
const DELIVERIES = 21 // per kind and step

t.test('a secret is rotated on one server after the other, and 1,029 captured deliveries are each handled once', async (t) => {
  for (const kind of KINDS) {
    const { wrong, same } = createTable()
    const deliveries = memoryDeliveries()
    const handled = new Map<string, number>()
    const captured: { body: string, headers: Headers, outcome: string }[] = []
    for (const [index, [first, second, sender]] of STEPS.entries()) {
      const servers = [first, second].map((secrets) => {
        const { app } = createHost(t)
        kind.register(app, secrets, { deliveries, now }, (event) => {
          const key = JSON.stringify(event)
          handled.set(key, (handled.get(key) ?? 0) + 1)
        })
        return async (body: string, headers: Headers) =>
          outcomeOf(await app.inject({ method: 'POST', url: kind.path, headers, payload: body }))
      })
      for (let count = 0; count < DELIVERIES; count++) {
        const id = `${index}-${count}`
        const body = JSON.stringify(kind.event(id))
        const headers = kind.sign(body, sender, id)
        const outcome = await servers[count % 2]!(body, headers)
        same(`step ${index}, ${id}`, [/^20[04]$/.test(outcome), outcome], [true, outcome])
        captured.push({ body, headers, outcome })
      }
      for (const { body, headers, outcome } of captured) {
        for (const copy of [headers, ...kind.vary?.(headers) ?? []]) {
          for (const [server, send] of servers.entries()) {
            const again = await send(body, copy)
            if (again === '403 FORBIDDEN' || again === `${outcome} replayed`) continue
            same(`step ${index}, server ${server}, ${body}`, again, `${outcome} replayed`)
          }
        }
      }
    }
    t.strictSame(wrong, [], kind.name)
    t.strictSame([...handled.values()], Array(STEPS.length * DELIVERIES).fill(1), `${kind.name}: handled once each`)
  }
})

t.test('while a delivery with several signatures is handled, its copies with one of them wait', async (t) => {
  const kind = KINDS.at(-1)!
  const { app } = createHost(t)
  let finish: (() => void) | undefined
  let failing = true
  app.register(severalPlugin, {
    secret: [OLD, NEW],
    async handleEvent () {
      await new Promise<void>((resolve) => { finish = resolve })
      if (failing) throw new Error('not this time')
    }
  })
  const body = JSON.stringify({ id: 'x' })
  const both = kind.sign(body, [OLD, NEW], 'x')
  const send = async (headers: Headers) => outcomeOf(await app.inject({ method: 'POST', url: kind.path, headers, payload: body }))
  for (const outcome of ['500 HANDLER_FAILED', '204']) {
    const first = send(both)
    for (const copy of [both, ...kind.vary!(both)]) t.equal(await send(copy), '503 IN_PROGRESS retry')
    finish!()
    t.equal(await first, outcome)
    failing = false
  }
  for (const copy of [both, ...kind.vary!(both)]) t.equal(await send(copy), '204 replayed')
})

t.test('a claim under one secret is released if the claim under the next one is not granted, or the store fails', async (t) => {
  const kind = KINDS.at(-1)!
  for (const [second, outcome] of [
    [async () => ({ state: 'running' }), '503 IN_PROGRESS retry'],
    [async () => { throw new Error('away') }, '503 STORE_UNAVAILABLE retry']
  ] as const) {
    for (const release of [async () => true, async () => { throw new Error('away') }]) {
      const verbs: string[] = []
      const { app } = createHost(t)
      app.register(severalPlugin, {
        secret: [OLD, NEW],
        handleEvent () { verbs.push('handle') },
        deliveries: {
          claim: (key) => {
            verbs.push(`claim ${key}`)
            return verbs.length === 1 ? { state: 'claimed', token: 'the first' } : second() as never
          },
          complete: () => true,
          release (key, token) {
            verbs.push(`release ${key} ${token}`)
            return release()
          }
        }
      })
      const body = JSON.stringify({ id: 'x' })
      const headers = kind.sign(body, [OLD], 'x')
      t.equal(outcomeOf(await app.inject({ method: 'POST', url: kind.path, headers, payload: body })), outcome)
      t.equal(verbs.length, 3)
      t.equal(verbs[2], `${verbs[0]!.replace('claim', 'release')} the first`)
      t.not(verbs[1], verbs[0])
    }
  }
})
