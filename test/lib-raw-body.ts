import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { altdentifierPlugin, signAltdentifier } from '../plugins/index.js'
import { bodyArrives } from '../plugins/lib/raw-body.js'
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

t.test('whether a body is still on its way is told by its headers, or is not known without all of them', async (t) => {
  const LENGTH = { 'content-length': '5' }
  const CODING = { 'transfer-encoding': 'chunked' }
  const cases: [arrives: boolean, headers: object, count?: number, limit?: number | null, version?: number][] = [
    [false, {}], [false, { 'content-length': '0' }], [true, LENGTH], [true, CODING],
    [true, { ...CODING, 'content-length': '0' }], [true, {}, 1, null, 2],
    [false, {}, 999], [true, {}, 1000], [true, {}, 1001], [false, {}, 63, 64], [true, {}, 64, 64], [true, {}, 65, 64],
    [false, {}, 1000, 1001], [false, {}, 5000, 0], [true, LENGTH, 5000, 0]
  ]
  for (const [arrives, headers, count = 1, maxHeadersCount = null, httpVersionMajor = 1] of cases) {
    const rawHeaders = Array(count * 2).fill('x')
    const server = { server: { maxHeadersCount } }
    const request = { headers, raw: { httpVersionMajor, rawHeaders }, server } as object
    const what = JSON.stringify([headers, count, maxHeadersCount, httpVersionMajor])
    t.equal(bodyArrives(request as FastifyRequest), arrives, what)
  }
})

t.test('what stands for JSON as it is, in any case, is taken, and nothing else', async (t) => {
  const { app } = createHost(t)
  let handled = 0
  app.register(altdentifierPlugin, { secret: SECRET, handleEvent () { handled++ } })
  const send = async (more: Record<string, string>) => (await app.inject({
    method: 'POST', url: '/altdentifier', headers: { ...SIGNED, ...more }, payload: BODY
  })).statusCode
  for (const type of ['application/json', 'Application/JSON', 'APPLICATION/JSON;Charset="UTF-8"', 'application/json; v=1']) {
    t.equal(await send({ 'content-type': type }), 204, type)
  }
  for (const encoding of ['identity', 'Identity', 'IDENTITY']) {
    t.equal(await send({ 'content-encoding': encoding }), 204, encoding)
  }
  t.equal(handled, 7)
  for (const encoding of ['gzip', 'br', 'identity, identity', 'x', '']) {
    t.equal(await send({ 'content-encoding': encoding }), 415)
  }
  t.equal(await send({ 'content-type': 'application/json; charset=utf-16' }), 415)
  const bare = { digest: SIGNED.digest }
  const none = await app.inject({ method: 'POST', url: '/altdentifier', headers: bare })
  t.strictSame([none.statusCode, none.headers.connection], [403, 'keep-alive'], 'no body has no type')
  const typed = await app.inject({ method: 'POST', url: '/altdentifier', headers: { ...bare, 'content-type': 'text/plain' } })
  t.strictSame([typed.statusCode, typed.headers.connection], [415, 'close'], 'which ends the connection in any case')
  t.equal(handled, 7, 'nothing is handled of what is refused')
})
