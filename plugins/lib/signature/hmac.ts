import { createHmac, createSecretKey, hash, timingSafeEqual, type KeyObject } from 'node:crypto'
import { AlgorithmUnavailable } from '../errors.js'

export type MacAlgorithm = 'md5' | 'sha256'

export const MAC_BYTES: Readonly<Record<MacAlgorithm, number>> = { md5: 16, sha256: 32 }

/** A secret prepared for computing MACs. Printing it reveals nothing. */
export interface MacKey {
  readonly algorithm: MacAlgorithm
  readonly key: KeyObject
  /** Computes the HMAC of `prefix`, one byte per character, followed by `body`. */
  readonly sign: (prefix: string, body: Uint8Array) => Buffer
  /**
   * Returns true if one of `macs` is the complete HMAC of the message; a truncated one does not match. Compares all of
   * them in constant time.
   */
  readonly verify: (macs: readonly Uint8Array[], prefix: string, body: Uint8Array) => boolean
}

const BLOCK = 64 // block size in bytes, for both MD5 and SHA-256
const LONGEST = 8192 // maximum length in bytes of a message for which two hashes are cheaper than a stream
/** Buffer used only by this module. Each call overwrites the block and the message of the previous one. */
const scratch = Buffer.alloc(BLOCK + LONGEST)

/**
 * Makes a key that computes HMAC by its definition (RFC 2104, section 2), with both pads prepared once. With
 * `createHmac`, whose objects have to be garbage-collected, a whole delivery of 330 bytes takes 1.06 to 1.08 times the
 * CPU time, on Node 20 and 24 (bench/README.md). The hashes return strings of one character per byte, which cost less
 * than buffers. The pads stay hidden in the closure.
 */
export function createMacKey (algorithm: MacAlgorithm, secret: Uint8Array): MacKey {
  const key = createSecretKey(secret)
  const block = Buffer.alloc(BLOCK)
  block.set(secret.byteLength > BLOCK ? hash(algorithm, secret, 'buffer') : secret)
  const inner = block.map((byte) => byte ^ 0x36)
  const outer = Buffer.alloc(BLOCK + MAC_BYTES[algorithm])
  outer.set(block.map((byte) => byte ^ 0x5c))
  const expected = Buffer.alloc(MAC_BYTES[algorithm])

  /** Returns the HMAC as a string, one character per byte. */
  function digest (prefix: string, body: Uint8Array): string {
    const length = prefix.length + body.byteLength
    if (length > LONGEST) return createHmac(algorithm, key).update(prefix, 'latin1').update(body).digest('binary')
    scratch.set(inner)
    scratch.write(prefix, BLOCK, 'latin1')
    scratch.set(body, BLOCK + prefix.length)
    outer.write(hash(algorithm, scratch.subarray(0, BLOCK + length), 'binary'), BLOCK, 'latin1')
    return hash(algorithm, outer, 'binary')
  }

  return {
    algorithm,
    key,
    sign: (prefix, body) => Buffer.from(digest(prefix, body), 'latin1'),
    verify (macs, prefix, body) {
      expected.write(digest(prefix, body), 'latin1')
      let matches = false
      for (const mac of macs) {
        if (mac.byteLength === expected.byteLength && timingSafeEqual(mac, expected)) matches = true
      }
      return matches
    }
  }
}

/**
 * Checks that the platform supports the algorithm, so that a server finds out when it starts, not at its first
 * delivery.
 *
 * @throws {FST_VERIFICATION_ALGORITHM_UNAVAILABLE} if the platform lacks the algorithm
 */
export function assertAlgorithm (plugin: string, algorithm: MacAlgorithm): void {
  try {
    createHmac(algorithm, new Uint8Array())
  } catch {
    throw new AlgorithmUnavailable(plugin, algorithm)
  }
}

/**
 * Returns the index of the key that made one of the MACs, or -1. Computes one HMAC with every key and compares it with
 * every MAC in constant time, so the duration reveals neither which key matched nor how much of a forgery was right.
 */
export function findKey (
  keys: readonly MacKey[], macs: readonly Uint8Array[], prefix: string, body: Uint8Array
): number {
  let found = -1
  for (let index = 0; index < keys.length; index++) {
    if (keys[index]!.verify(macs, prefix, body)) found = index
  }
  return found
}
