import { format } from 'node:util'

/**
 * The description of each mistake. `%s` stands for a header, an algorithm, a number or the like, never for a secret.
 */
export const MISTAKES = {
  // the signature header
  base64ForHex: 'the signature is in base64, where hex is expected',
  hexForBase64: 'the signature is in hex, where base64 is expected',
  base64url: 'the signature is in base64url, where %s is expected',
  unpadded: 'the signature is in base64 without the padding at its end',
  encodedTwice: 'the signature is in hex that was encoded in base64 once more',
  noPrefix: '"%s" is missing before the signature',
  otherPrefix: 'something stands before the signature that does not belong there',
  quoted: 'the signature is in quotation marks',
  tool: 'what a command printed beside the signature was sent along with it',
  cut: 'the signature is cut short',
  algorithm: 'the signature is made with %s, where %s is expected',
  unkeyed: 'the signature is a plain hash, without the secret, where an HMAC is expected',
  plainHash: 'the signature is a plain hash of secret and message, where an HMAC is expected',
  swapped: 'the HMAC was given the message for its key, and the secret for its message',
  // headers in general
  missing: 'the header %s is missing',
  repeated: 'the header %s is there more than once',
  elsewhere: 'the header %s is there, where %s is expected',
  // the secret
  textDecoded: 'the secret was decoded from %s, where its text is the key',
  notDecoded: 'the secret was used as a text, where it is to be decoded from base64',
  damaged: 'the secret was decoded from base64 into a text, which changes its bytes',
  encoded: 'the secret was encoded in %s before it was used',
  lineBreak: 'the secret has a line break at its end',
  space: 'the secret has a space before or after it',
  quotes: 'the secret is in quotation marks on one side',
  otherCase: 'the secret is in upper or lower case throughout',
  noSecret: 'the secret is empty or a word such as "undefined", so it was not loaded',
  apiKeyForSecret: 'the api-key was used for the secret',
  otherApiKey: 'the secret is that of another api-key, %s',
  otherRoute: 'the secret is that of %s, on the same server',
  // the api-key
  unknownKey: 'the api-key in %s is not configured',
  keyInOtherCase: 'the api-key in %s differs from a configured one in upper and lower case',
  // the timestamp
  milliseconds: '%s is in milliseconds, where seconds are expected',
  microseconds: '%s is in micro- or nanoseconds, where seconds are expected',
  fraction: '%s has a fraction, where whole seconds are expected',
  date: '%s holds a date, where seconds since 1970 are expected',
  noTime: '%s is not a time in seconds since 1970',
  old: '%s is %s seconds old: it was sent late or again, or a clock is wrong',
  ahead: '%s is %s seconds ahead: a clock is wrong',
  timeZone: '%s is off by about %s hours: a local time was taken for UTC',
  signedMilliseconds: 'the timestamp in the signed text is in milliseconds, where %s has seconds',
  signedDate: 'the timestamp in the signed text is a date, where %s has seconds',
  signedOtherTime: 'the timestamp in the signed text is not that of %s: the clock was read twice, or a number rounded',
  // the signed message
  noTimestamp: 'the timestamp is missing from the signed text',
  noEndpoint: 'the endpoint is missing from the signed text',
  noBody: 'the body is missing from the signed text',
  separator: 'the parts of the signed text have %s between them, where %s is expected',
  order: 'the parts of the signed text are in another order',
  extraMethod: 'the method is in the signed text, where it does not belong',
  extraPath: 'the path is in the signed text, where it does not belong',
  extraApiKey: 'the api-key is in the signed text, where it does not belong',
  extraDate: 'the Date header is in the signed text, where it does not belong',
  // the endpoint
  fullUrl: '%s holds a full URL, where path and query are expected',
  shortEndpoint: '%s lacks the beginning of the expected path: a prefix',
  longEndpoint: '%s has more than the expected path at its beginning: a prefix',
  query: '%s and the expected endpoint differ in their query',
  slash: '%s and the expected endpoint differ in a slash at the end',
  otherEndpoint: '%s is not the expected endpoint',
  signedEndpoint: 'the endpoint in the signed text is the expected one, not that of %s',
  signedUrl: 'the endpoint in the signed text is a full URL',
  signedNoPrefix: 'the endpoint in the signed text lacks the beginning of the path: a prefix',
  signedNoQuery: 'the endpoint in the signed text lacks the query',
  signedSlash: 'the endpoint in the signed text has a slash more or less than %s',
  signedTarget: 'the endpoint in the signed text is the path that was asked for, not that of %s',
  // the body
  body: 'the body that was signed is not the one that arrived: it was %s, and the first byte that differs is at offset %s',
  // the conclusion
  otherwise: 'apart from that the signature does not match',
  right: 'the signature itself is right'
} as const

/** Diagnosis if no known mistake explains the rejection. */
export const NO_KNOWN_MISTAKE = 'no known mistake'

export type MistakeName = keyof typeof MISTAKES

/** Formats the description of a mistake. */
export function say (name: MistakeName, ...values: (string | number)[]): string {
  return format(MISTAKES[name], ...values)
}
