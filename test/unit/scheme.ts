import { createHmac } from 'node:crypto'
import t from 'tap'
import { compileScheme, list, type SignatureScheme } from '../../plugins/lib/signature/scheme.js'
import { quiet } from '../support/quiet.js'

const KEY = Buffer.from('a secret of at least 24 bytes')
const BODY = '{"a":1}'
const VALUES = { timestamp: '1790000000', id: 'msg_1', keyId: 'key-1', endpoint: '/hooks?a=1' }

interface Sender {
  scheme: SignatureScheme
  message: string
  headers: (hex: string, base64: string) => Record<string, string>
}

/** Schemes of companies whose documentation is public: the message each signs and the headers it sends. */
const SENDERS: Record<string, Sender> = {
  GitHub: {
    scheme: { algorithm: 'hmac-sha256', headers: { 'x-hub-signature-256': 'sha256={hex}' }, signed: '{body}' },
    message: BODY,
    headers: (hex) => ({ 'x-hub-signature-256': `sha256=${hex}` })
  },
  Stripe: {
    scheme: {
      algorithm: 'hmac-sha256',
      headers: { 'stripe-signature': list(',', 't={timestamp}', 'v1={hex}') },
      signed: '{timestamp}.{body}'
    },
    message: `1790000000.${BODY}`,
    headers: (hex) => ({ 'stripe-signature': `t=1790000000,v1=${hex}` })
  },
  'Standard Webhooks': {
    scheme: {
      algorithm: 'hmac-sha256',
      headers: {
        'webhook-id': '{id}', 'webhook-timestamp': '{timestamp}', 'webhook-signature': list(' ', 'v1,{base64}')
      },
      signed: '{id}.{timestamp}.{body}'
    },
    message: `msg_1.1790000000.${BODY}`,
    headers: (_hex, base64) => ({
      'webhook-id': 'msg_1', 'webhook-timestamp': '1790000000', 'webhook-signature': `v1,${base64}`
    })
  },
  Slack: {
    scheme: {
      algorithm: 'hmac-sha256',
      headers: { 'x-slack-request-timestamp': '{timestamp}', 'x-slack-signature': 'v0={hex}' },
      signed: 'v0:{timestamp}:{body}'
    },
    message: `v0:1790000000:${BODY}`,
    headers: (hex) => ({ 'x-slack-request-timestamp': '1790000000', 'x-slack-signature': `v0=${hex}` })
  },
  Zoom: {
    scheme: {
      algorithm: 'hmac-sha256',
      headers: { 'x-zm-request-timestamp': '{timestamp}', 'x-zm-signature': 'v0={hex}' },
      signed: 'v0:{timestamp}:{body}'
    },
    message: `v0:1790000000:${BODY}`,
    headers: (hex) => ({ 'x-zm-request-timestamp': '1790000000', 'x-zm-signature': `v0=${hex}` })
  },
  Shopify: {
    scheme: { algorithm: 'hmac-sha256', headers: { 'x-shopify-hmac-sha256': '{base64}' }, signed: '{body}' },
    message: BODY,
    headers: (_hex, base64) => ({ 'x-shopify-hmac-sha256': base64 })
  },
  LINE: {
    scheme: { algorithm: 'hmac-sha256', headers: { 'x-line-signature': '{base64}' }, signed: '{body}' },
    message: BODY,
    headers: (_hex, base64) => ({ 'x-line-signature': base64 })
  },
  Square: {
    scheme: {
      algorithm: 'hmac-sha256', headers: { 'x-square-hmacsha256-signature': '{base64}' }, signed: '{endpoint}{body}'
    },
    message: `/hooks?a=1${BODY}`,
    headers: (_hex, base64) => ({ 'x-square-hmacsha256-signature': base64 })
  },
  'identity validation': {
    scheme: {
      algorithm: 'hmac-sha256',
      headers: {
        'x-api-key': '{keyId}',
        'x-signature': 'hmac-sha256 {base64}',
        'x-timestamp': '{timestamp}',
        'x-endpoint': '{endpoint}'
      },
      signed: '{timestamp}{endpoint}{body}'
    },
    message: `1790000000/hooks?a=1${BODY}`,
    headers: (_hex, base64) => ({
      'x-api-key': 'key-1',
      'x-signature': `hmac-sha256 ${base64}`,
      'x-timestamp': '1790000000',
      'x-endpoint': '/hooks?a=1'
    })
  },
  'the method, and text after the body': {
    scheme: { algorithm: 'hmac-sha256', headers: { mac: '{hex}', time: '{timestamp}' }, signed: '{method} {body}{timestamp}!' },
    message: `POST ${BODY}1790000000!`,
    headers: (hex) => ({ mac: hex, time: '1790000000' })
  },
  'MD5 in any case': {
    scheme: { algorithm: 'hmac-md5', headers: { digest: 'MD5={hex}' }, signed: '{body}', ignoreCase: true },
    message: BODY,
    headers: (hex) => ({ digest: `MD5=${hex}` })
  }
}

