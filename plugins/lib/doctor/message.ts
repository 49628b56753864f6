import { say } from './mistakes.js'
import type { Scheme, Variant } from './scheme.js'

/**
 * A layout of the signed message: the content before and after the body, one byte per character, and whether the body
 * is part of the message.
 */
export interface Frame { readonly before: string, readonly hasBody: boolean, readonly after: string }

/** Known parts of a delivery. Parts from headers are exactly as received. */
export interface Parts {
  readonly timestamp: string | undefined
  readonly endpoint: string | undefined
  readonly expectedEndpoint: string | undefined
  readonly keyId: string | undefined
  readonly date: string | undefined
  readonly host: string | undefined
  readonly url: string | undefined
}

/** Placeholder for the body among the signed parts. */
const BODY = Symbol('body')
type Part = string | typeof BODY | undefined

const SEPARATORS: readonly (readonly [text: string, name: string])[] = [
  ['', 'nothing'], ['.', 'a full stop'], ['\n', 'a line break'], [':', 'a colon'], [' ', 'a space'], ['|', 'a vertical bar'],
  [',', 'a comma']
]

function join (parts: readonly Part[], separator: string): Frame {
  const texts = parts.filter((part) => part !== undefined)
  const at = texts.indexOf(BODY)
  if (at === -1) return { before: texts.join(separator), hasBody: false, after: '' }
  const before = texts.slice(0, at).map((part) => String(part) + separator)
  return { before: before.join(''), hasBody: true, after: texts.slice(at + 1).map((part) => separator + String(part)).join('') }
}

/** Returns the layout of the message that should be signed. */
export function rightFrame ({ separator }: Scheme, { timestamp, endpoint }: Parts): Frame {
  return join([timestamp, endpoint, BODY], separator)
}

/** Lists layouts that a sender may have signed instead. Changes of the body are not included. */
export function otherFrames (scheme: Scheme, parts: Parts): Variant<Frame>[] {
  const { separator } = scheme
  const { timestamp, endpoint, keyId, date, url } = parts
  const variants: Variant<Frame>[] = []
  const add = (list: Part[], mistakes: string[], between: string = separator): void => {
    variants.push({ value: join(list, between), mistakes })
  }

  const noTimestamp = say('noTimestamp')
  const noEndpoint = say('noEndpoint')
  if (timestamp !== undefined) {
    add([endpoint, BODY], [noTimestamp])
    for (const [text, mistake] of otherTimes(timestamp, scheme)) add([text, endpoint, BODY], [mistake])
    add([BODY, timestamp, endpoint], [say('order')])
    add([timestamp, endpoint], [say('noBody')])
    add([timestamp, endpoint, ''], [say('noBody')])
    const [, right] = SEPARATORS.find(([text]) => text === separator)!
    for (const [text, name] of SEPARATORS) {
      if (text !== separator) add([timestamp, endpoint, BODY], [say('separator', name, right)], text)
    }
  }
  if (endpoint !== undefined) {
    add([timestamp, BODY], [noEndpoint])
    add([BODY], [noTimestamp, noEndpoint])
    add([endpoint, timestamp, BODY], [say('order')])
    for (const [text, mistake] of otherEndpoints(endpoint, scheme, parts)) add([timestamp, text, BODY], [mistake])
  } else if (url !== undefined) {
    const mistakes = [say('extraPath')]
    add([timestamp, url, BODY], mistakes)
    if (timestamp !== undefined) add([url, timestamp, BODY], mistakes)
  }
  add(['POST', timestamp, endpoint, BODY], [say('extraMethod')])
  add([timestamp, 'POST', endpoint, BODY], [say('extraMethod')])
  if (keyId !== undefined) {
    add([keyId, timestamp, endpoint, BODY], [say('extraApiKey')])
    add([timestamp, keyId, endpoint, BODY], [say('extraApiKey')])
  }
  if (date !== undefined) {
    for (const between of ['', '.', '\n']) add([date, timestamp, endpoint, BODY], [say('extraDate')], between)
  }
  return variants
}

function otherTimes (text: string, { timestamp = '' }: Scheme): [text: string, mistake: string][] {
  if (!/^\d{10}$/.test(text)) {
    const [whole = text] = /^\d+/.exec(text) ?? []
    const seconds = Number.isNaN(Date.parse(text)) ? whole.slice(0, 10) : String(Math.floor(Date.parse(text) / 1000))
    return [[seconds, say('signedOtherTime', timestamp)]]
  }
  const date = new Date(Number(text) * 1000)
  const near = [-2, -1, 1, 2].map((step): [string, string] =>
    [String(Number(text) + step), say('signedOtherTime', timestamp)])
  return [
    [`${text}000`, say('signedMilliseconds', timestamp)],
    ...near,
    [date.toISOString(), say('signedDate', timestamp)],
    [date.toISOString().replace('.000', ''), say('signedDate', timestamp)],
    [date.toUTCString(), say('signedDate', timestamp)]
  ]
}

function otherEndpoints (
  endpoint: string, { endpoint: header = '' }: Scheme, { expectedEndpoint, host, url }: Parts
): [text: string, mistake: string][] {
  const [path] = endpoint.split('?')
  const steps = path!.split('/').slice(1)
  const others: [string | undefined, string][] = [
    [expectedEndpoint, say('signedEndpoint', header)],
    [path, say('signedNoQuery')],
    [`${endpoint}/`, say('signedSlash', header)],
    [endpoint.replace(/\/$/, ''), say('signedSlash', header)],
    [endpoint.slice(1), say('signedSlash', header)],
    ...['https', 'http'].map((protocol): [string, string] =>
      [`${protocol}://${host}${endpoint}`, say('signedUrl')]),
    ...steps.slice(1, 8).map((_, index): [string, string] =>
      [`/${steps.slice(index + 1).join('/')}${endpoint.slice(path!.length)}`, say('signedNoPrefix')]),
    [url, say('signedTarget', header)]
  ]
  return others.filter((other): other is [string, string] => other[0] !== undefined && other[0] !== endpoint)
}
