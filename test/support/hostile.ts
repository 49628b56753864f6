import type { OutgoingHttpHeaders } from 'node:http'
import { verify } from '@octokit/webhooks-methods'
import { createHmac } from 'node:crypto'
import { mock } from 'node:test'
import { Webhook } from 'standardwebhooks'
import Stripe from 'stripe'
import {
  memoryDeliveries, verifyAghanim, verifyAltdentifier, verifyIdentityValidation, type RejectionReason,
  type VerifyResult, type WebhookOptions
} from '../../plugins/index.js'
import { API_KEY, API_SECRET, NOW, now, SECRET, SESSIONS } from './deliveries.js'
import { createHost, type Test } from './host.js'
import { MEMBER_EVENT, outcomeOf, scriptedStore, SESSION, VERIFY, type Keyed } from './life-cycle.js'
import { read } from './project.js'

type Headers = Record<string, string | string[]>
interface Delivery { headers: Headers, body: Buffer }
interface Outcome { accepted: boolean, detail: string }
type Receive = (delivery: Delivery) => Promise<Outcome>

/** Properties that only some schemes or functions have. A row that needs one does not apply to the others. */
type Trait = 'a timestamp' | 'bytes' | 'JSON' | 'a JSON object' | 'base64' | 'one signature' | 'a memory'

/** A provider's signature scheme, and the receiver that verifies it. */
export interface Receiver {
  readonly name: string
  readonly traits: readonly Trait[]
  readonly secret: string
  readonly encoding: 'utf8' | 'base64'
  readonly algorithm: 'md5' | 'sha256'
  readonly digest: 'hex' | 'base64'
  /** String before a signature, and strings that name another algorithm or version. */
  readonly tag: string
  readonly otherTags: readonly string[]
  /** Separator of several signatures, where the scheme allows several. */
  readonly separator?: string
  readonly event: object
  /** Returns the string that is signed before the body. */
  readonly prefix: (timestamp: string) => string
  readonly headers: (signatures: string[], timestamps: string[]) => Headers
  /** Opens a receiver; rejects if registration refuses the secret. */
  readonly open: (test: Test, secret: string) => Promise<Receive>
  /** Verify function of the plugin, for our own receivers. */
  readonly verify?: (secret: string, delivery: Delivery) => VerifyResult
}

/** Returns headers like Node: repeated ones joined, absent ones omitted. */
function asNode (headers: Headers): Record<string, string> {
  const texts = Object.entries(headers).map(([name, value]) => [name, [value].flat()] as const)
  return Object.fromEntries(texts.filter(([, values]) => values.length > 0).map(([name, values]) =>
    [name, values.join(', ')]))
}

function versionOf (name: string): string {
  return `${name} ${JSON.parse(read(`node_modules/${name}/package.json`)).version}`
}

/** Opens a peer, with the clock of the tests. */
function openPeer (verify: (headers: Record<string, string>, body: Buffer) => unknown): Receive {
  return async ({ headers, body }) => {
    const clock = mock.method(Date, 'now', now)
    try {
      const accepted = await verify(asNode(headers), body) !== false
      return { accepted, detail: accepted ? 'returned' : 'returned false' }
    } catch (error) {
      return { accepted: false, detail: (error as Error).message.split('\n')[0]! }
    } finally {
      clock.mock.restore()
    }
  }
}

interface Opened { readonly receive: Receive, readonly forget: () => void }

/** Creates a host with one of our plugins. A delivery counts as accepted if its handler runs or its answer says so. */
async function createOpened (test: Test, { provider, options }: Keyed, secret: object): Promise<Opened> {
  const { app } = createHost(test)
  const calls: unknown[] = []
  let known = memoryDeliveries()
  const { store: deliveries } = scriptedStore({
    claim: (...args) => known.claim(...args),
    complete: (...args) => known.complete(...args),
    release: (...args) => known.release(...args)
  })
  provider.register(app, calls, { ...options, deliveries, ...secret } as WebhookOptions)
  await app.ready()
  const receive: Receive = async ({ headers, body }) => {
    const before = calls.length
    const answer = await app.inject({
      method: 'POST',
      url: provider.url,
      headers: { 'content-type': 'application/json', ...headers as OutgoingHttpHeaders },
      payload: body
    })
    const detail = outcomeOf(answer)
    return { accepted: calls.length > before || detail === `${provider.success}`, detail }
  }
  return { receive, forget: () => { known = memoryDeliveries() } }
}

