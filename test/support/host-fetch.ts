import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'

// A host that uses Node's fetch after the plugins are loaded and after one is registered. Prints the results.

const dispatcher = () => (globalThis as Record<symbol, object | undefined>)[Symbol.for('undici.globalDispatcher.1')]
const before = dispatcher()
const { humandetectPlugin } = await import('../../plugins/index.js')
const loaded = dispatcher()

const app = Fastify()
await app.register(humandetectPlugin, { apiKey: 'a-key', baseUrl: 'https://localhost' })
const server = createServer((request, response) => request.resume().on('end', () => response.end('ok')))
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const { port } = server.address() as AddressInfo
const reply = await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body: 'abc', headers: { 'content-length': '3' } })
console.log(JSON.stringify({ untouched: before === loaded, status: reply.status, text: await reply.text() }))
server.close()
await app.close()
