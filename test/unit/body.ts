import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { altdentifierPlugin, signAltdentifier } from '../../plugins/index.js'
import { announcesBody, parseForm, parseJsonObject } from '../../plugins/lib/body.js'
import { SECRET } from '../support/deliveries.js'
import { createHost } from '../support/host.js'
import { quiet } from '../support/quiet.js'
import { cpuTime } from '../support/waiting.js'

const BODY = '{"OP":5}'
const SIGNED = signAltdentifier({ secret: SECRET, body: BODY })

/** Creates a server on which both Fastify and the plugin read the header. */
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

t.test('a hostile content type of 16 KiB is refused quickly', quiet(async (t) => {
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
}))

t.test('a long content type that is JSON is read quickly', async (t) => {
  const send = await createServer(t)
  await send('application/json')
  for (const part of [';a=b', '; a=b ', ';a="b;c"', ';a="\\""', ';charset=utf-8']) {
    const type = `application/json${part.repeat(1600)}`
    const { statusCode, ms } = await send(type)
    t.equal(statusCode, 204, JSON.stringify(type.slice(0, 40)))
    t.ok(ms < 200, `${ms} ms: ${JSON.stringify(type.slice(0, 40))}`)
  }
})

t.test('the headers show if a body may still be on its way; without all of them it is unknown', async (t) => {
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
    t.equal(announcesBody(request as FastifyRequest), arrives, what)
  }
})

t.test('the content type of JSON is accepted in any case, and no other', async (t) => {
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
  t.equal(handled, 7, 'no refused request is handled')
})

const bytes = (...parts: (string | number)[]) =>
  Buffer.concat(parts.map((part) => typeof part === 'string' ? Buffer.from(part) : Buffer.of(part)))

t.test('an object is parsed as by JSON.parse', async (t) => {
  const texts = [
    '{}', ' \t\r\n{ "a" : 1e0 }\r\n', '{"a":{"b":[1,-0.5e-3,"\\u00e9\\n",true,false,null,{}]}}', '{"é":"😀 \u{10ffff}"}',
    '{"":""}', '{"\\ud800":"a lone surrogate, escaped"}', '{"a":"\ufeff"}', '{"a":"\\u0000"}', '{"a":1,"a":2}',
    '{"OP":1,"\\u004fP":2}', '{"length":1,"then":2,"toJSON":3,"toString":4,"hasOwnProperty":5,"valueOf":6}'
  ]
  for (const text of texts) t.strictSame(parseJsonObject(Buffer.from(text)), JSON.parse(text), text)
})

t.test('JSON without an object at its root is refused', async (t) => {
  for (const text of ['[]', '[{}]', 'null', 'true', 'false', '0', '2', '-1.5', '"x"', '"{}"', '""', '', ' ', '\n']) {
    t.equal(parseJsonObject(Buffer.from(text)), undefined, JSON.stringify(text))
  }
})

t.test('invalid JSON is refused', async (t) => {
  const texts = [
    '{', '}', '{}}', '{}{}', '{} {}', '{},', '{}\0', '{}x', '{"a":1}garbage', '\0{}', '{"a":1,}', '{,}', '{"a"}', '{a:1}',
    "{'a':1}", '{"a":01}', '{"a":+1}', '{"a":.5}', '{"a":5.}', '{"a":0x1}', '{"a":1_000}', '{"a":1n}',
    '{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":undefined}', '{"a":True}',
    '{} // comment', '/* comment */ {}', '{/**/}', '{}#', '<!-- {} -->', '{"a":"\n"}', '{"a":"\t"}', '{"a":"\\x41"}',
    '{"a":"\\u12"}', '{"a":"\\', '{"a":"', '\u00a0{}', '{}\u2028', '\u200b{}', '\v{}', ')]}\',\n{}', 'a=1&b=2', '({})',
    'OP=1', '--boundary'
  ]
  for (const text of texts) t.equal(parseJsonObject(Buffer.from(text)), undefined, encodeURI(text))
})