const hosts = new WeakMap<Test, Map<string, Promise<Opened>>>()

/** Opens one of our plugins without any known deliveries. There is one host per test and secret, whose store resets. */
async function openPlugin (test: Test, keyed: Keyed, secret: object): Promise<Receive> {
  const ofTest = hosts.get(test) ?? new Map<string, Promise<Opened>>()
  hosts.set(test, ofTest)
  const name = JSON.stringify([keyed.name, secret])
  const opened = ofTest.get(name) ?? createOpened(test, keyed, secret)
  ofTest.set(name, opened)
  const { receive, forget } = await opened
  forget()
  return receive
}

const PEER_EVENT = { id: 'evt_1', object: 'event', type: 'item.added' }
const PEER_SECRET = `whsec_${API_SECRET}`
const ID = 'msg_1'
const SHA256 = { algorithm: 'sha256', digest: 'hex', encoding: 'utf8', secret: SECRET } as const

export const PEERS: readonly Receiver[] = [{
  ...SHA256,
  name: versionOf('stripe'),
  traits: ['a timestamp', 'bytes', 'JSON', 'a JSON object'],
  tag: 'v1=',
  otherTags: ['v0=', 'sha1='],
  separator: ',',
  event: PEER_EVENT,
  prefix: (timestamp) => `${timestamp}.`,
  headers: (signatures, timestamps) =>
    ({ 'stripe-signature': [...timestamps.map((text) => `t=${text}`), ...signatures].join(',') }),
  open: async (_test, secret) => openPeer((headers, body) => {
    Stripe.webhooks.constructEvent(body, headers['stripe-signature']!, secret)
  })
}, {
  ...SHA256,
  name: versionOf('standardwebhooks'),
  traits: ['a timestamp', 'bytes', 'JSON', 'base64'],
  secret: PEER_SECRET,
  encoding: 'base64',
  digest: 'base64',
  tag: 'v1,',
  otherTags: ['v2,', 'v1a,', 'sha1,', ''],
  separator: ' ',
  event: PEER_EVENT,
  prefix: (timestamp) => `${ID}.${timestamp}.`,
  headers: (signatures, timestamps) =>
    ({ 'webhook-id': ID, 'webhook-timestamp': timestamps, 'webhook-signature': signatures }),
  open: async (_test, secret) => openPeer((headers, body) => {
    new Webhook(secret).verify(body, headers)
  })
}, {
  ...SHA256,
  name: versionOf('@octokit/webhooks-methods'),
  traits: ['one signature'],
  tag: 'sha256=',
  otherTags: ['sha1=', 'sha512=', ''],
  event: PEER_EVENT,
  prefix: () => '',
  headers: (signatures) => ({ 'x-hub-signature-256': signatures }),
  open: async (_test, secret) => openPeer((headers, body) =>
    verify(secret, body.toString(), headers['x-hub-signature-256']!))
}]

export const OURS: readonly Receiver[] = [{
  ...SHA256,
  name: 'AltDentifier',
  traits: ['bytes', 'JSON', 'a JSON object', 'one signature', 'a memory'],
  algorithm: 'md5',
  tag: 'MD5=',
  otherTags: ['SHA=', 'SHA-256=', ''],
  event: MEMBER_EVENT.event('id-1'),
  prefix: () => '',
  headers: (signatures) => ({ digest: signatures }),
  open: (test, secret) => openPlugin(test, MEMBER_EVENT, { secret }),
  verify: (secret, { headers, body }) => verifyAltdentifier({ secret, headers: asNode(headers), body, now })
}, {
  ...SHA256,
  name: 'Aghanim',
  traits: ['a timestamp', 'bytes', 'JSON', 'a JSON object', 'one signature', 'a memory'],
  tag: '',
  otherTags: ['sha1=', 'sha256=', 'v1='],
  event: VERIFY.event('id-1'),
  prefix: (timestamp) => `${timestamp}.`,
  headers: (signatures, timestamps) =>
    ({ 'x-aghanim-signature': signatures, 'x-aghanim-signature-timestamp': timestamps }),
  open: (test, secret) => openPlugin(test, VERIFY, { secret }),
  verify: (secret, { headers, body }) => verifyAghanim({ secret, headers: asNode(headers), body, now })
}, {
  ...SHA256,
  name: 'identity validation',
  traits: ['a timestamp', 'bytes', 'JSON', 'a JSON object', 'base64', 'one signature', 'a memory'],
  secret: API_SECRET,
  encoding: 'base64',
  digest: 'base64',
  tag: 'hmac-sha256 ',
  otherTags: ['hmac-sha1 ', 'hmac-sha512 ', ''],
  event: SESSION.event('id-1'),
  prefix: (timestamp) => timestamp + SESSIONS,
  headers: (signatures, timestamps) =>
    ({ 'x-api-key': API_KEY, 'x-endpoint': SESSIONS, 'x-signature': signatures, 'x-timestamp': timestamps }),
  open: (test, secret) => openPlugin(test, SESSION, { apiKeys: { [API_KEY]: secret } }),
  verify: (secret, { headers, body }) => verifyIdentityValidation({
    apiKeys: { [API_KEY]: secret }, endpoint: SESSIONS, headers: asNode(headers), body, now
  })
}]

