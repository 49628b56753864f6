import type { WebhookOptions } from '../plugins/index.js'
import t from 'tap'
import { bodyOf, NOW, PROVIDERS, type ProviderCase } from './fixtures/deliveries.js'
import { createHost, exchange, rawRequest, statusOf } from './fixtures/host.js'

/** What every failed authentication is answered with, whatever failed. */
const FORBIDDEN =
  '{"statusCode":403,"code":"FST_VERIFICATION_FORBIDDEN","error":"Forbidden","message":"The delivery is not authentic"}'

type Pairs = [string, string][]

interface Refused {
  name: string
  /** Breaks one thing in a valid delivery. Header names may be repeated. */
  break: (headers: Pairs, body: string) => [Pairs, string | Buffer]
  status: number
  reason?: string
}

const without = (headers: Pairs, name: string): Pairs => headers.filter(([key]) => key !== name)
const set = (headers: Pairs, name: string, value: string): Pairs => [...without(headers, name), [name, value]]
const get = (headers: Pairs, name: string): string => headers.find(([key]) => key === name)![1]

/** Forms of the text that carries the MAC. */
function signatureForms ({ signature }: ProviderCase): Refused[] {
  const forms: [string, (text: string) => string][] = [
    ['one character short', (text) => text.slice(0, -1)],
    ['one byte short', (text) => text.slice(0, -2)],
    ['one nibble too many', (text) => `${text}0`],
    ['trailing junk that a lenient decoder ignores', (text) => `${text}zz`],
    ['a trailing full stop', (text) => `${text}.`],
    ['quotes around it', (text) => `"${text}"`],
    ['a tab within', (text) => `${text.slice(0, 20)}\t${text.slice(20)}`],
    ['the name of another algorithm', (text) => text.replace(/^(MD5=|hmac-sha256 |)/, 'sha1=')],
    ['an algorithm of none', () => 'none'],
    ['characters beyond ASCII', () => 'é'.repeat(64)],
    ['the MAC twice', (text) => `${text},${text}`],
    ['a first character that is wrong', (text) => text.replace(/(.)(.{10})$/, (_all, a, rest) => (a === 'a' ? 'b' : 'a') + rest)],
    ['a MAC of zeros', (text) => text.replace(/[0-9a-f]{16,}|\S{44}$/, (mac) => mac.length === 44 ? `${'A'.repeat(43)}=` : '0'.repeat(mac.length))]
  ]
  return forms.map(([name, form]) => ({
    name: `signature with ${name}`,
    break: (headers, body) => [set(headers, signature, form(get(headers, signature))), body],
    status: 403
  }))
}

/** Forms of a timestamp that lenient parsers take; each is signed as it stands. */
function timestampForms ({ sign, timestamp, required }: ProviderCase): Refused[] {
  if (timestamp === undefined) return []
  const forms: [string, string, string][] = [
    ['milliseconds', `${NOW}000`, 'malformed_header'],
    ['a plus sign', `+${NOW}`, 'malformed_header'],
    ['a minus sign', `-${NOW}`, 'malformed_header'],
    ['an exponent', '1.79e9', 'malformed_header'],
    ['a fraction', `${NOW}.0`, 'malformed_header'],
    ['hexadecimal', `0x${NOW.toString(16)}`, 'malformed_header'],
    ['a leading zero', `0${NOW}`, 'malformed_header'],
    ['a trailing letter', `${NOW}abc`, 'malformed_header'],
    ['an underscore', '1_790_000_000', 'malformed_header'],
    ['the word Infinity', 'Infinity', 'malformed_header'],
    ['twenty digits', `${NOW}${NOW}`, 'malformed_header'],
    ['a date', 'Tue, 22 Sep 2026 00:00:00 GMT', 'malformed_header'],
    ['ten years ahead', String(NOW + 315_360_000), 'future'],
    ['61 seconds ahead', String(NOW + 61), 'future'],
    ['301 seconds back', String(NOW - 301), 'stale']
  ]
  return forms.map(([name, text, reason]) => ({
    name: `timestamp with ${name}`,
    break: (headers, body) => {
      const signed = sign(body, text)
      return [required.reduce((all, header) => set(all, header, signed[header]!), headers), body]
    },
    status: 403,
    reason
  }))
}

const COMMON: Refused[] = [
  { name: 'another byte in the body', break: (headers, body) => [headers, `${body} `], status: 403, reason: 'mismatch' },
  { name: 'an empty body', break: (headers) => [headers, ''], status: 403, reason: 'mismatch' },
  {
    name: 'neither body nor content type',
    break: (headers) => [without(headers, 'content-type'), ''],
    status: 403,
    reason: 'no_body'
  },
  { name: 'a body without a content type', break: (headers, body) => [without(headers, 'content-type'), body], status: 415 },
  ...['text/plain', 'application/x-www-form-urlencoded', 'application/vnd.api+json', 'application/jsonx',
    'application/json; charset=utf-16', 'application/json; charset=latin1', 'application/json;charset="utf-16"',
    'application/json; charset=utf-8; charset=utf-16', 'application/json, text/plain', 'application/json a=b', 'json'
  ].map((type): Refused => ({
    name: `content type ${type}`,
    break: (headers, body) => [set(headers, 'content-type', type), body],
    status: 415
  })),
  ...['gzip', 'br', 'deflate', 'identity, gzip', 'x'].map((encoding): Refused => ({
    name: `content encoding ${encoding}`,
    break: (headers, body) => [set(headers, 'content-encoding', encoding), body],
    status: 415
  }))
]

