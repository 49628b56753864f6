import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { bodyOf, FORBIDDEN, PROVIDERS } from '../support/deliveries.js'
import { createHost, exchange, rawRequest, statusOf } from '../support/host.js'
import { createOwn } from '../support/own-providers/mine.js'
import { watch } from '../support/watch.js'

const chunks = (body: string, size: number): string => {
  const pieces = body.match(new RegExp(`.{1,${size}}`, 'gs')) ?? []
  return `${pieces.map((piece) => `${Buffer.byteLength(piece).toString(16)}\r\n${piece}\r\n`).join('')}0\r\n\r\n`
}

for (const provider of PROVIDERS) {
  const { name, register, url, sign, success } = provider

  t.test(`${name}: a body that its headers refuse is not kept, and the answer is the same`, async (t) => {
    const { app } = createHost(t)
    const { reports } = watch(t)
    const kept: (number | undefined)[] = []
    app.addHook('onSend', async ({ rawBody }: FastifyRequest) => { kept.push(rawBody?.length) })
    const calls: unknown[] = []
    register(app, calls, { bodyLimit: 20_000, bodyTimeout: 200 })
    const body = bodyOf(provider)
    const signed = Object.entries(sign(body))
    const bad = signed.map(([header, text]): [string, string] => [header, header === 'content-type' ? text : '?'])
    const length: [string, string] = ['content-length', String(body.length)]
    const answers: string[] = []
    let handled = 0
    const refused = [[[...signed.slice(0, 1), length], undefined], [[...bad, length], undefined], [bad, 7]] as const
    for (const [headers, size] of refused) {
      const coding: [string, string][] = size === undefined ? [] : [['transfer-encoding', 'chunked']]
      const sent = rawRequest(url, [...headers, ...coding], size === undefined ? body : chunks(body, size))
      const good = rawRequest(url, [...signed, length, ['connection', 'close']], body)
      const { text } = await exchange(app, [sent, good])
      const [first = '', second = ''] = text.split(/(?=HTTP\/1\.1 \d)/)
      answers.push(first.replace(/date: .*\r\n/i, ''))
      t.match(first, FORBIDDEN)
      t.equal(statusOf(second), success, 'the connection stays open')
      t.strictSame(kept.splice(0), [undefined, body.length])
      const told = reports.splice(0)
      t.strictSame(told.map(({ bytes }) => bytes), [body.length, body.length])
      t.equal(told[0]!.outcome, 'rejected')
      handled += told.filter(({ reason }) => reason === 'handled').length
    }
    const forged = rawRequest(url, [...signed, length, ['connection', 'close']], body.replace(/.$/s, ' '))
    const mismatch = (await exchange(app, [forged])).text.replace(/date: .*\r\n/i, '')
    t.equal(new Set(answers).size, 1)
    t.equal(answers[0]!.replace(/connection: keep-alive\r\nkeep-alive: .*\r\n/i, ''), mismatch.replace(/connection: close\r\n/i, ''))

    for (const headers of [signed, bad]) {
      const endless = rawRequest(url, [...headers, ['transfer-encoding', 'chunked']], chunks('x'.repeat(20_001), 1000))
      t.equal(statusOf((await exchange(app, [endless])).text), 413, 'the first deliveries are answered first')
      const slow = rawRequest(url, [...headers, ['content-length', '9']], '{')
      t.equal(statusOf((await exchange(app, [slow])).text), 408)
    }
    t.ok(handled > 0)
    t.equal(calls.length, handled, 'the handler ran for the good ones only')
  })

  t.test(`${name}: a body in chunks of one byte is ended, and other chunks are joined`, async (t) => {
    const { app, lines } = createHost(t)
    const calls: unknown[] = []
    register(app, calls)
    const body = `${bodyOf(provider)}${' '.repeat(3000)}`
    const send = async (size: number) => {
      const headers: [string, string][] = [...Object.entries(sign(body)), ['transfer-encoding', 'chunked'], ['connection', 'close']]
      return exchange(app, [rawRequest(url, headers, chunks(body, size))])
    }
    for (const size of [4, 64, 999, 4000]) t.equal(statusOf((await send(size)).text), success)
    const handled = calls.length
    t.ok(handled > 0)
    const { text, closed } = await send(1)
    t.equal(calls.length, handled, 'no handler ran')
    t.equal(statusOf(text), 400)
    t.ok(closed)
    t.match(lines.findLast(({ msg }) => msg === 'delivery rejected'), { reason: 'bad_request', statusCode: 400 })
  })
}

t.test('a reader that throws is called once more when the delivery is verified, and answered with 500', async (t) => {
  let reads = 0
  const { deliver } = createOwn(t, { read () { reads++; throw new Error('x') } })
  t.equal((await deliver()).json().code, 'FST_VERIFICATION_FAILED')
  t.equal(reads, 2)
})

t.test('with diagnose the body is kept, since it is searched', async (t) => {
  const [, aghanim] = PROVIDERS
  const { app, lines } = createHost(t)
  let kept: number | undefined
  app.addHook('onSend', async ({ rawBody }: FastifyRequest) => { kept = rawBody?.length })
  aghanim!.register(app, [], { diagnose: true })
  const body = bodyOf(aghanim!)
  const headers = { ...aghanim!.sign(body), 'x-aghanim-signature': 'x' }
  t.equal((await app.inject({ method: 'POST', url: aghanim!.url, headers, payload: body })).statusCode, 403)
  t.equal(kept, Buffer.byteLength(body))
  t.ok(lines.find(({ msg }) => msg === 'delivery rejected')!['diagnosis'])
})
