import { createHash } from 'node:crypto'
import t from 'tap'
import { otherBodies } from '../plugins/lib/diagnosis/body.js'
import { say } from '../plugins/lib/diagnosis/mistakes.js'

const EVENT = { event_id: 'e/1', data: { name: 'Zoë "Z" O\'Neil', rule: 'a<b & c>d = 1+1', n: [1, 2.5], ok: true, no: null } }
const COMPACT = JSON.stringify(EVENT)

/** What is said where `signed` was signed and `arrived` arrived. */
function explain (arrived: string | Buffer, signed: string | Buffer): string | undefined {
  const wanted = Buffer.from(signed as string)
  for (const { value, mistakes } of otherBodies(Buffer.from(arrived as string))) {
    if (value.equals(wanted)) return mistakes.join(', and ')
  }
  return undefined
}

const said = (name: string, offset: number) => say('body', name, offset)

t.test('JSON that other programs write, in place of the compact text that arrived', async (t) => {
  const spaced = '{"event_id": "e/1", "data": {"name": "Zoë \\"Z\\" O\'Neil", "rule": "a<b & c>d = 1+1", "n": [1, 2.5], "ok": true, "no": null}}'
  const sorted = '{"data":{"n":[1,2.5],"name":"Zoë \\"Z\\" O\'Neil","no":null,"ok":true,"rule":"a<b & c>d = 1+1"},"event_id":"e/1"}'
  const space = 'JSON with a space after each comma and colon'
  const cases: [signed: string, name: string, offset: number][] = [
    [spaced, space, 12],
    [`${spaced}\n`, `${space}, and a line break at its end`, 12],
    [spaced.replace('ë', '\\u00eb'), `${space} with non-ASCII characters escaped`, 12],
    [COMPACT.replace('ë', '\\u00eb'), 'compact JSON with non-ASCII characters escaped', 36],
    [COMPACT.replace('/', '\\/'), 'compact JSON with "/" escaped', 14],
    [COMPACT.replace('/', '\\/').replace('ë', '\\u00eb'), 'compact JSON with "/" and non-ASCII characters escaped', 14],
    [COMPACT.replace('<', '\\u003c').replace('&', '\\u0026').replace('>', '\\u003e'), 'compact JSON with "<", ">" and "&" escaped', 62],
    [`${COMPACT.replace('<', '\\u003c').replace('&', '\\u0026').replace('>', '\\u003e')}\n`,
      'compact JSON with "<", ">" and "&" escaped, and a line break at its end', 62],
    [COMPACT.replace('<', '\\u003c').replace('&', '\\u0026').replace('>', '\\u003e').replace('\'', '\\u0027').replace('=', '\\u003d'),
      'compact JSON with "<", ">", "&", "=" and "\'" escaped', 46],
    [COMPACT.replace('<', '\\u003C').replace('&', '\\u0026').replace('>', '\\u003E').replace('\'', '\\u0027').replace('+', '\\u002B')
      .replace('ë', '\\u00EB').replaceAll('\\"', '\\u0022'), 'compact JSON with non-ASCII characters and "<", ">", "&", "+", "\'" escaped', 36],
    [JSON.stringify(EVENT, null, 2), 'JSON indented by 2 spaces', 1],
    [`${JSON.stringify(EVENT, null, 2)}\n`, 'JSON indented by 2 spaces, and a line break at its end', 1],
    [JSON.stringify(EVENT, null, 2).replaceAll('\n', '\r\n'), 'JSON indented by 2 spaces, in lines that end with CRLF', 1],
    [JSON.stringify(EVENT, null, 4).replace('/', '\\/').replace('ë', '\\u00eb'), 'JSON indented by 4 spaces with "/" and non-ASCII characters escaped', 1],
    [JSON.stringify(EVENT, null, '\t'), 'JSON indented by tabs', 1],
    [sorted, 'compact JSON with sorted keys', 2],
    [JSON.stringify(JSON.parse(sorted), null, 2), 'JSON indented by 2 spaces with sorted keys', 1],
    ['{\'event_id\': \'e/1\', \'data\': {\'name\': \'Zoë \\"Z\\" O\'Neil\', \'rule\': \'a<b & c>d = 1+1\', \'n\': [1, 2.5], \'ok\': True, \'no\': None}}',
      'what Python\'s str() makes of a dict', 1]
  ]
  for (const [signed, name, offset] of cases) t.equal(explain(COMPACT, signed), said(name, offset), name)
  t.equal(explain(spaced, COMPACT), said('compact JSON', 12), 'and the other way round')
  t.equal(explain('{"no":false}', '{\'no\': False}'), said('what Python\'s str() makes of a dict', 1))
})

