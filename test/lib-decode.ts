import t from 'tap'
import { decodeBase64, decodeHex } from '../plugins/lib/decode.js'
import { cpuTime } from './fixtures/waiting.js'

const BYTES = Buffer.from(Array.from({ length: 32 }, (_, index) => 0xff - index * 7))
const HEX = BYTES.toString('hex')

t.test('hex is taken in either case', async (t) => {
  for (const text of [HEX, HEX.toUpperCase(), HEX.slice(0, 32) + HEX.slice(32).toUpperCase()]) {
    t.same(decodeHex(text, 32), BYTES, text)
  }
  t.same(decodeHex('00', 1), Buffer.of(0))
  t.same(decodeHex('fF', 1), Buffer.of(255))
})

t.test('hex of another length is none', async (t) => {
  for (let length = 0; length <= HEX.length * 2; length++) {
    if (length !== 64) t.equal(decodeHex((HEX + HEX).slice(0, length), 32), undefined, `${length} digits`)
  }
  t.equal(decodeHex('', 0), undefined, 'nothing is never a MAC')
})

t.test('hex with anything else in it is none, though Buffer.from would stop there or skip it', async (t) => {
  const malformed = [
    `${HEX}zz`, `${HEX}0`, `${HEX}\0`, `${HEX}\n`, `${HEX} `, ` ${HEX}`, `\n${HEX}`, `${HEX}${HEX}`, `${HEX}, ${HEX}`,
    `0x${HEX}`, `0x${HEX.slice(2)}`, `${HEX.slice(0, 62)}zz`, `${HEX.slice(0, 63)}g`, `${HEX.slice(0, 63)} `,
    `${HEX.slice(0, 63)}\n`, `${HEX.slice(0, 63)}\0`, ` ${HEX.slice(1)}`, `${HEX.slice(0, 30)}  ${HEX.slice(32)}`,
    `${HEX.slice(0, 30)}:-${HEX.slice(32)}`, `+${HEX.slice(1)}`, `-${HEX.slice(1)}`, '', ' ', 'é'.repeat(64),
    'é'.repeat(32), '😀'.repeat(32), '１'.repeat(64), 'z'.repeat(64), 'null', 'undefined', '[object Object]'
  ]
  for (const text of malformed) t.equal(decodeHex(text, 32), undefined, JSON.stringify(text))
})

t.test('canonical base64 of every length', async (t) => {
  for (let length = 0; length <= 32; length++) {
    const bytes = BYTES.subarray(0, length)
    const text = bytes.toString('base64')
    t.same(decodeBase64(text), bytes, text)
    t.same(decodeBase64(text, length), bytes)
    t.equal(decodeBase64(text, length + 1), undefined, 'a byte short')
    t.equal(decodeBase64(text, length - 1), undefined, 'a byte long')
  }
  t.same(decodeBase64('+/+/'), Buffer.from('+/+/', 'base64'))
})

t.test('base64 that is not canonical is none, though Buffer.from would decode it', async (t) => {
  const malformed = [
    'aGVsbG9=', 'aGVsbG+=', 'AB==', 'AAB=', // spare bits
    'aGVsbG8', 'aGVsbG8==', 'aGVsbG8===', 'AA=', 'AA', 'A===', 'A', '=', '==', '====', '=AAA', 'A=AA', 'AA=A', // padding
    'aGVsbG8 =', ' aGVsbG8=', 'aGVsbG8= ', 'aGVs bG8=', 'aGVs\nbG8=', 'aGVsbG8=\n', 'aGVs\r\nbG8=', 'aGVs\tbG8=',
    'aGVs!bG8=', 'aGVsbG8!', 'aGVsb*8=', 'aGVsbG8=\0', 'aGVs\0bG8=', // what is skipped
    'aGVsbG8=aGVsbG8=', 'aGVsbG8=AAAA', 'aGVsbG8=x', 'aGVsbG8=, aGVsbG8=', // what follows
    '-_-_', '-/+/', '+_+/', 'aGVsb-8=', // the url-safe alphabet
    'aGVsbG８=', 'éééé', '😀😀', ' ', '\n', '"aGVsbG8="', 'data:;base64,aGVsbG8='
  ]
  for (const text of malformed) {
    t.equal(decodeBase64(text), undefined, JSON.stringify(text))
    t.equal(decodeBase64(text, 5), undefined, JSON.stringify(text))
  }
  const lenient = Buffer.from('hello')
  t.ok(malformed.filter((text) => Buffer.from(text, 'base64').equals(lenient)).length > 15, 'Buffer.from is lenient')
})

t.test('every other last character of a padded text is refused', async (t) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  const taken = (before: string, after: string) =>
    [...alphabet].filter((last) => decodeBase64(before + last + after) !== undefined).join('')
  t.equal(taken('A', '=='), 'AQgw')
  t.equal(taken('AA', '='), 'AEIMQUYcgkosw048')
  t.equal(taken('AAA', ''), alphabet)
})

t.test('16 KiB of anything is decoded or refused in no time', async (t) => {
  const hostile = ['A', '=', 'a0', '+/', 'AAA=', 'AA==', ' ', '\n', 'é', '0', 'f']
    .flatMap((part) => ['', '!', '='].map((end) => part.repeat(16_384 / part.length) + end))
  for (const text of hostile) {
    const start = cpuTime()
    decodeBase64(text)
    decodeHex(text, text.length / 2)
    t.ok(cpuTime() - start < 200, JSON.stringify(text.slice(0, 8)))
  }
})
