import { once } from 'node:events'
import { Agent, request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import { PLAYER } from '../support/deliveries.js'
import { createHost, listen, portOf, rawRequest } from '../support/host.js'
import { MEMBER_EVENT, VERIFY, type Keyed } from '../support/life-cycle.js'
import { gateOf, until } from '../support/waiting.js'

/** Returns the raw HTTP request of a `player.verify`. */
function wireForm (id: string): Buffer {
  const body = JSON.stringify(VERIFY.event(id))
  const headers = Object.entries(VERIFY.provider.sign(body))
  return rawRequest('/aghanim', [...headers, ['content-length', String(body.length)]], body)
}

t.test('close() lets 200 deliveries on kept-alive sockets end, and accepts none after them', async (t) => {
  const { app } = createHost(t, { logger: false })
  const gate = gateOf<undefined>()
  let begun = 0
  const handle = async () => {
    begun++
    await gate.promise
    return PLAYER
  }
  VERIFY.provider.register(app, [], { verifyPlayer: handle } as object)
  MEMBER_EVENT.provider.register(app, [], { handleEvent: handle, dedupe: 60 } as object)
  await listen(app)
  const port = portOf(app)
  const agent = new Agent({ keepAlive: true, maxSockets: 200 })
  t.teardown(() => agent.destroy())
  const post = async ({ event, provider: { url, sign } }: Keyed, id: string) => {
    const body = JSON.stringify(event(id))
    const request = httpRequest({ port, host: '127.0.0.1', agent, method: 'POST', path: url, headers: sign(body) })
    request.end(body)
    const [response] = await once(request, 'response')
    response.resume()
    await once(response, 'end')
    return response.statusCode as number
  }
  // Uses all sockets first, for deliveries that are refused.
  const unsigned = () => ({ 'content-type': 'application/json' })
  const forged: Keyed = { ...VERIFY, provider: { ...VERIFY.provider, sign: unsigned } }
  const refused = await Promise.all(Array.from({ length: 200 }, () => post(forged, 'x')))
  t.strictSame(new Set(refused), new Set([403]))

  const idle = connect(port, '127.0.0.1')
  idle.on('error', () => {})
  idle.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await once(idle, 'data')

  // Opens one more, which has sent the beginning of the next request when the first one is answered.
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.on('data', (chunk) => { text += chunk })
  socket.on('error', () => {})
  socket.write(wireForm('in time'))

  const kinds = [VERIFY, MEMBER_EVENT]
  const replies = Promise.all(Array.from({ length: 200 }, (_, index) => post(kinds[index % 2]!, `id-${index}`)))
  await until(() => begun === 201)
  const start = performance.now()
  const closed = app.close().then(() => performance.now() - start)
  await new Promise((resolve) => setTimeout(resolve, 100))
  const tooLate = wireForm('too late')
  socket.write(tooLate)
  idle.write(tooLate)
  const fresh = connect(port, '127.0.0.1')
  t.match((await once(fresh, 'error'))[0], { code: 'ECONNREFUSED' }, 'no other delivery is accepted')
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(begun, 201)
  gate.resolve(undefined)

  const statuses = await replies
  t.strictSame(statuses, statuses.map((_, index) => index % 2 === 0 ? 200 : 204))
  t.ok(await closed < 1300, 'close() does not wait for kept-alive clients')
  if (!socket.closed) await once(socket, 'close')
  t.ok(idle.closed, 'a socket that waits for its next request is closed')
  t.match(text.match(/HTTP\/1\.1 \d+/g)?.join(), /^HTTP\/1\.1 200(,HTTP\/1\.1 503)?$/)
  t.equal(begun, 201, 'and none was handled')
})
