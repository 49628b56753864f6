import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { decodeBase64 } from '../lib/signature/fields.js'
import type { MacKey } from '../lib/signature/hmac.js'

const SALT_BYTES = 32
const TAG_BYTES = 16
// Values are padded to a multiple of this, so that short ones have the same length. Together with salt and tag it is a
// multiple of 3, so that the base64 has no padding.
const BLOCK_BYTES = 177

/**
 * Encrypts and authenticates a JSON value with AES-256-GCM. Each value has its own key and nonce, derived by HKDF
 * (RFC 5869) with a random salt, so one secret can encrypt any number of values. `purpose` separates different uses of
 * the secret.
 */
export function seal (key: MacKey, purpose: string, value: unknown): string {
  const salt = randomBytes(SALT_BYTES)
  const text = Buffer.from(JSON.stringify(value))
  const padded = Buffer.alloc(Math.ceil(text.length / BLOCK_BYTES) * BLOCK_BYTES, ' ')
  text.copy(padded)
  const cipher = createCipheriv('aes-256-gcm', ...deriveKey(key, purpose, salt), { authTagLength: TAG_BYTES })
  const sealed = Buffer.concat([cipher.update(padded), cipher.final()])
  return Buffer.concat([salt, sealed, cipher.getAuthTag()]).toString('base64')
}

/** Decrypts a value. Returns undefined unless every bit is as `seal` produced it with this key and purpose. */
export function unseal (key: MacKey, purpose: string, sealed: string): unknown {
  const bytes = decodeBase64(sealed)
  if (bytes === undefined || bytes.length < SALT_BYTES + TAG_BYTES) return undefined
  const salt = bytes.subarray(0, SALT_BYTES)
  const decipher = createDecipheriv('aes-256-gcm', ...deriveKey(key, purpose, salt), { authTagLength: TAG_BYTES })
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
  try {
    const text = Buffer.concat([decipher.update(bytes.subarray(SALT_BYTES, -TAG_BYTES)), decipher.final()])
    return JSON.parse(text.toString())
  } catch {
    return undefined
  }
}

function deriveKey ({ key }: MacKey, purpose: string, salt: Buffer): [key: Buffer, nonce: Buffer] {
  const derived = Buffer.from(hkdfSync('sha256', key, salt, purpose, 44))
  return [derived.subarray(0, 32), derived.subarray(32)]
}
