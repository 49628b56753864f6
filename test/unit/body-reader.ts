import { PassThrough, Readable } from 'node:stream'
import t from 'tap'
import { readBody } from '../../plugins/lib/body.js'
import { quiet } from '../support/quiet.js'

interface Read { readonly error: any, readonly body: Buffer | undefined, readonly bytes: number }

function read (payload: Readable, { limit = 65_536, length = NaN, keeps = true } = {}): Promise<Read> {
  return new Promise((resolve) => readBody(payload, { limit, length, keeps }, (error, body, bytes) => {
    resolve({ error, body, bytes })
  }))
}

const piecesOf = (bytes: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size))
const counting = (length: number) => Buffer.from(Array.from({ length }, (_, index) => index % 251))

t.test('a body is kept byte for byte, in chunks of any size', quiet(async (t) => {
  for (const total of [0, 1, 63, 64, 2047, 2048, 4095, 4096, 4097, 20_000, 65_536]) {
    const bytes = counting(total)
    for (const size of [64, 100, 2047, 2048, 4096, 5000, 65_536]) {
      for (const length of [NaN, total]) {
        const { error, body, bytes: count } = await read(Readable.from(piecesOf(bytes, size)), { length })
        t.equal(error, null)
        t.ok(body!.equals(bytes), `${total} in pieces of ${size}`)
        t.equal(count, total)
      }
    }
  }
  const mixed = [
    ...piecesOf(counting(900), 1), counting(3000), ...piecesOf(counting(50), 7), counting(9000), counting(1)
  ]
  t.ok((await read(Readable.from(mixed))).body!.equals(Buffer.concat(mixed)))
  t.equal((await read(Readable.from(['é', Buffer.from('x')]))).body!.toString(), 'éx', 'strings, from a stream of a hook')
}))

t.test('a body that is not a stream ends with an error, which is not thrown', async (t) => {
  for (const payload of [null, undefined, {}, 'text', Buffer.from('{}')]) {
    t.type((await read(payload as never)).error, TypeError)
  }
})

t.test('the kept body is a copy', async (t) => {
  const two = [Buffer.from('two'), Buffer.from('pieces')]
  for (const pieces of [[Buffer.from('one piece')], [Buffer.alloc(5000, 'a')], two]) {
    const expected = Buffer.concat(pieces).toString()
    for (const length of [NaN, expected.length]) {
      const { body } = await read(Readable.from(pieces), { length })
      for (const piece of pieces) {
        const [first] = piece
        piece[0] = 0
        t.equal(body!.toString(), expected)
        piece[0] = first!
      }
    }
  }
})

t.test('a body that is not kept is counted and limited like any other', async (t) => {
  const pieces = () => Readable.from(piecesOf(counting(1000), 100))
  t.strictSame(await read(pieces(), { keeps: false }), { error: null, body: undefined, bytes: 1000 })
  t.equal((await read(pieces(), { keeps: false, limit: 999 })).error.statusCode, 413)
  t.equal((await read(pieces(), { keeps: false, length: 999 })).error.statusCode, 400)
})

t.test("a body that is too long, or not as long as announced, is an error like Fastify's", async (t) => {
  const payload = () => Readable.from(piecesOf(counting(1000), 100))
  const long = { code: 'FST_ERR_CTP_BODY_TOO_LARGE', statusCode: 413 }
  const unread = new PassThrough()
  t.match(await read(unread, { limit: 10, length: 11 }), { error: long, bytes: 0 }, 'before a byte is read')
  t.equal(unread.listenerCount('data'), 0)
  t.match(await read(payload(), { limit: 999 }), { error: long, bytes: 1000 })
  t.match(await read(payload(), { limit: 1000 }), { error: null })
  for (const length of [0, 999, 1001]) {
    t.match(await read(payload(), { length }), { error: { code: 'FST_ERR_CTP_INVALID_CONTENT_LENGTH', statusCode: 400 } })
  }
  const { error } = await read(payload(), { limit: 150 })
  t.equal(error.message, 'Request body is too large')
})

t.test('a body in many chunks of a few bytes is ended', async (t) => {
  const pieces = (count: number, size: number) => Readable.from(Array(count).fill(Buffer.alloc(size)))
  for (const keeps of [true, false]) {
    t.equal((await read(pieces(1000, 1), { keeps })).error, null)
    t.match(await read(pieces(1001, 1), { keeps }), { error: { statusCode: 400 }, bytes: 1001 })
    t.match(await read(pieces(60_000, 1), { keeps }), { error: { statusCode: 400 }, bytes: 1001 })
    t.match(await read(pieces(1001, 63), { keeps }), { error: { statusCode: 400 } })
    t.equal((await read(pieces(1020, 64), { keeps })).error, null)
  }
})

t.test('a stream that fails gives its own error, and all listeners are removed', async (t) => {
  for (const [error, statusCode] of [
    [new Error('x'), 400], [Object.assign(new Error('x'), { statusCode: 408 }), 408],
    [Object.assign(new Error('x'), { statusCode: 200 }), 400], [Object.assign(new Error('x'), { statusCode: '408' }), 400]
  ] as const) {
    const payload = new PassThrough()
    payload.on('error', () => {})
    const reading = read(payload)
    payload.write('abc')
    setImmediate(() => payload.destroy(error))
    const result = await reading
    t.equal(result.error, error)
    t.equal(result.error.statusCode, statusCode)
    t.strictSame(['data', 'end', 'error'].map((name) => payload.listenerCount(name)), [0, 0, 1])
  }
})
