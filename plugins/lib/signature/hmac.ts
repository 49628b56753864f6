import { createHmac, createSecretKey, hash, timingSafeEqual, type KeyObject } from 'node:crypto'
import { AlgorithmUnavailable } from '../errors.js'

export type MacAlgorithm = 'md5' | 'sha256'

export const MAC_BYTES: Readonly<Record<MacAlgorithm, number>> = { md5: 16, sha256: 32 }

/** A secret made ready for use. Printing it shows nothing. */
export interface MacKey {
  readonly algorithm: MacAlgorithm
  readonly key: KeyObject
  /** The HMAC of `prefix`, as bytes of its characters, followed by `body`. */
  readonly sign: (prefix: string, body: Uint8Array) => Buffer
  /** Whether one of `macs` is the whole HMAC of the message, all compared in constant time: a truncated one is not. */
  readonly verify: (macs: readonly Uint8Array[], prefix: string, body: Uint8Array) => boolean
}

const BLOCK = 64 // bytes, of MD5 and SHA-256 alike
const LONGEST = 8192 // bytes of a message for which two hashes are cheaper than a stream
/** Of this module alone: the next block and message are written over the last ones. */
const scratch = Buffer.alloc(BLOCK + LONGEST)

/**
 * HMAC by its definition (RFC 2104, section 2), with both pads made once: two one-shot hashes cost half of what
 * `createHmac` does, whose objects have to be collected, and less if they answer in texts of a character a byte. The
 * pads stay in the closure, unseen.
 */
export function createMacKey (algorithm: MacAlgorithm, secret: Uint8Array): MacKey {
  const key = createSecretKey(secret)
  const block = Buffer.alloc(BLOCK)
  block.set(secret.byteLength > BLOCK ? hash(algorithm, secret, 'buffer') : secret)
  const inner = block.map((byte) => byte ^ 0x36)
  const outer = Buffer.alloc(BLOCK + MAC_BYTES[algorithm])
  outer.set(block.map((byte) => byte ^ 0x5c))
  const expected = Buffer.alloc(MAC_BYTES[algorithm])

  /** A character a byte. */
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

/** Throws where the platform lacks the algorithm: a server must find out at its start, not at its first delivery. */
export function assertAlgorithm (plugin: string, algorithm: MacAlgorithm): void {
  try {
    createHmac(algorithm, new Uint8Array())
  } catch {
    throw new AlgorithmUnavailable(plugin, algorithm)
  }
}

/**
 * The index of the key that made one of the MACs, or -1. Every key is tried, by one HMAC each, and compared with every
 * MAC in constant time, so the time taken tells neither which one matched nor how much of a forgery was right.
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
