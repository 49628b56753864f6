import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { matchKeys, withSuffix, type ParsedSignature } from './authenticate.js'
import {
  freshnessOf, type Freshness, type FreshnessInput, type Rejection, type VerifyResult
} from './fields.js'
import { InvalidOption } from '../errors.js'
import { createMacKey, type MacKey } from './hmac.js'
import { cacheKeys, findSecret, type KeyRing } from './keys.js'
import { checkOption, FRESHNESS_RULES, nonEmptyString, string } from '../rules.js'
import { endpointRule, type CompiledScheme } from './scheme.js'
import { secretBytes, type Secret, type SecretRules } from './secrets.js'

/** Common input of the pure `verify...` functions, besides their secrets. */
export interface VerifyInput extends FreshnessInput {
  /** Request headers with names in lower case, as Node provides them. */
  headers: IncomingHttpHeaders
  /** Raw bytes of the body as they arrived. */
  body: Uint8Array
}

/** Common input of the pure `sign...` functions. */
export interface SignInput {
  /** One secret, as the provider issues it. */
  secret: string
  /** Body to sign. A string is encoded as UTF-8. */
  body: string | Uint8Array
}

/**
 * Reads the freshness options.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if a tolerance is not a valid time span, or `now` is not a function
 */
function readFreshness (caller: string, input: FreshnessInput): Freshness {
  for (const name of ['tolerance', 'futureTolerance', 'now'] as const) {
    checkOption(caller, name, input[name], FRESHNESS_RULES[name]!)
  }
  return freshnessOf(input)
}

function verifyPresented (
  caller: string, presented: ParsedSignature | Rejection, keys: readonly MacKey[], body: Uint8Array | undefined,
  freshness: Freshness
): VerifyResult {
  if (body === undefined) return { ok: false, reason: 'no_body' }
  if (!(body instanceof Uint8Array)) throw new InvalidOption(caller, 'body', 'must be a Uint8Array')
  const outcome = presented.ok ? matchKeys(presented, keys, body, freshness) : presented
  return outcome.ok ? outcome : { ok: false, reason: outcome.reason }
}

/** Formats seconds since 1970 as the headers carry them. Default: the current time. */
function timestampText (timestamp: number | string = Math.floor(Date.now() / 1000)): string {
  return String(timestamp)
}

/** The values that a scheme signs beside the body. */
export interface SignedInput extends SignInput {
  /** Unix seconds. Default: now. */
  timestamp?: number | string | undefined
  /** The id of the delivery. */
  id?: string | undefined
  /** The id of the secret. */
  keyId?: string | undefined
  /** The public path and query to which the delivery is sent. */
  endpoint?: string | undefined
}

/**
 * Makes the pure function that signs as a scheme says. It returns the headers that the sender would send. It accepts
 * weak secrets, which are the responsibility of the sender.
 */
export function createSigner (caller: string, scheme: CompiledScheme): (input: SignedInput) => Record<string, string> {
  const { algorithm, key: encoding } = scheme
  const rules: SecretRules = { plugin: caller, option: 'secret', algorithm, encoding }
  const needed = (['id', 'keyId', 'endpoint'] as const).filter((part) => scheme.parts.has(part))
  return (input) => {
    for (const part of needed) {
      if (input[part] === undefined) throw new InvalidOption(caller, part, 'is required')
      checkOption(caller, part, input[part], part === 'endpoint' ? string : nonEmptyString)
    }
    const { id, keyId, endpoint, body } = input
    const values = { timestamp: timestampText(input.timestamp), id, keyId, endpoint }
    const { before, after } = scheme.frame(values)
    const key = createMacKey(algorithm, secretBytes(input.secret, rules))
    const mac = key.sign(before, withSuffix(typeof body === 'string' ? Buffer.from(body) : body, after))
    return { 'content-type': 'application/json', ...scheme.write({ ...values, mac }) }
  }
}

/** The secret, or the secrets by their ids where a scheme has `{keyId}`. */
export interface SchemeVerifyInput extends VerifyInput {
  secret?: Secret | undefined
  secrets?: Exclude<KeyRing, Function> | undefined
  /** The public path and query of the route, where a scheme has `{endpoint}`. */
  endpoint?: string | undefined
}

/**
 * Makes the pure function that verifies as a scheme says. Its errors name the input of the secrets `option`.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} from that function, for secrets, endpoints or times that cannot be used
 */
export function createVerifier (
  caller: string, scheme: CompiledScheme, option = scheme.parts.has('keyId') ? 'secrets' : 'secret'
): (input: SchemeVerifyInput) => VerifyResult {
  const { algorithm, key: encoding, parts, read } = scheme
  const keysOf = cacheKeys({ plugin: caller, option, algorithm, encoding })
  const rule = endpointRule(scheme)
  const checkEndpoint = (endpoint: string | undefined): void => {
    if (parts.has('endpoint')) checkOption(caller, 'endpoint', endpoint ?? '', rule)
  }
  if (!parts.has('keyId')) {
    return (input) => {
      const { headers, body, endpoint, secret } = input
      const keys = keysOf(secret)
      const freshness = readFreshness(caller, input)
      checkEndpoint(endpoint)
      return verifyPresented(caller, read(headers, endpoint), keys, body, freshness)
    }
  }
  const nobody = [createMacKey(algorithm, randomBytes(32))]
  return (input) => {
    const { headers, body, endpoint, secrets } = input
    const freshness = readFreshness(caller, input)
    checkEndpoint(endpoint)
    const parsed = read(headers, endpoint)
    const secret = findSecret(secrets, parsed.ok ? parsed.keyId! : '', caller, option)
    // The same work for a key that is not known as for one that is.
    const keys = secret === undefined ? nobody : keysOf(secret)
    const result = verifyPresented(caller, parsed, keys, body, freshness)
    return secret === undefined && !result.ok && result.reason === 'mismatch'
      ? { ok: false, reason: 'unknown_key' }
      : result
  }
}
