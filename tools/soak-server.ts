import Fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import { aghanimPlugin, altdentifierPlugin, identityValidationPlugin, memoryDeliveries } from '../plugins/index.js'
import { API_KEY, API_SECRET, SECRET } from '../test/support/deliveries.js'
import type { Reading, SoakOptions } from './soak.js'

// Server of `npm run soak`, in a separate process, so that its memory can be measured alone.

const { maxEntries, tolerance, futureTolerance } = JSON.parse(process.argv[2]!) as SoakOptions
let handled = 0
let unhandled = 0
process.on('unhandledRejection', () => { unhandled++ })
process.on('uncaughtException', () => { unhandled++ })

const options = { tolerance, futureTolerance, deliveries: memoryDeliveries({ maxEntries }) }
const app = Fastify()
app.register(altdentifierPlugin, { secret: SECRET, handleEvent () { handled++ } })
app.register(aghanimPlugin, {
  ...options,
  secret: SECRET,
  verifyPlayer ({ event_data: { player_id: player } }) {
    handled++
    return { player_id: player, name: 'Beebee-Ate', attributes: { level: 2 } }
  }
})
app.register(identityValidationPlugin, {
  ...options, apiKeys: { [API_KEY]: API_SECRET }, handleSession () { handled++ }
})

process.on('message', () => {
  process.send!({ rss: process.memoryUsage.rss(), handled, unhandled } satisfies Reading)
})
process.on('disconnect', () => process.exit())
await app.listen({ port: 0, host: '127.0.0.1' })
process.send!((app.server.address() as AddressInfo).port)
