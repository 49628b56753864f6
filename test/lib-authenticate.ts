import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { createAuthenticate, type PresentedMac } from '../plugins/lib/authenticate.js'
import { deriveKeys, type NamedKey } from '../plugins/lib/secrets.js'
import { SECRET } from './fixtures/deliveries.js'
import { cpuTime } from './fixtures/waiting.js'

const KEYS = deriveKeys(SECRET, { plugin: 'somePlugin', option: 'secret', algorithm: 'sha256', encoding: 'utf8' })
const PRESENTED: PresentedMac = { ok: true, macs: [Buffer.alloc(32)], prefix: '', keyId: 'k' }
const REQUEST = { raw: { rawHeaders: [] } } as unknown as FastifyRequest
const LONG = Buffer.alloc(2 ** 25)

t.test('whose key is not known costs as much work as whose MAC is wrong', async (t) => {
  const cost = async (keys: readonly NamedKey[] | undefined, reason: string) => {
    for (const keysFor of [() => keys, async () => keys]) {
      const authenticate = createAuthenticate({ algorithm: 'sha256', read: () => PRESENTED, keysFor })
      const start = cpuTime()
      t.match(await authenticate(REQUEST, LONG), { ok: false, reason })
      times.push(cpuTime() - start)
    }
  }
  const times: number[] = []
  await cost(KEYS, 'mismatch')
  await cost(undefined, 'unknown_key')
  const [known, unknown] = [Math.min(...times.slice(0, 2)), Math.min(...times.slice(2))]
  t.ok(unknown > known / 3, `${times.map(Math.round).join(', ')} ms`)
})