t.test('a byte order mark, or another encoding than UTF-8, is refused', async (t) => {
  const swapped = Buffer.from('{"a":1}', 'utf16le').swap16()
  const wrong: [string, Buffer][] = [
    ['UTF-8 with a mark', bytes(0xef, 0xbb, 0xbf, '{}')],
    ['a mark twice', bytes(0xef, 0xbb, 0xbf, 0xef, 0xbb, 0xbf, '{}')],
    ['a mark after white space', bytes(' ', 0xef, 0xbb, 0xbf, '{}')],
    ['a mark at the end', bytes('{}', 0xef, 0xbb, 0xbf)],
    ['a mark and nothing else', bytes(0xef, 0xbb, 0xbf)],
    ['UTF-16, little-endian', Buffer.from('{"a":1}', 'utf16le')],
    ['UTF-16, big-endian', swapped],
    ['UTF-16 with a mark', Buffer.concat([Buffer.of(0xff, 0xfe), Buffer.from('{}', 'utf16le')])],
    ['UTF-16 with the other mark', Buffer.concat([Buffer.of(0xfe, 0xff), swapped])],
    ['UTF-32 with a mark', bytes(0xff, 0xfe, 0, 0, '{', 0, 0, 0, '}', 0, 0, 0)],
    ['Latin-1', Buffer.from('{"a":"é"}', 'latin1')]
  ]
  for (const [what, body] of wrong) t.equal(parseJsonObject(body), undefined, what)
})