t.test('bytes that were changed on the way, or before they were signed', async (t) => {
  const lines = '{\n"a": "ë"\n}'
  const decomposed = lines.normalize('NFD')
  const invalid = Buffer.from([...Buffer.from('{"a":"'), 0xff, ...Buffer.from('"}')])
  const cases: [arrived: string | Buffer, signed: string | Buffer, name: string, offset: number][] = [
    [lines, `${lines}\n`, 'the same with a line break at its end', 13],
    [lines, `${lines}\r\n`, 'the same with CRLF at its end', 13],
    [`${lines}\n`, lines, 'the same without white space around it', 13],
    [lines, lines.replaceAll('\n', '\r\n'), 'the same in lines that end with CRLF', 1],
    [lines.replaceAll('\n', '\r\n'), lines, 'the same in lines that end with LF', 1],
    [lines, lines.replaceAll('\n', ''), 'the same without line breaks', 1],
    [lines, `\uFEFF${lines}`, 'the same with a byte order mark', 0],
    ['\uFEFF{}', '{}', 'the same without its byte order mark', 0],
    [lines, Buffer.from(lines, 'latin1'), 'the same in Latin-1', 8],
    [lines, Buffer.from(lines, 'utf16le'), 'the same in UTF-16', 1],
    [lines, Buffer.from(lines).toString('latin1'), 'the same, read as Latin-1 and written in UTF-8', 9],
    [invalid, '{"a":"\uFFFD"}', 'the same with U+FFFD for what is no UTF-8', 6],
    [decomposed, lines, 'the same in composed Unicode (NFC)', 8],
    [lines, decomposed, 'the same in decomposed Unicode (NFD)', 8],
    [lines, Buffer.from(lines).toString('base64'), 'the same in base64', 0],
    [lines, JSON.stringify(lines), 'the same as a JSON string', 0],
    [lines, '[object Object]', 'the text "[object Object]"', 0],
    [lines, '{}', 'an empty object', 1]
  ]
  for (const [arrived, signed, name, offset] of cases) t.equal(explain(arrived, signed), said(name, offset), name)
})

t.test('each body is tried once, and never the one that arrived', async (t) => {
  for (const body of [COMPACT, '{}', '', 'no JSON', `${'{"a":['.repeat(40)}1${']}'.repeat(40)}`]) {
    const texts = [...otherBodies(Buffer.from(body))].map(({ value }) => value.toString('latin1'))
    t.equal(new Set(texts).size, texts.length)
    t.notOk(texts.includes(Buffer.from(body).toString('latin1')))
    t.ok(texts.length > 3)
  }
})

t.test('what is no JSON, or too much of it once indented, is not written anew', async (t) => {
  const digest = (body: string) => {
    const all = createHash('sha256')
    let count = 0
    for (const { value } of otherBodies(Buffer.from(body))) {
      all.update(value)
      count++
    }
    return count
  }
  const plain = digest('no JSON')
  t.ok(digest('["JSON"]') > plain)
  const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`
  t.equal(digest(deep(400)), plain, 'too deep')
  t.ok(digest(deep(300)) > plain)
  t.equal(digest(`[[${'1,'.repeat(131_070)}1]]`), plain, 'too long')
  t.ok(digest(`[${'1,'.repeat(1000)}1]`) > plain)
})