export const RECEIVERS: readonly Receiver[] = [...PEERS, ...OURS]

interface Attempt extends Delivery {
  secret: string
  /** Delivery that is sent, and accepted, before. */
  after?: Delivery
}

interface Parts {
  secret: string
  algorithm: string
  tag: string
  /** Body that is sent, and body that is signed. */
  body: string | Buffer
  signed: string | Buffer
  timestamps: string[]
  signedTimestamp: string
  /** Returns the signatures that are sent instead of the right one. */
  change: (signature: string) => string[]
}

const bodyOf = ({ event }: Receiver): string => JSON.stringify(event)

function keyOf ({ encoding }: Receiver, secret: string): Buffer {
  return Buffer.from(encoding === 'base64' ? secret.replace('whsec_', '') : secret, encoding)
}

/** Returns a delivery that is honest except for the given parts. */
function deliver (receiver: Receiver, parts: Partial<Parts> = {}): Attempt {
  const {
    secret = receiver.secret, algorithm = receiver.algorithm, tag = receiver.tag, body = bodyOf(receiver),
    signed = body, timestamps = [`${NOW}`], signedTimestamp = timestamps[0] ?? `${NOW}`,
    change = (signature) => [signature]
  } = parts
  const signature = createHmac(algorithm, keyOf(receiver, secret))
    .update(receiver.prefix(signedTimestamp)).update(signed).digest(receiver.digest)
  const headers = receiver.headers(change(signature).map((text) => tag + text), timestamps)
  return { secret, headers, body: Buffer.from(body) }
}

type Attempts = (receiver: Receiver) => Attempt[]

/** Reason of our refusal: of a 403, or the code of a 400 or of a registration error, or a replay. */
type Refusal = RejectionReason | 'INVALID_JSON' | 'INVALID_OPTION' | 'replayed'

/** A delivery that a careful receiver refuses, in one or several forms. */
export interface Row {
  readonly name: string
  readonly why: string
  readonly needs?: Trait | undefined
  readonly ours: Refusal
  readonly attempts: Attempts
}

/** Replaces the timestamp, signed as it is sent and as the number that lenient parsers read from it. */
function timestamp (text: string): Attempts {
  const signed = new Set([text, text.trim(), `${parseInt(text, 10)}`, `${Number(text)}`])
  return (receiver) => [...signed].map((signedTimestamp) =>
    deliver(receiver, { timestamps: [text], signedTimestamp }))
}

const timestamps = (sent: string[]): Attempts => (receiver) =>
  [deliver(receiver, { timestamps: sent, signedTimestamp: `${NOW}` })]

const changed = (...changes: ((signature: string) => string[])[]): Attempts => (receiver) =>
  changes.map((change) => deliver(receiver, { change }))

/** Adds members to the end of the event, and signs it. */
const withKey = (...keys: string[]): Attempts => (receiver) =>
  keys.map((key) => deliver(receiver, { body: bodyOf(receiver).replace(/\}$/, `,${key}}`) }))

const bodies = (...texts: string[]): Attempts => (receiver) => texts.map((body) => deliver(receiver, { body }))

const secrets = (...texts: string[]): Attempts => (receiver) => texts.map((secret) => deliver(receiver, { secret }))

/** Signs with a secret of these bytes, encoded as the receiver expects. */
const secretOf = (bytes: string): Attempts => (receiver) =>
  [deliver(receiver, { secret: Buffer.from(bytes).toString(receiver.encoding) })]

/** Returns the event with a note of these bytes. */
const noted = (receiver: Receiver, bytes: number[]): Buffer =>
  Buffer.concat([Buffer.from('{"note":"'), Buffer.from(bytes), Buffer.from(`",${bodyOf(receiver).slice(1)}`)])

