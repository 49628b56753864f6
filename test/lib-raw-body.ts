import t from 'tap'
import { altdentifierPlugin, signAltdentifier } from '../plugins/index.js'
import { SECRET } from './fixtures/deliveries.js'
import { createHost } from './fixtures/host.js'
import { cpuTime } from './fixtures/waiting.js'

const BODY = '{"OP":5}'
const SIGNED = signAltdentifier({ secret: SECRET, body: BODY })

/** Fastify and the plugin have both to read the header. */
async function createServer (test: Pick<typeof t, 'teardown'>) {
  const { app } = createHost(test, { logger: false })
  app.register(altdentifierPlugin, { secret: SECRET, handleEvent () {} })
  await app.ready()
  return async (type: string) => {
    const headers = { ...SIGNED, 'content-type': type }
    const start = cpuTime()
    const { statusCode } = await app.inject({ method: 'POST', url: '/altdentifier', headers, payload: BODY })
    return { statusCode, ms: cpuTime() - start }
  }
}

const fill = (part: string) => part.repeat(Math.ceil(16_384 / part.length)).slice(0, 16_384)

t.test('a hostile content type of 16 KiB is refused in no time', async (t) => {
  const send = await createServer(t)
  await send('application/json')
  for (const part of [
    'a', ' ', '\t', ';', '; ', ' ;', ';\t', '=', ';a', ';a=', ';a=b', '; a=b ', ';a="', ';a="b"', ';a="\\', ';a="\\"',
    ';charset=utf-8', ';charset=', 'charset=utf-8', ';a=b;charset=utf-16', ';a="b;', 'application/json',
    'application/json;', ',', ', application/json', '"', '\\', '/', '!', 'é'
  ]) {
    for (const before of ['', 'application/json', 'application/json;', 'application/json; a="', 'application/json;a=']) {
      const type = `${before}${fill(part)}\u0001`
      const { statusCode, ms } = await send(type)
      t.equal(statusCode, 415, JSON.stringify(type.slice(0, 40)))
      t.ok(ms < 200, `${ms} ms: ${JSON.stringify(type.slice(0, 40))}`)
    }
  }
})

t.test('a long content type that says JSON all the same is read in no time', async (t) => {
  const send = await createServer(t)
  await send('application/json')
  for (const part of [';a=b', '; a=b ', ';a="b;c"', ';a="\\""', ';charset=utf-8']) {
    const type = `application/json${part.repeat(1600)}`
    const { statusCode, ms } = await send(type)
    t.equal(statusCode, 204, JSON.stringify(type.slice(0, 40)))
    t.ok(ms < 200, `${ms} ms: ${JSON.stringify(type.slice(0, 40))}`)
  }
})