for (const [name, { scheme, message, headers }] of Object.entries(SENDERS)) {
  const compiled = compileScheme(scheme)
  const mac = createHmac(compiled.algorithm, KEY).update(message).digest()
  const sent = headers(mac.toString('hex'), mac.toString('base64'))
  const read = (changed: Record<string, string | string[] | undefined> = {}) =>
    compiled.read({ ...sent, ...changed }, VALUES.endpoint)

  t.test(`${name}: headers are written and read as the template says`, quiet(async (t) => {
    t.strictSame(compiled.write({ ...VALUES, mac }), sent)
    t.strictSame(compiled.headers, Object.keys(sent))
    const { before, after } = compiled.frame(VALUES)
    t.equal(before + BODY + after, message)
    const parsed = read()
    t.match(parsed, { ok: true, macs: [mac], prefix: before })
    t.equal(parsed.ok && (parsed.suffix ?? ''), after)
    for (const [part, header] of compiled.headerOf) {
      if (part === 'timestamp') t.match(parsed, { timestamp: 1_790_000_000 })
      if (part === 'id' || part === 'keyId') t.match(parsed, { [part]: VALUES[part] })
      t.ok(compiled.headers.includes(header))
    }
    for (const [header, pattern] of Object.entries(compiled.patterns)) {
      t.match(sent[header], new RegExp(pattern, scheme.ignoreCase ? 'i' : ''))
    }
  }))

  t.test(`${name}: any other header is refused, and named`, quiet(async (t) => {
    for (const [header, text] of Object.entries(sent)) {
      t.match(read({ [header]: undefined }), { ok: false, reason: 'missing_header', header })
      t.match(read({ [header]: '' }), { ok: false, reason: 'missing_header', header })
      t.match(read({ [header]: [text, text] }), { ok: false, reason: 'duplicate_header', header })
      for (const changed of [
        ` ${text}`, `${text} `, `${text}\n`, `\n${text}`, `${text}, ${text}`, `${text},`, `,${text}`, text.slice(1), `x${text}`,
        `${text}=`, text.repeat(2), text.replace(/[\w+/](?==?$)/, '!'), `"${text}"`, `${text}\u0000`, `${text}\u00e9`
      ]) {
        const result = read({ [header]: changed })
        // An id is any visible string; a message other than the signed one has another MAC.
        const isOther = result.ok && result.prefix + (result.suffix ?? '') !== message.replace(BODY, '')
        const isUnsigned = result.ok && compiled.headerOf.get('keyId') === header
        if (!isOther && !isUnsigned) {
          t.equal(result.ok, false, JSON.stringify(changed))
          t.match(result, { header, reason: /^(?:malformed_header|wrong_endpoint)$/ })
        }
      }
    }
  }))
}

t.test('a list', quiet(async (t) => {
  const compiled = compileScheme(SENDERS['Stripe']!.scheme)
  const hex = 'ab'.repeat(32)
  const readText = (text: string) => compiled.read({ 'stripe-signature': text })
  const good = `t=1790000000,v1=${hex}`
  for (const unknown of ['v0=zz', 'v2=é', 'x', '=', 'T=1', 'v1', 'v', '"', 'v10=1']) {
    for (const text of [`${good},${unknown}`, `${unknown},${good}`, `t=1790000000,${unknown},v1=${hex}`]) {
      t.match(readText(text), { ok: true, macs: [Buffer.from(hex, 'hex')], several: true }, text)
    }
  }
  t.match(readText(`v1=${hex},t=1790000000`), { ok: true }, 'in any order')
  const eight = Array(8).fill(`v1=${hex}`).join()
  const parsed = readText(`t=1790000000,${eight}`)
  t.equal(parsed.ok && parsed.macs.length, 8)
  for (const text of [
    `t=1790000000,${eight},v1=${hex}`, `${good},t=1790000000`, `${good},v1=`, `${good},v1=${hex.slice(1)}`, 't=1790000000',
    `v1=${hex}`, `${good},`, `,${good}`, `t=1790000000,,v1=${hex}`, `t=1790000000, v1=${hex}`, `${good}, v1=${hex}`,
    `t=179000000,v1=${hex}`, `t=0790000000,v1=${hex}`, `t=1790000000.0,v1=${hex}`, 'x', ','
  ]) t.match(readText(text), { ok: false, reason: 'malformed_header', header: 'stripe-signature' }, text)
}))

