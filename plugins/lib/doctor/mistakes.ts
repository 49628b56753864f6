import { format } from 'node:util'

/**
 * The description of each mistake. `%s` stands for a header, an algorithm, a number or the like, never for a secret.
 */
export const MISTAKES = {
  // the signature header
  base64ForHex: 'the signature is in base64, where hex is expected',
  hexForBase64: 'the signature is in hex, where base64 is expected',
  base64url: 'the signature is in base64url, where %s is expected',
  unpadded: 'the signature is in base64 without padding',
  encodedTwice: 'the signature is encoded in hex and then in base64',
  noPrefix: 'the signature lacks the prefix "%s"',
  otherPrefix: 'the signature has an unexpected prefix',
  quoted: 'the signature is in quotation marks',
  tool: 'the signature was sent with other output of a command',
  cut: 'the signature is truncated',
  algorithm: 'the signature is made with %s, where %s is expected',
  unkeyed: 'the signature is a plain hash without the secret, where an HMAC is expected',
  plainHash: 'the signature is a plain hash of secret and message, where an HMAC is expected',
  swapped: 'the HMAC was computed with the message as key and the secret as message',
  // headers in general
  missing: 'the header %s is missing',
  repeated: 'the header %s occurs more than once',
  elsewhere: 'the header %s was sent, where %s is expected',
  // the secret
  textDecoded: 'the secret was decoded from %s, where it must be used as it is',
  notDecoded: 'the secret was used as it is, where it must be decoded from base64',
  damaged: 'the secret was decoded from base64 to a string, which changes its bytes',
  encoded: 'the secret was encoded in %s before use',
  lineBreak: 'the secret has a trailing line break',
  space: 'the secret has a leading or trailing space',
  quotes: 'one side uses the secret with quotation marks around it',
  otherCase: 'the secret was converted to upper or lower case',
  noSecret: 'the secret is empty or a word such as "undefined", so it was not loaded',
  apiKeyForSecret: 'the api-key was used instead of the secret',
  otherApiKey: 'the secret belongs to another api-key, %s',
  otherRoute: 'the secret belongs to another route of this server, %s',
  // the api-key
  unknownKey: 'the api-key in %s is not configured',
  keyInOtherCase: 'the api-key in %s differs from a configured one in letter case',
  // the timestamp
  milliseconds: '%s is in milliseconds, where seconds are expected',
  microseconds: '%s is in micro- or nanoseconds, where seconds are expected',
  fraction: '%s has a fraction, where whole seconds are expected',
  date: '%s is a date, where seconds since 1970 are expected',
  noTime: '%s is not a time in seconds since 1970',
  old: '%s is %s seconds old: the delivery is late or a replay, or a clock is wrong',
  ahead: '%s is %s seconds ahead: a clock is wrong',
  timeZone: '%s is off by about %s hours: local time was used instead of UTC',
  signedMilliseconds: 'the signed timestamp is in milliseconds, where %s has seconds',
  signedDate: 'the signed timestamp is a date, where %s has seconds',
  signedOtherTime: 'the signed timestamp differs from %s: the clock was read twice, or a number was rounded',
  // the signed message
  noTimestamp: 'the timestamp is missing from the signed message',
  noEndpoint: 'the endpoint is missing from the signed message',
  noBody: 'the body is missing from the signed message',
  separator: 'the parts of the signed message are separated by %s, where %s is expected',
  order: 'the parts of the signed message are in the wrong order',
  extraMethod: 'the method is in the signed message, where it does not belong',
  extraPath: 'the path is in the signed message, where it does not belong',
  extraApiKey: 'the api-key is in the signed message, where it does not belong',
  extraDate: 'the Date header is in the signed message, where it does not belong',
  // the endpoint
  fullUrl: '%s is a full URL, where path and query are expected',
  shortEndpoint: '%s lacks a prefix of the expected path',
  longEndpoint: '%s has an extra prefix before the expected path',
  query: '%s and the expected endpoint have different queries',
  slash: '%s and the expected endpoint differ in a trailing slash',
  otherEndpoint: '%s is not the expected endpoint',
  signedEndpoint: 'the signed endpoint is the expected one, not the one in %s',
  signedUrl: 'the signed endpoint is a full URL',
  signedNoPrefix: 'the signed endpoint lacks a prefix of the path',
  signedNoQuery: 'the signed endpoint lacks the query',
  signedSlash: 'the signed endpoint and %s differ in a leading or trailing slash',
  signedTarget: 'the signed endpoint is the path of the request, not the one in %s',
  // the body
  body: 'the signed body differs from the received one: it was %s, and the first different byte is at offset %s',
  // the conclusion
  otherwise: 'apart from this the signature does not match',
  right: 'the signature itself is correct'
} as const

/** Diagnosis if no known mistake explains the rejection. */
export const NO_KNOWN_MISTAKE = 'no known mistake'

export type MistakeName = keyof typeof MISTAKES

/** Formats the description of a mistake. */
export function say (name: MistakeName, ...values: (string | number)[]): string {
  return format(MISTAKES[name], ...values)
}