/** Deliveries that everyone must accept: each does one of the things below correctly. */
export const CONTROLS: readonly Pick<Row, 'name' | 'needs' | 'attempts'>[] = [
  { name: 'an honest delivery', attempts: (receiver) => [deliver(receiver)] },
  { name: 'with another secret', attempts: secretOf('a secret of thirty-two bytes, ok') },
  { name: 'five minutes old', needs: 'a timestamp', attempts: timestamp(`${NOW - 300}`) },
  { name: 'a minute ahead', needs: 'a timestamp', attempts: timestamp(`${NOW + 60}`) },
  { name: 'with another key', attempts: withKey('"prototype":{"admin":true}') },
  { name: 'with U+FFFD in UTF-8', attempts: (receiver) => [deliver(receiver, { body: noted(receiver, [0xEF, 0xBF, 0xBD]) })] },
  { name: 'with white space around it', attempts: (receiver) => [deliver(receiver, { body: ` ${bodyOf(receiver)}\n` })] }
]

const falseOf = (signature: string): string => signature.replace(/^./, (first) => first === '0' ? '1' : '0')

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Encodes a signature in the URL-safe alphabet where that differs, and otherwise without padding. */
const otherBase64 = (signature: string): string =>
  /[+/]/.test(signature) ? signature.replaceAll('+', '-').replaceAll('/', '_') : signature.replace('=', '')

