import Fastify from 'fastify'
import * as crypto from 'node:crypto'
import { inspect } from 'node:util'
import t from 'tap'
import { SECRET } from './fixtures/deliveries.js'

t.test('a platform without MD5 is found out at the start', async (t) => {
  const mac = await t.mockImport<typeof import('../plugins/lib/mac.js')>('../plugins/lib/mac.js', {
    'node:crypto': {
      ...crypto,
      createHmac (algorithm: string, key: crypto.BinaryLike) {
        if (algorithm === 'md5') throw new Error('digital envelope routines::unsupported canary')
        return crypto.createHmac(algorithm, key)
      }
    }
  })
  const { altdentifierPlugin } = await t.mockImport<typeof import('../plugins/altdentifier.js')>(
    '../plugins/altdentifier.js', { '../plugins/lib/mac.js': mac })
  const app = Fastify()
  t.teardown(() => app.close())
  app.register(altdentifierPlugin, { secret: SECRET, handleEvent () {} })
  const error = await app.ready().then(() => undefined, (reason: unknown) => reason)
  t.match(error, {
    code: 'FST_VERIFICATION_ALGORITHM_UNAVAILABLE',
    message: /^altdentifierPlugin: this platform has no HMAC with md5$/
  })
  t.notMatch(inspect(error, { depth: 9 }), /canary/)
})
