import type { CompiledScheme } from '../signature/scheme.js'
import type { Scheme } from './scheme.js'

const WHOLE = /^([^{}]*)\{(hex|base64)\}$/
const SIGNED = /^(\{timestamp\}(\.?))?(\{endpoint\})?\{body\}$/

/**
 * Describes a signature scheme for the search for mistakes; undefined for a scheme that it cannot search: a list, or a
 * message other than a timestamp and an endpoint before the body.
 */
export function describeScheme (
  { source: { headers, signed, ignoreCase }, algorithm, key, headerOf }: CompiledScheme
): Scheme | undefined {
  const name = headerOf.get('hex') ?? headerOf.get('base64')!
  const [, prefix, encoding] = WHOLE.exec(String(headers[name])) ?? []
  const [matched, , separator = '', endpointPart] = SIGNED.exec(signed) ?? []
  const timestamp = headerOf.get('timestamp')
  const endpoint = headerOf.get('endpoint')
  const keyId = headerOf.get('keyId')
  const others = [[timestamp, '{timestamp}'], [endpoint, '{endpoint}'], [keyId, '{keyId}']] as const
  const areWhole = others.every(([header, template]) => header === undefined || headers[header] === template)
  const isBare = endpointPart !== undefined && endpoint === undefined // it is signed, but in no header
  if (prefix === undefined || matched === undefined || !areWhole || isBare) return undefined
  return {
    algorithm,
    secret: key === 'base64' ? 'base64' : 'utf8',
    encoding: encoding as 'hex' | 'base64',
    signature: name,
    prefix,
    separator: separator as '' | '.',
    ...(ignoreCase === true && { prefixInAnyCase: true }),
    ...(timestamp !== undefined && { timestamp }),
    ...(endpoint !== undefined && { endpoint }),
    ...(keyId !== undefined && { keyId })
  }
}