export const ROWS: readonly Row[] = [
  {
    name: 'one byte of the body changed',
    why: 'not what was signed',
    ours: 'mismatch',
    attempts: (receiver) => [deliver(receiver, { signed: bodyOf(receiver), body: bodyOf(receiver).replace('1', '2') })]
  },
  {
    name: 'body reserialized with the same meaning',
    why: 'not the bytes that were signed',
    ours: 'mismatch',
    attempts: (receiver) => [JSON.stringify(receiver.event, null, 2), `${bodyOf(receiver)}\n`].map((body) =>
      deliver(receiver, { signed: bodyOf(receiver), body }))
  },
  {
    name: 'byte order mark put before the signed body',
    why: 'not the bytes that were signed',
    ours: 'mismatch',
    attempts: (receiver) => [deliver(receiver, { signed: bodyOf(receiver), body: `\ufeff${bodyOf(receiver)}` })]
  },
  {
    name: 'bytes changed from or to invalid UTF-8',
    why: 'not the bytes that were signed; decoding makes the same character of all of them',
    needs: 'bytes',
    ours: 'mismatch',
    attempts: (receiver) => [[0xFF], [0xEF, 0xBF, 0xBD]].map((bytes) =>
      deliver(receiver, { signed: noted(receiver, bytes), body: noted(receiver, [0xFE]) }))
  },
  {
    name: 'new timestamp on an old delivery',
    why: 'not the time that was signed',
    needs: 'a timestamp',
    ours: 'mismatch',
    attempts: (receiver) => [deliver(receiver, { timestamps: [`${NOW}`], signedTimestamp: `${NOW - 3600}` })]
  },
  { name: 'no signature', why: 'anyone can send that', ours: 'missing_header', attempts: changed(() => []) },
  {
    name: 'half of the signature',
    why: 'easier to guess than all of it',
    ours: 'malformed_header',
    attempts: changed((signature) => [signature.slice(0, signature.length / 2)])
  },
  {
    name: 'more text after the signature',
    why: 'not what the sender wrote',
    ours: 'malformed_header',
    attempts: (receiver) => ['zz', '00', '=x', ',x', ' x'].filter(([first]) => first !== receiver.separator)
      .map((junk) => deliver(receiver, { change: (signature) => [signature + junk] }))
  },
  {
    name: 'signature under another algorithm or version',
    why: 'which algorithm holds is not for the request to say',
    ours: 'malformed_header',
    attempts: (receiver) => receiver.otherTags.flatMap((tag) =>
      [receiver.algorithm, 'sha1'].map((algorithm) => deliver(receiver, { tag, algorithm })))
  },
  {
    name: 'signature in base64 with spare bits set',
    why: 'a second text for one signature',
    needs: 'base64',
    ours: 'malformed_header',
    attempts: changed((signature) =>
      [signature.replace(/(.)=$/, (_all, last) => `${BASE64[BASE64.indexOf(last) + 1]}=`)])
  },
  {
    name: 'signature in URL-safe or unpadded base64',
    why: 'not the alphabet of the scheme',
    needs: 'base64',
    ours: 'malformed_header',
    attempts: (receiver) => Array.from({ length: 8 }, (_, spaces) => deliver(receiver, {
      body: bodyOf(receiver) + ' '.repeat(spaces), change: (signature) => [otherBase64(signature)]
    }))
  },
  {
    name: 'signature header twice, one of them false',
    why: 'a proxy may have looked at the other',
    needs: 'one signature',
    ours: 'malformed_header',
    attempts: changed((signature) => [signature, falseOf(signature)], (signature) => [falseOf(signature), signature])
  },
  {
    name: 'no timestamp',
    why: 'nothing bounds its age',
    needs: 'a timestamp',
    ours: 'missing_header',
    attempts: timestamps([])
  },
  {
    name: 'one second over five minutes old',
    why: 'past the tolerance',
    needs: 'a timestamp',
    ours: 'stale',
    attempts: timestamp(`${NOW - 301}`)
  },
  {
    name: 'one second over five minutes ahead',
    why: 'past the tolerance, and good for ten minutes',
    needs: 'a timestamp',
    ours: 'future',
    attempts: timestamp(`${NOW + 301}`)
  },
  {
    name: 'ten years ahead',
    why: 'good for ten years',
    needs: 'a timestamp',
    ours: 'future',
    attempts: timestamp(`${NOW + 10 * 365 * 86_400}`)
  },
  {
    name: 'milliseconds for seconds',
    why: 'good for tens of thousands of years',
    needs: 'a timestamp',
    ours: 'malformed_header',
    attempts: timestamp(`${NOW}000`)
  },
  {
    name: 'letters after the timestamp',
    why: 'no number, and not what the sender wrote',
    needs: 'a timestamp',
    ours: 'malformed_header',
    attempts: timestamp(`${NOW}abc`)
  },
  {
    name: 'timestamp with a fraction, a zero, a plus sign or a no-break space',
    why: 'not the form of the scheme: several texts for one time',
    needs: 'a timestamp',
    ours: 'malformed_header',
    attempts: (receiver) => [`${NOW}.5`, `0${NOW}`, `+${NOW}`, `\u00a0${NOW}`].flatMap((text) =>
      timestamp(text)(receiver))
  },
  {
    name: 'timestamp with an exponent',
    why: 'not the form of the scheme',
    needs: 'a timestamp',
    ours: 'malformed_header',
    attempts: timestamp('1.79e9')
  },
  {
    name: 'timestamp in hexadecimal',
    why: 'not the form of the scheme',
    needs: 'a timestamp',
    ours: 'malformed_header',
    attempts: timestamp(`0x${NOW.toString(16)}`)
  },
  {
    name: 'a word for a timestamp',
    why: 'no time at all, so it never grows old',
    needs: 'a timestamp',
    ours: 'malformed_header',
    attempts: (receiver) => ['Infinity', 'NaN', 'now'].flatMap((text) => timestamp(text)(receiver))
  },
  {
    name: 'timestamp twice, the signed one first',
    why: 'two times for one delivery',
    needs: 'a timestamp',
    ours: 'malformed_header',
    attempts: timestamps([`${NOW}`, `${NOW + 1}`])
  },
  {
    name: 'timestamp twice, the signed one last',
    why: 'two times for one delivery',
    needs: 'a timestamp',
    ours: 'malformed_header',
    attempts: timestamps([`${NOW + 1}`, `${NOW}`])
  },
  {
    name: 'signed, but no UTF-8',
    why: 'JSON is UTF-8 (RFC 8259); decoding would hand out characters that nobody signed',
    needs: 'bytes',
    ours: 'INVALID_JSON',
    attempts: (receiver) => [deliver(receiver, { body: noted(receiver, [0xFF]) })]
  },
  {
    name: 'signed, with a byte order mark',
    why: 'JSON has none (RFC 8259)',
    needs: 'JSON',
    ours: 'INVALID_JSON',
    attempts: (receiver) => [deliver(receiver, { body: `\ufeff${bodyOf(receiver)}` })]
  },
  {
    name: 'signed, with more after the JSON',
    why: 'no JSON',
    needs: 'JSON',
    ours: 'INVALID_JSON',
    attempts: (receiver) => ['{}', ' x', '\0'].map((more) => deliver(receiver, { body: bodyOf(receiver) + more }))
  },
  {
    name: 'signed, with a `__proto__` key',
    why: 'code that copies or merges it sets a prototype; Fastify\'s own parser refuses it',
    needs: 'JSON',
    ours: 'INVALID_JSON',
    attempts: withKey('"__proto__":{"admin":true}', '"\\u005f_proto__":{"admin":true}', '"a":[{"__proto__":{}}]')
  },
  {
    name: 'signed, with a `constructor.prototype` key',
    why: 'code that merges it changes every object; Fastify\'s own parser refuses it',
    needs: 'JSON',
    ours: 'INVALID_JSON',
    attempts: withKey('"constructor":{"prototype":{"admin":true}}')
  },
  {
    name: 'signed, but not an object',
    why: 'handed out as an event, it fails where it is used',
    needs: 'a JSON object',
    ours: 'INVALID_JSON',
    attempts: bodies('null', '[]', '2', '"event"')
  },
  { name: 'empty secret', why: 'anyone can sign with it', ours: 'INVALID_OPTION', attempts: secrets('') },
  { name: 'blank secret', why: 'anyone can sign with it', ours: 'INVALID_OPTION', attempts: secrets(' ', '\t\n') },
  { name: 'secret of one byte', why: 'found after 256 tries', ours: 'INVALID_OPTION', attempts: secretOf('k') },
  {
    name: 'secret of zero bytes only',
    why: 'to HMAC the same as an empty one (RFC 2104)',
    ours: 'INVALID_OPTION',
    attempts: secretOf('\0'.repeat(32))
  },
  {
    name: 'a second run for the same delivery',
    why: 'sent again, or captured and sent again (AltDentifier: with `dedupe`)',
    needs: 'a memory',
    ours: 'replayed',
    attempts: (receiver) => [{ ...deliver(receiver), after: deliver(receiver) }]
  }
]

