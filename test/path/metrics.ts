import { channel } from 'node:diagnostics_channel'
import { Counter, Registry, register } from 'prom-client'
import t from 'tap'
import { collectMetrics } from '../../plugins/metrics.js'
import { tableOf } from '../support/docs.js'
import { read } from '../support/project.js'
import { VERIFY, createReceiver } from '../support/life-cycle.js'
import { countsOf } from '../support/watch.js'

const NAMES = [
  'fastify_verification_deliveries_total', 'fastify_verification_secret_matches_total',
  'fastify_verification_delivery_duration_seconds', 'fastify_verification_store_duration_seconds'
]
const CHANNELS = ['fastify-verification:delivery', 'fastify-verification:store']

t.test('metrics are kept in the chosen registry, until they are stopped', async (t) => {
  for (const [options, registry] of [[undefined, register], [{ registry: new Registry() }, undefined]] as const) {
    const kept = registry ?? options!.registry
    const { deliver, post, events } = createReceiver(t, VERIFY)
    await deliver('before')
    const stop = collectMetrics(options)
    await deliver('a')
    await deliver('a')
    t.strictSame(await countsOf(kept, 'fastify_verification_deliveries_total'), [
      'provider=aghanim,outcome=accepted,reason=handled: 1', 'provider=aghanim,outcome=duplicate,reason=replayed: 1'
    ])
    t.strictSame(await countsOf(kept, 'fastify_verification_secret_matches_total'), ['provider=aghanim,secret=0: 2'])
    const text = await kept.metrics()
    t.match(text, /fastify_verification_delivery_duration_seconds_count\{provider="aghanim",outcome="accepted"\} 1\n/)
    for (const name of NAMES) t.match(text, new RegExp(`# HELP ${name} [A-Z]`))
    t.equal((await post('{}', { 'content-type': 'application/json' })).statusCode, 403)
    t.equal(events.length, 2, 'the one from before, and a')
    t.strictSame(await countsOf(kept, 'fastify_verification_secret_matches_total'), ['provider=aghanim,secret=0: 2'])
    t.ok(CHANNELS.every((name) => channel(name).hasSubscribers))
    stop()
    t.notOk(CHANNELS.some((name) => channel(name).hasSubscribers), 'so that deliveries cost no more than without')
    t.equal((await kept.metrics()).includes('fastify_verification'), false)
    collectMetrics(options)() // can be started again
  }
})

t.test('docs/diagnostics.md lists each metric and its labels', async (t) => {
  const page = read('docs/diagnostics.md')
  const registry = new Registry()
  t.teardown(collectMetrics({ registry }))
  const made = registry.getMetricsAsArray().map((metric) => {
    const { name, labelNames } = metric as unknown as { name: string, labelNames: string[] }
    return [name, labelNames.join(', ')]
  })
  t.strictSame(tableOf(page, '## Metrics'), made)
})

t.test('durations are in seconds', async (t) => {
  const registry = new Registry()
  t.teardown(collectMetrics({ registry }))
  const { deliver } = createReceiver(t, VERIFY, async () => {
    await new Promise((resolve) => setTimeout(resolve, 30))
    return VERIFY.good
  })
  await deliver()
  const text = await registry.metrics()
  const bounds = [...text.matchAll(/delivery_duration_seconds_bucket\{le="([^"]+)"/g)].map(([, bound]) => bound)
  t.equal(bounds.join(), '0.001,0.0025,0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10,30,+Inf', 'a millisecond to a time-out')
  const sumOf = (name: string) => Number(new RegExp(`${name}_seconds_sum\\{.*\\} (.*)`).exec(text)?.[1])
  const took = sumOf('fastify_verification_delivery_duration')
  t.ok(took >= 0.028 && took < 5, `${took} s`)
  const store = sumOf('fastify_verification_store_duration')
  t.ok(store > 0 && store < 0.5, `${store} s`)
})

t.test('a registry that was cleared can be used again, and counts once', async (t) => {
  const registry = new Registry()
  const { deliver } = createReceiver(t, VERIFY)
  const stops = [collectMetrics({ registry })]
  for (const [index, empty] of [
    () => registry.clear(), () => registry.removeSingleMetric(NAMES[3]!), () => registry.clear()
  ].entries()) {
    empty()
    await deliver(`nowhere ${index}`)
    stops.push(collectMetrics({ registry }))
    t.throws(() => collectMetrics({ registry }), { message: 'collectMetrics: option "registry" is in use' })
    await deliver(`counted ${index}`)
    t.strictSame(await countsOf(registry, NAMES[0]!), ['provider=aghanim,outcome=accepted,reason=handled: 1'])
  }
  for (const stop of stops.slice(0, -1)) stop()
  await deliver('once more')
  t.strictSame(await countsOf(registry, NAMES[0]!), ['provider=aghanim,outcome=accepted,reason=handled: 2'],
    'stopping an older collection does not affect the new one')
  stops.at(-1)!()
  t.notOk(CHANNELS.some((name) => channel(name).hasSubscribers))
  t.equal(await registry.metrics(), '\n')
})

t.test('a metric name that is in use is an error that names it, and changes nothing', async (t) => {
  for (const name of NAMES) {
    const registry = new Registry()
    const counter = new Counter({ name, help: 'of the host', registers: [registry] })
    t.throws(() => collectMetrics({ registry }), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: `collectMetrics: option "registry" already has a metric named "${name}"`
    })
    t.equal(registry.getSingleMetric(name), counter as never)
    t.equal(registry.getMetricsAsArray().length, 1)
    t.notOk(CHANNELS.some((name) => channel(name).hasSubscribers))
    registry.clear()
    collectMetrics({ registry })()
  }
})

t.test('an invalid registry, or one in use, is an error', async (t) => {
  const registry = new Registry()
  const stop = collectMetrics({ registry })
  const none = 'option "registry" must be a prom-client Registry'
  const wrong = [
    [{ registry }, 'option "registry" is in use'], [{ registry: {} }, none], [{ registry: null }, none],
    [{ register }, 'option "register" is not known']
  ] as const
  for (const [options, problem] of wrong) {
    t.throws(() => collectMetrics(options as object), {
      code: 'FST_VERIFICATION_INVALID_OPTION', message: `collectMetrics: ${problem}`
    })
  }
  stop()
  collectMetrics({ registry })()
})