t.test('a message can be split in one way only', quiet(async (t) => {
  const readId = (signed: string, id: string) => compileScheme({
    algorithm: 'hmac-sha256', headers: { mac: '{hex}', id: '{id}', time: '{timestamp}' }, signed
  }).read({ mac: 'ab'.repeat(32), id, time: '1790000000' }).ok
  t.strictSame([readId('{id}.{timestamp}.{body}', 'a.b'), readId('{id}.{timestamp}.{body}', 'a:b')], [false, true])
  t.strictSame([readId('{id}:{timestamp}.{body}', 'a.b'), readId('{id}:{timestamp}.{body}', 'a:b')], [true, false])
  t.strictSame([readId('{timestamp}{id}{body}', 'a{b'), readId('{timestamp}{id}{body}', 'a[b')], [false, false])
  for (const id of ['a,b', 'a b', 'é', 'a'.repeat(257)]) t.equal(readId('{timestamp}.{id}.{body}', id), false)
  t.equal(readId('{timestamp}.{id}.{body}', 'a'.repeat(256)), true)
}))

t.test('the endpoint is the configured one', async (t) => {
  const { scheme } = SENDERS['identity validation']!
  const { read, write } = compileScheme(scheme)
  const headers = write({ ...VALUES, mac: Buffer.alloc(32) })
  t.match(read(headers, '/hooks'), { reason: 'wrong_endpoint', header: 'x-endpoint' })
  t.match(read(headers), { reason: 'wrong_endpoint' })
  t.match(read({ ...headers, 'x-endpoint': 'hooks' }, 'hooks'), { reason: 'malformed_header', header: 'x-endpoint' })
})

t.test('an ambiguous or incomplete scheme is refused when it is defined', quiet(async (t) => {
  const hmac = { algorithm: 'hmac-sha256' } as const
  const mac = '{hex}'
  for (const [scheme, option, message] of [
    [{ ...hmac, headers: {}, signed: '{body}' }, 'headers', 'must contain {hex} or {base64} exactly once'],
    [{ ...hmac, headers: { a: mac, b: '{base64}' }, signed: '{body}' }, 'headers', 'must contain {hex} or {base64} exactly once'],
    [{ ...hmac, headers: { a: mac, b: mac }, signed: '{body}' }, 'headers', 'must not contain {hex} twice'],
    [{ ...hmac, headers: { mac }, signed: '' }, 'signed', 'must contain {body} exactly once'],
    [{ ...hmac, headers: { mac }, signed: '{body}.{body}' }, 'signed', 'must contain {body} exactly once'],
    [{ ...hmac, headers: { mac }, signed: '{timestamp}.{body}' }, 'signed', 'contains {timestamp}, which is in no header'],
    [{ ...hmac, headers: { mac, a: '{id}' }, signed: '{body}' }, 'headers', 'contains {id}, which is not signed'],
    [{ ...hmac, headers: { mac, a: '{endpoint}' }, signed: '{body}' }, 'headers', 'contains {endpoint}, which is not signed'],
    [{ ...hmac, headers: { mac, a: '{id}', t: '{timestamp}' }, signed: '{id}{timestamp}{body}' }, 'signed', 'requires literal text between {id} and {timestamp}'],
    [{ ...hmac, headers: { mac, a: '{id}' }, signed: '{body}{id}' }, 'signed', 'requires literal text between {body} and {id}'],
    [{ ...hmac, headers: { mac: '{hex}{nonce}' }, signed: '{body}' }, 'headers.mac', 'has an unknown part {nonce}'],
    [{ ...hmac, headers: { mac: 'a}{hex}' }, signed: '{body}' }, 'headers.mac', 'has an unknown part }'],
    [{ ...hmac, headers: { mac: '{hex' }, signed: '{body}' }, 'headers.mac', 'has an unknown part {'],
    [{ ...hmac, headers: { mac }, signed: '{hex}{body}' }, 'signed', 'has an unknown part {hex}'],
    [{ ...hmac, headers: { mac: list(',', '{hex}') }, signed: '{body}' }, 'headers.mac', 'requires elements that begin with literal text']
  ] as const) t.throws(() => compileScheme(scheme), { option, message }, message)
}))
