import Fastify from 'fastify'
import { humandetectPlugin } from '../../plugins/humandetect.js'

// A program that verifies one token, prints the result and closes.

const [baseUrl, apiKey, token, identifier] = process.argv.slice(2) as [string, string, string, string]
const app = Fastify()
await app.register(humandetectPlugin, { apiKey, baseUrl, timeout: 5000 })
await app.humandetect.verify(token, { identifier }).then(() => console.log('OK'), ({ code }) => console.log(code))
await app.close()