const INVALID_UTF8: [what: string, ...sequence: number[]][] = [
  ['0xff', 0xff], ['0xfe', 0xfe], ['a continuation alone', 0x80], ['the last continuation alone', 0xbf],
  ['a lead of two alone', 0xc3], ['a lead of three cut', 0xe2, 0x82], ['a lead of four cut', 0xf0, 0x9f, 0x98],
  ['a lead and a letter', 0xc3, 0x41], ['overlong slash in two', 0xc0, 0xaf], ['overlong NUL in two', 0xc0, 0x80],
  ['overlong DEL in two', 0xc1, 0xbf], ['overlong slash in three', 0xe0, 0x80, 0xaf],
  ['overlong in three', 0xe0, 0x9f, 0xbf], ['overlong slash in four', 0xf0, 0x80, 0x80, 0xaf],
  ['overlong in four', 0xf0, 0x8f, 0xbf, 0xbf], ['a high surrogate', 0xed, 0xa0, 0x80],
  ['a low surrogate', 0xed, 0xbf, 0xbf], ['a pair of surrogates (CESU-8)', 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
  ['beyond U+10FFFF', 0xf4, 0x90, 0x80, 0x80], ['a lead beyond all', 0xf5, 0x80, 0x80, 0x80],
  ['five bytes', 0xf8, 0x88, 0x80, 0x80, 0x80], ['six bytes', 0xfc, 0x84, 0x80, 0x80, 0x80, 0x80]
]

t.test('invalid UTF-8 is refused, at any position', quiet(async (t) => {
  for (const [what, ...sequence] of INVALID_UTF8) {
    t.equal(parseJsonObject(bytes('{"a":"', ...sequence, '"}')), undefined, `${what}, in a string`)
    t.equal(parseJsonObject(bytes('{"', ...sequence, '":1}')), undefined, `${what}, in a name`)
    t.equal(parseJsonObject(bytes('{}', ...sequence)), undefined, `${what}, at the end`)
    t.equal(parseJsonObject(bytes(...sequence, '{}')), undefined, `${what}, at the start`)
  }
  t.strictSame(parseJsonObject(bytes('{"a":"', 0xef, 0xbf, 0xbd, '"}')), { a: '\ufffd' }, 'U+FFFD itself is valid')
  for (const [text, ...sequence] of [
    ['\u0080', 0xc2, 0x80], ['\u0800', 0xe0, 0xa0, 0x80], ['\ud7ff', 0xed, 0x9f, 0xbf], ['\ue000', 0xee, 0x80, 0x80],
    ['\u{10000}', 0xf0, 0x90, 0x80, 0x80], ['\u{10ffff}', 0xf4, 0x8f, 0xbf, 0xbf]
  ] as const) t.strictSame(parseJsonObject(bytes('{"a":"', ...sequence, '"}')), { a: text }, 'and so are the limits')
}))

t.test('no key reaches a prototype', async (t) => {
  const poisonous = [
    '{"__proto__":{"admin":true}}', '{"\\u005f_proto__":{}}', '{"__proto\\u005F\\u005f":{}}', '{"__pr\\u006fto__":{}}',
    '{"\\u005f\\u005f\\u0070\\u0072\\u006f\\u0074\\u006f\\u005f\\u005f":1}', '{"__proto__":null}', '{"__proto__":1}',
    '{"__proto__" \r\n\t: {}}', '{"a":{"__proto__":{}}}', '{"a":[[{"b":{"__proto__":{}}}]]}',
    '{"__proto__":1,"__proto__":{}}', '{"constructor":{"prototype":{}}}', '{"constructor":{"prototype":1}}',
    '{"constructor":{"a":1,"prototype":null}}', '{"a":[{"constructor":{"prototype":{"admin":true}}}]}',
    '{"c\\u006fnstructor":{"pr\\u006ftotype":{}}}', '{"\\u0063onstructor" : {"\\u0070rototype":{}}}'
  ]
  for (const text of poisonous) {
    t.doesNotThrow(() => JSON.parse(text), 'JSON.parse accepts it')
    t.equal(parseJsonObject(Buffer.from(text)), undefined, text)
  }
  t.equal(Object.hasOwn(Object.prototype, 'admin'), false)
})

t.test('names and values that only look dangerous are accepted', async (t) => {
  const harmless = [
    '{"constructor":"Ferrari"}', '{"constructor":null}', '{"constructor":["prototype"]}', '{"constructor":{}}',
    '{"constructor":{"name":"x"}}', '{"prototype":{}}', '{"prototype":{"constructor":{}}}', '{"a":"__proto__"}',
    '{"a":"\\"__proto__\\": {}"}', '{"__proto":1,"proto__":2,"__PROTO__":3}', '{"a":["__proto__","constructor"]}',
    '{"constructor":{"constructor":{"a":1}}}'
  ]
  for (const text of harmless) t.equal(JSON.stringify(parseJsonObject(Buffer.from(text))), text)
})

t.test('nesting 500,000 levels deep neither ends the process nor takes long', async (t) => {
  const deep = (open: string, inner: string, close: string) =>
    Buffer.from(`{"a":${open.repeat(500_000)}${inner}${close.repeat(500_000)}}`)
  const bodies: [string, Buffer, 'object' | 'undefined'][] = [
    ['arrays', deep('[', '', ']'), 'object'],
    ['objects', deep('{"a":', '1', '}'), 'object'],
    ['both', deep('[{"a":', '1', '}]'), 'object'],
    ['arrays left open', Buffer.from(`{"a":${'['.repeat(500_000)}`), 'undefined'],
    ['objects left open', Buffer.from('{"a":'.repeat(500_000)), 'undefined'],
    ['__proto__ at the bottom', deep('[', '{"__proto__":1}', ']'), 'undefined'],
    ['constructor.prototype at the bottom', deep('{"a":', '{"constructor":{"prototype":1}}', '}'), 'undefined'],
    ['a plain constructor at the bottom', deep('{"a":', '{"constructor":1}', '}'), 'object']
  ]
  for (const [what, body, expected] of bodies) {
    const start = cpuTime()
    t.equal(typeof parseJsonObject(body), expected, what)
    t.ok(cpuTime() - start < 2000, `${what}: in time`)
  }
})

t.test('the longest body of strings that could slow down the check for poisonous names', async (t) => {
  for (const part of ['"__proto__"', '"__proto__" ', '"constructor"', '\\u005f', '"_', ' ', '"__proto__"\\n']) {
    const inner = part.repeat(262_144 / part.length)
    for (const text of [`{"a":${JSON.stringify(inner)}}`, `{"a":[${inner}]}`, `{${inner}}`]) {
      const start = cpuTime()
      parseJsonObject(Buffer.from(text))
      t.ok(cpuTime() - start < 1000, JSON.stringify(text.slice(0, 20)))
    }
  }
})

t.test('a form is parsed quickly, whatever repeats in it', async (t) => {
  for (const part of ['a=&', 'a&', '&', '%41=%42&', '+=+&', 'a=1&b=2&']) {
    const body = Buffer.from(part.repeat(262_144 / part.length))
    const start = cpuTime()
    t.equal(typeof parseForm(body), 'object', part)
    t.ok(cpuTime() - start < 1000, part)
  }
  t.strictSame({ ...parseForm(Buffer.from('a=1&b=x%2By+z&a=2&a=3')) }, { a: ['1', '2', '3'], b: 'x+y z' })
})
