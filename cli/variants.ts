// Longer than the maximum tolerance of a receiver, which is seven days.
const EIGHT_DAYS = 8 * 86_400 // seconds

/** A change that turns a valid delivery into a variant. */
interface Change {
  readonly about: string
  /** Changes the signed data after signing. */
  readonly alter?: (signed: Buffer) => Buffer
  /** Offset of the signed time from now, in seconds. */
  readonly shift?: number
  readonly otherSecret?: true
  readonly otherEndpoint?: true
  readonly twice?: true
}

function flipBit (signed: Buffer): Buffer {
  const bytes = Buffer.from(signed)
  bytes[bytes.length >> 1]! ^= 1
  return bytes
}

export const VARIANTS = {
  valid: { about: 'a valid delivery' },
  tampered: { about: 'one bit changed after signing', alter: flipBit },
  expired: { about: 'signed eight days ago', shift: -EIGHT_DAYS },
  future: { about: 'signed eight days from now', shift: EIGHT_DAYS },
  duplicate: { about: 'sent twice', twice: true },
  'wrong-key': { about: 'signed with another secret', otherSecret: true },
  'wrong-endpoint': { about: 'signed for another endpoint', otherEndpoint: true },
  truncated: { about: 'cut in half after signing', alter: (signed) => signed.subarray(0, signed.length >> 1) }
} satisfies Record<string, Change>

export type Variant = keyof typeof VARIANTS

export const changeOf = (variant: Variant): Change => VARIANTS[variant]
