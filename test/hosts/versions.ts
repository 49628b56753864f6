import t from 'tap'
import { createKit, lacksRegistry } from '../support/kit.js'

t.setTimeout(280_000)

t.test('every plugin works on the oldest supported Fastify, and on that of NestJS 11', { skip: lacksRegistry }, async (t) => {
  const { run } = await createKit(t, 'versions')
  await Promise.all([['5.0.0', 'fastify'], ['5.11.3', 'fastify-5.11.3']].map(async ([version, name]) => {
    const { stdout } = await run('node', 'host.mjs', name!)
    t.strictSame(JSON.parse(stdout), {
      version,
      statuses: {
        altdentifier: [204, 403, 415],
        aghanim: [200, 403, 415],
        'identity-validation': [204, 403, 415],
        humandetect: [200, 403, 403]
      },
      handled: ['altdentifier', 'aghanim', 'identity-validation']
    }, `Fastify ${version}`)
  }))
  const refused = await run('node', 'host.mjs', 'fastify-4').then(() => '', ({ stderr }) => stderr)
  t.match(refused,
    /fastify-verification-altdentifier - expected '>=5\.0\.0 <6' fastify version, '4\.29\.1' is installed/,
    'an older one is refused at the start')
})