export const applies = ({ needs }: Pick<Row, 'needs'>, { traits }: Receiver): boolean => needs === undefined || traits.includes(needs)

/** Returns the outcome of one delivery. */
export async function attempt (
  test: Test, receiver: Receiver, { secret, after, ...delivery }: Attempt
): Promise<Outcome> {
  try {
    const receive = await receiver.open(test, secret)
    if (after !== undefined && !(await receive(after)).accepted) throw new Error('the first delivery was refused')
    return await receive(delivery)
  } catch (error) {
    return { accepted: false, detail: (error as Error & { code?: string }).code ?? (error as Error).message }
  }
}

export interface Measured {
  readonly row: Row
  /** Outcomes by receiver, each with those of all forms of the delivery. Undefined: the row does not apply. */
  readonly outcomes: readonly (readonly Outcome[] | undefined)[]
}

/** Sends every row to every receiver, one at a time, since peers read the clock of the process. */
export async function measure (test: Test): Promise<Measured[]> {
  const measured: Measured[] = []
  for (const row of ROWS) {
    const outcomes: Measured['outcomes'][number][] = []
    for (const receiver of RECEIVERS) {
      if (!applies(row, receiver)) {
        outcomes.push(undefined)
        continue
      }
      const seen: Outcome[] = []
      for (const hostile of row.attempts(receiver)) seen.push(await attempt(test, receiver, hostile))
      outcomes.push(seen)
    }
    measured.push({ row, outcomes })
  }
  return measured
}

export interface Words { refused: string, accepted: string, none: string }

/** Returns one line per row, and the number of refused rows among those that apply. One accepted form is enough. */
export function linesOf (measured: readonly Measured[], { refused, accepted, none }: Words): string[][] {
  const wordFor = (outcomes: readonly Outcome[] | undefined): string => {
    if (outcomes === undefined) return none
    return outcomes.some((outcome) => outcome.accepted) ? accepted : refused
  }
  const lines = measured.map(({ row, outcomes }) => [row.name, ...outcomes.map(wordFor)])
  const totals = RECEIVERS.map((_receiver, index) => {
    const words = lines.map((line) => line[index + 1])
    return `${words.filter((word) => word === refused).length} of ${words.filter((word) => word !== none).length}`
  })
  return [['delivery', ...RECEIVERS.map(({ name }) => name)], ...lines, ['refused', ...totals]]
}

/** Returns the table of docs/peers.md. */
export function markdownOf (measured: readonly Measured[]): string {
  const [head, ...lines] = linesOf(measured, { refused: 'refused', accepted: '**accepted**', none: '-' })
  return [head!, head!.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
