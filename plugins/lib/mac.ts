import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto'
import { AlgorithmUnavailable } from './errors.js'

export type MacAlgorithm = 'md5' | 'sha256'

export const MAC_BYTES: Readonly<Record<MacAlgorithm, number>> = { md5: 16, sha256: 32 }

/** A secret made ready for use. Printing it shows nothing. */
export interface MacKey {
  readonly algorithm: MacAlgorithm
  readonly key: KeyObject
}

export function createMacKey (algorithm: MacAlgorithm, secret: Uint8Array): MacKey {
  return { algorithm, key: createSecretKey(secret) }
}

/** Throws where the platform lacks the algorithm: a server must find out at its start, not at its first delivery. */
export function assertAlgorithm (plugin: string, algorithm: MacAlgorithm): void {
  try {
    createHmac(algorithm, 'probe')
  } catch {
    throw new AlgorithmUnavailable(plugin, algorithm)
  }
}

/** HMAC (RFC 2104) of `prefix`, as bytes of its characters, followed by `body`. */
export function hmac ({ algorithm, key }: MacKey, prefix: string, body: Uint8Array): Buffer {
  return createHmac(algorithm, key).update(prefix, 'latin1').update(body).digest()
}

/**
 * The index of the key that made `mac`, or -1. Every key is tried and compared in constant time, so the time taken
 * tells neither which one matched nor how much of a forgery was right.
 */
export function findKey (keys: readonly MacKey[], mac: Uint8Array, prefix: string, body: Uint8Array): number {
  let found = -1
  for (let index = 0; index < keys.length; index++) {
    if (isMac(keys[index]!, mac, prefix, body)) found = index
  }
  return found
}

/** Whether `mac` is the whole HMAC of the message: a truncated one is not. */
export function isMac (key: MacKey, mac: Uint8Array, prefix: string, body: Uint8Array): boolean {
  const expected = hmac(key, prefix, body)
  return mac.byteLength === expected.byteLength && timingSafeEqual(mac, expected)
}
