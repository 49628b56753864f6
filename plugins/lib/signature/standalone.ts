import type { IncomingHttpHeaders } from 'node:http'
import { matchKeys, type ParsedSignature } from './authenticate.js'
import { InvalidOption } from '../errors.js'
import { createMacKey, type MacKey } from './hmac.js'
import { checkOption, FRESHNESS_RULES } from '../rules.js'
import type { Rejection, VerifyResult } from './rejection.js'
import { secretBytes, type SecretRules } from './secrets.js'
import { freshnessOf, type Freshness, type FreshnessInput } from './timestamp.js'

/** What every pure `verify...` function takes, beside its secrets. */
export interface VerifyInput extends FreshnessInput {
  /** Names in lower case, as Node gives them. */
  headers: IncomingHttpHeaders
  /** The bytes of the body as they arrived. */
  body: Uint8Array
}

/** What every pure `sign...` function takes. */
export interface SignInput {
  /** One secret, as the provider hands it out. */
  secret: string
  /** A string is sent as UTF-8. */
  body: string | Uint8Array
}

/** The freshness asked for; throws `FST_VERIFICATION_INVALID_OPTION` where that is no time span. */
export function readFreshness (caller: string, input: FreshnessInput): Freshness {
  for (const name of ['tolerance', 'futureTolerance', 'now'] as const) {
    checkOption(caller, name, input[name], FRESHNESS_RULES[name]!)
  }
  return freshnessOf(input)
}

export function verifyPresented (
  caller: string, presented: ParsedSignature | Rejection, keys: readonly MacKey[], body: Uint8Array | undefined,
  freshness: Freshness
): VerifyResult {
  if (body === undefined) return { ok: false, reason: 'no_body' }
  if (!(body instanceof Uint8Array)) throw new InvalidOption(caller, 'body', 'must be a Uint8Array')
  const outcome = presented.ok ? matchKeys(presented, keys, body, freshness) : presented
  return outcome.ok ? outcome : { ok: false, reason: outcome.reason }
}

/** The MAC that a sender would make. A weak secret is the sender's affair. */
export function signMac (rules: SecretRules, { secret, body }: SignInput, prefix = ''): Buffer {
  const key = createMacKey(rules.algorithm, secretBytes(secret, rules))
  return key.sign(prefix, typeof body === 'string' ? Buffer.from(body) : body)
}

/** Seconds since 1970 as the headers carry them; now, if none are given. */
export function timestampText (timestamp: number | string = Math.floor(Date.now() / 1000)): string {
  return String(timestamp)
}
