import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import { createHmac } from 'node:crypto'
import { inspect } from 'node:util'
import type { Test } from 'tap'
import { createProvider, decodeHex } from '../../../plugins/provider.js'
import { now } from '../deliveries.js'
import { createHost } from '../host.js'
import { GITHUB_PROVIDER } from './index.js'

const READER = {
  headers: ['x-mac'],
  read: ([text]: readonly string[]) => ({ mac: decodeHex(text!, 32), prefix: '', timestamp: null }),
  algorithm: 'sha256',
  secretEncoding: 'utf8'
}

/** Defines a provider whose header is a MAC in hex, with changes. */
export function define (changes: object = {}) {
  return createProvider({
    name: 'mine',
    summary: 'Mine',
    ...('scheme' in changes ? {} : READER),
    body: Type.Object({}),
    ...changes
  } as never) as unknown as FastifyPluginAsync<Record<string, unknown>>
}

export const SECRET = GITHUB_PROVIDER.secrets[0]
export const macOf = (text: string) => createHmac('sha256', SECRET).update(text, 'latin1').digest()

export function createOwn (t: Test, definition: object = {}, options: object = {}) {
  const { app, lines } = createHost(t)
  const events: unknown[] = []
  const handleEvent = (event: unknown) => { events.push(event) }
  app.register(define(definition), { secret: SECRET, now, handleEvent, ...options })
  const deliver = (payload = '{}', signed = payload, type = 'application/json') => app.inject({
    method: 'POST',
    url: '/mine',
    headers: { 'content-type': type, 'x-mac': macOf(signed).toString('hex') },
    payload: Buffer.from(payload, 'latin1')
  })
  return { app, lines, events, deliver }
}

/** Returns the error that a call throws, or that `ready()` rejects with. */
export async function refusal (t: Test, definition: object, options?: object): Promise<unknown> {
  try {
    const plugin = define(definition)
    if (options === undefined) return undefined
    const { app } = createHost(t)
    app.register(plugin, { secret: SECRET, handleEvent () {}, ...options })
    await app.ready()
    return undefined
  } catch (error) {
    return error
  }
}

export function refuses (t: Test, error: unknown, message: string, what: string): void {
  const { code, message: said } = Object(error)
  t.strictSame([code, said], ['FST_VERIFICATION_INVALID_OPTION', message], what)
  t.notMatch(inspect(error, { depth: 9, showHidden: true }), 'canary', what)
}