function headerForms ({ required }: ProviderCase): Refused[] {
  return required.flatMap((header): Refused[] => [
    { name: `no ${header}`, break: (headers, body) => [without(headers, header), body], status: 403, reason: 'missing_header' },
    { name: `an empty ${header}`, break: (headers, body) => [set(headers, header, ''), body], status: 403, reason: 'missing_header' },
    {
      name: `${header} twice, both right`,
      break: (headers, body) => [[...headers, [header, get(headers, header)]], body],
      status: 403,
      reason: 'duplicate_header'
    },
    {
      name: `${header} twice, the wrong one last and in upper case`,
      break: (headers, body) => [[...headers, [header.toUpperCase(), 'x']], body],
      status: 403,
      reason: 'duplicate_header'
    },
    {
      name: `${header} twice, the wrong one first`,
      break: (headers, body) => [[[header, 'x'], ...headers], body],
      status: 403,
      reason: 'duplicate_header'
    },
    {
      name: `${header} with underscores for dashes`,
      break: (headers, body) => [
        [...without(headers, header), [`_${header.replaceAll('-', '_')}`, get(headers, header)]], body
      ],
      status: 403,
      reason: 'missing_header'
    }
  ])
}

const OTHERS: Record<string, Refused[]> = {
  altdentifier: [
    ['a space around =', (hex: string) => `MD5 = ${hex}`], ['no algorithm', (hex: string) => hex],
    ['two digests', (hex: string) => `MD5=${hex},SHA-256=x`], ['an unkeyed form', (hex: string) => `UNIXsum=${hex}`],
    ['the MAC in base64', (hex: string) => `MD5=${Buffer.from(hex, 'hex').toString('base64')}`]
  ].map(([name, form]) => ({
    name: `digest with ${name as string}`,
    break: (headers, body) => [
      set(headers, 'digest', (form as (hex: string) => string)(get(headers, 'digest').slice(4))), body
    ],
    status: 403,
    reason: 'malformed_header'
  })),
  aghanim: [
    {
      name: 'the MAC in base64',
      break: (headers, body) => [set(headers, 'x-aghanim-signature',
        Buffer.from(get(headers, 'x-aghanim-signature'), 'hex').toString('base64')), body],
      status: 403,
      reason: 'malformed_header'
    },
    {
      name: 'another split of timestamp and body',
      break: (headers, body) => [headers, `1.${body}`],
      status: 403,
      reason: 'mismatch'
    }
  ],
  'identity-validation': [
    ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'demo-api-key'].map((name): Refused => ({
      name: `the api-key ${name}`,
      break: (headers, body) => [set(headers, 'x-api-key', name), body],
      status: 403,
      reason: 'unknown_key'
    })),
    ...['/identity-validation/required-files', `${'/identity-validation/sessions'}/`, '/identity-validation/sessions?',
      '/IDENTITY-validation/sessions', '/identity-validation/%73essions', '//identity-validation/sessions'
    ].map((endpoint): Refused => ({
      name: `the endpoint ${endpoint}`,
      break: (headers, body) => [set(headers, 'x-endpoint', endpoint), body],
      status: 403,
      reason: 'wrong_endpoint'
    })),
    {
      name: 'the whole URL for an endpoint',
      break: (headers, body) => [set(headers, 'x-endpoint', `https://a.example${get(headers, 'x-endpoint')}`), body],
      status: 403,
      reason: 'malformed_header'
    },
    {
      name: 'the MAC in hex',
      break: (headers, body) => [set(headers, 'x-signature',
        `hmac-sha256 ${Buffer.from(get(headers, 'x-signature').slice(12), 'base64').toString('hex')}`), body],
      status: 403,
      reason: 'malformed_header'
    },
    ...['HMAC-SHA256 ', 'hmac-sha512 ', 'hmac-sha256  ', ''].map((prefix): Refused => ({
      name: `the prefix "${prefix}"`,
      break: (headers, body) => [set(headers, 'x-signature', prefix + get(headers, 'x-signature').slice(12)), body],
      status: 403,
      reason: 'malformed_header'
    }))
  ]
}

