import { createMacKey, type MacAlgorithm, type MacKey } from './hmac.js'
import { decodeBase64 } from './fields.js'
import { InvalidOption } from '../errors.js'

/** One secret, or a list of 1 to 4 that are valid at the same time during a rotation. */
export type Secret = string | readonly string[]

/**
 * The encoding that turns the string of a secret into the bytes of the key. A function returns undefined for a string
 * that is not a secret.
 */
export type SecretEncoding = 'utf8' | 'base64' | ((text: string) => Uint8Array | undefined)

/** Requirements of a provider for its secrets. */
export interface SecretRules {
  /** Name of the plugin or function, for error messages. */
  readonly plugin: string
  readonly option: string
  readonly algorithm: MacAlgorithm
  readonly encoding: SecretEncoding
  /** True if a short secret is accepted. Undefined if there is no such option. */
  readonly allowWeakSecret?: boolean | undefined
}

/** A key with a name that distinguishes it from others, in all processes, without revealing the key. */
export interface NamedKey extends MacKey {
  readonly name: string
  /** The owner of the deliveries that the key signs: the name of the key, or its id in a ring. */
  readonly tenant: string
}

const MAX_SECRETS = 4
const MIN_BYTES: Readonly<Record<MacAlgorithm, number>> = { md5: 16, sha256: 24 }
const NOTHING = new Uint8Array()
// Control and format characters, fillers, separators other than a space, and halves of a surrogate pair.
const INVISIBLE = /[\p{Cc}\p{Cs}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\u2800]|(?! )\p{Zs}/u
/** Strings that result when a program formats a missing value or an object. */
const MISSING = /^(?:\w+_)?(?:undefined|null|NaN|\[object \w+\])$/

/** Returns the reason a string must be trimmed before it can be a secret, or undefined if it need not be. */
function problemAround (text: string): string | undefined {
  if (text.trim() === '') return 'must not be empty'
  if (/[\r\n]$/.test(text)) return 'must not end with a line break: trim the content of a file'
  return text.trim() === text ? undefined : 'must not begin or end with white space'
}

/** Returns the reason a string cannot be a secret or an api-key, however weak, or undefined if it can. */
export function problemWithin (text: string): string | undefined {
  if (INVISIBLE.test(text)) return 'must not contain invisible characters'
  if (MISSING.test(text)) return 'must not be a placeholder such as "undefined"'
  return /^0+$/.test(text) ? 'must not be all zeros' : undefined
}

const nameOf = (key: MacKey): string => key.sign('fastify-verification key', NOTHING).toString('hex')

/**
 * Returns the bytes of a secret.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if it cannot be a secret, however weak
 */
export function secretBytes (secret: unknown, { plugin, option, encoding }: Omit<SecretRules, 'algorithm'>): Uint8Array {
  if (typeof secret !== 'string') throw new InvalidOption(plugin, option, 'must be a string')
  const around = problemAround(secret)
  if (around !== undefined) throw new InvalidOption(plugin, option, around)
  const bytes = decodeSecret(secret, encoding)
  if (!(bytes instanceof Uint8Array)) {
    const expected = encoding === 'base64' ? 'must be canonical base64' : 'does not have the format of the secrets of this provider'
    throw new InvalidOption(plugin, option, expected)
  }
  // RFC 2104 pads a key with zeros, so an empty key is all zeros, too.
  const problem = bytes.every((byte) => byte === 0) ? 'must not be all zeros' : problemWithin(secret)
  if (problem !== undefined) throw new InvalidOption(plugin, option, problem)
  return bytes
}

function decodeSecret (secret: string, encoding: SecretEncoding): unknown {
  if (encoding === 'utf8') return Buffer.from(secret)
  if (encoding === 'base64') return decodeBase64(secret)
  try {
    return encoding(secret)
  } catch {
    return undefined // the error may reveal the secret
  }
}

/** Returns true if a key is too short to withstand guessing. */
export function isWeak ({ algorithm, key }: MacKey): boolean {
  return key.symmetricKeySize! < MIN_BYTES[algorithm]
}

/**
 * Derives the keys of a secret, or of several during a rotation.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if a secret is invalid, too short or repeated, or there are not 1 to 4
 */
export function deriveKeys (secret: unknown, rules: SecretRules): NamedKey[] {
  const { plugin, option, algorithm, allowWeakSecret } = rules
  const secrets: unknown[] = Array.isArray(secret) ? secret : [secret]
  if (secrets.length === 0 || secrets.length > MAX_SECRETS) {
    throw new InvalidOption(plugin, option, `must have 1 to ${MAX_SECRETS} secrets`)
  }
  const keys = secrets.map((text) => {
    const key = createMacKey(algorithm, secretBytes(text, rules))
    if (isWeak(key) && allowWeakSecret !== true) {
      const way = allowWeakSecret === false ? '; "allowWeakSecret" allows shorter secrets' : ''
      throw new InvalidOption(plugin, option, `must be at least ${MIN_BYTES[algorithm]} bytes long${way}`)
    }
    const name = nameOf(key)
    return { ...key, name, tenant: name }
  })
  // RFC 2104 pads a key with zeros and hashes a long one: different strings can be the same key.
  const names = keys.map(({ name }) => name)
  if (new Set(names).size !== names.length) throw new InvalidOption(plugin, option, 'must not contain the same secret twice')
  return keys
}
