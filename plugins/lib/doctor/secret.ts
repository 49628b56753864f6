import { decodeBase64, decodeHex } from '../signature/fields.js'
import { say } from './mistakes.js'
import type { Scheme, Variant } from './scheme.js'

const NOT_LOADED = ['', 'undefined', 'null', 'None']

/** Lists values other than the key that a sender may have used as the key. */
export function otherKeys (key: Buffer, encoding: Scheme['secret'], keyId: string | undefined): Variant<Buffer>[] {
  const variants = encoding === 'utf8' ? ofText(key) : ofBase64(key)
  if (keyId !== undefined) {
    const mistakes = [say('apiKeyForSecret')]
    variants.push({ value: Buffer.from(keyId), mistakes }, { value: Buffer.from(keyId, 'base64'), mistakes })
  }
  for (const text of NOT_LOADED) variants.push({ value: Buffer.from(text), mistakes: [say('noSecret')] })
  return variants
}

/** Lists variants of a secret whose string is the key. */
function ofText (key: Buffer): Variant<Buffer>[] {
  const text = key.toString()
  const decoded = [['base64', decodeBase64(text)], ['hex', decodeHex(text, text.length / 2)]] as const
  return [
    ...decoded.flatMap(([name, value]) =>
      value === undefined ? [] : [{ value, mistakes: [say('textDecoded', name)] }]),
    ...formsOf(text),
    ...(['base64', 'hex'] as const).map((name) =>
      ({ value: Buffer.from(key.toString(name)), mistakes: [say('encoded', name)] }))
  ]
}

/** Lists variants of a secret that must be decoded from base64. */
function ofBase64 (key: Buffer): Variant<Buffer>[] {
  const text = key.toString('base64')
  const asText = say('notDecoded')
  return [
    { value: Buffer.from(text), mistakes: [asText] },
    { value: Buffer.from(text.replace(/=+$/, '')), mistakes: [asText] },
    { value: Buffer.from(key.toString('base64url')), mistakes: [asText] },
    { value: Buffer.from(key.toString()), mistakes: [say('damaged')] },
    { value: Buffer.from(key.toString('latin1')), mistakes: [say('damaged')] },
    { value: Buffer.from(key.toString('hex')), mistakes: [say('encoded', 'hex')] },
    ...formsOf(text).map(({ value, mistakes }) => ({ value, mistakes: [asText, ...mistakes] }))
  ]
}

/** Lists forms of a string that files, shells and copying produce. */
function formsOf (text: string): Variant<Buffer>[] {
  const forms: [string, string][] = [
    [`${text}\n`, say('lineBreak')],
    [`${text}\r\n`, say('lineBreak')],
    [`${text} `, say('space')],
    [` ${text}`, say('space')],
    [`"${text}"`, say('quotes')],
    [`'${text}'`, say('quotes')],
    [text.replace(/^(["'])(.*)\1$/, '$2'), say('quotes')],
    [text.toUpperCase(), say('otherCase')],
    [text.toLowerCase(), say('otherCase')]
  ]
  return forms.filter(([form]) => form !== text).map(([form, mistake]) =>
    ({ value: Buffer.from(form), mistakes: [mistake] }))
}