for (const provider of PROVIDERS) {
  const refused = [
    ...COMMON, ...headerForms(provider), ...signatureForms(provider), ...timestampForms(provider),
    ...OTHERS[provider.name]!
  ]

  t.test(`${provider.name}: ${refused.length} broken deliveries are refused over a socket, the handler unseen`, async (t) => {
    t.ok(refused.length >= 25)
    const { app, lines } = createHost(t)
    const calls: unknown[] = []
    const rejected: { reason: string, requestId: string }[] = []
    const onRejected: WebhookOptions['onRejected'] = (delivery) => { rejected.push(delivery) }
    provider.register(app, calls, { onRejected })
    const body = bodyOf(provider)
    const valid = Object.entries(provider.sign(body))
    const send = async (headers: Pairs, content: string | Buffer) => {
      const length: Pairs = content.length === 0 ? [] : [['content-length', String(Buffer.byteLength(content))]]
      const { text } = await exchange(app, [rawRequest(provider.url, [...headers, ...length, ['connection', 'close']], content)])
      const [head, reply] = text.split('\r\n\r\n') as [string, string]
      return { status: statusOf(text), head: head.replace(/\r\nDate: .*/, ''), reply }
    }

    const answers = new Set<string>()
    for (const { name, break: broken, status, reason } of refused) {
      rejected.length = 0
      const [headers, content] = broken(valid, body)
      const answer = await send(headers, content)
      t.equal(answer.status, status, name)
      if (status === 403) {
        t.equal(answer.reply, FORBIDDEN, `${name}: the one body`)
        answers.add(answer.head)
        t.equal(rejected.length, 1, `${name}: onRejected sees it`)
        if (reason !== undefined) t.equal(rejected[0]?.reason, reason, `${name}: reason`)
        const line = lines.find(({ reqId, msg }) => reqId === rejected[0]?.requestId && msg === 'delivery rejected')
        t.equal(line?.['reason'], rejected[0]?.reason, `${name}: logged`)
        t.equal(line?.level, rejected[0]?.reason === 'stale' ? 40 : 30, `${name}: level`)
      } else {
        t.equal(JSON.parse(answer.reply).code, 'FST_ERR_CTP_INVALID_MEDIA_TYPE', `${name}: code`)
        t.same(Object.keys(JSON.parse(answer.reply)), ['statusCode', 'code', 'error', 'message'])
      }
    }
    t.equal(answers.size, 1, 'all 403 answers have the same headers')
    t.equal(calls.length, 0, 'no handler ran')

    t.equal((await send(valid, body)).status, provider.success, 'and the delivery they were made from is accepted')
    t.equal(calls.length, 1)
  })

  t.test(`${provider.name}: the same delivery in other words is accepted`, async (t) => {
    const { app } = createHost(t)
    const calls: unknown[] = []
    provider.register(app, calls)
    const text = bodyOf(provider)
    let sent = NOW
    const send = (body: string, headers: Record<string, string> = {}) => app.inject({
      method: 'POST', url: provider.url, headers: { ...provider.sign(body, sent--), ...headers }, payload: body
    })

    const bodies = [text, ` ${text}\r\n`, JSON.stringify(provider.event, null, 2), text.replace(/"i/, '"\\u0069')]
    for (const body of bodies) t.equal((await send(body)).statusCode, provider.success)
    for (const type of ['application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'APPLICATION/JSON',
      'application/json;', 'application/json; v=1; charset=utf-8', 'application/json\t']) {
      t.equal((await send(text, { 'content-type': type })).statusCode, provider.success, type)
    }
    t.equal((await send(text, { 'content-encoding': 'Identity' })).statusCode, provider.success)
    for (const call of calls) t.same(call, provider.event)
    t.equal(calls.length, bodies.length + 7)

    const deep = text.replace('{', `{"deep":${'['.repeat(10_000)}${']'.repeat(10_000)},`)
    t.equal((await send(deep)).statusCode, provider.success, 'whatever else is in it, however deep')
  })

  t.test(`${provider.name}: signed, but not what the provider sends`, async (t) => {
    const { app, lines } = createHost(t)
    const calls: unknown[] = []
    provider.register(app, calls)
    const send = (body: string | Buffer) => app.inject({
      method: 'POST', url: provider.url, headers: provider.sign(body), payload: body
    })
    const text = bodyOf(provider)
    const hostile: (string | Buffer)[] = [
      '', ' ', '{', 'canary-in-the-body', '[]', 'null', '2', '"x"', 'NaN', `${text}x`, `/* c */${text}`,
      `\uFEFF${text}`, Buffer.from(text, 'utf16le'), Buffer.concat([Buffer.from(text), Buffer.from([0xff])]),
      text.replace('{', '{"__proto__":{"a":1},'), text.replace('{', '{"\\u005f_proto__":{"a":1},'),
      text.replace('{', '{"a":[{"__proto__":{}}],'), text.replace('{', '{"constructor":{"prototype":{}},')
    ]
    for (const body of hostile) {
      const reply = await send(body)
      t.equal(reply.statusCode, 400, String(body))
      t.equal(reply.json().code, 'FST_VERIFICATION_INVALID_JSON')
      t.notMatch(reply.body, 'canary')
    }
    t.notMatch(JSON.stringify(lines), /canary/, 'nothing of a body is logged')
    t.equal(calls.length, 0)
  })
}
