/** The reason a delivery is not authentic. For logs and callbacks only: the response is the same for all reasons. */
export type RejectionReason = 'missing_header' | 'duplicate_header' | 'malformed_header' | 'stale' | 'future' |
  'unknown_key' | 'wrong_endpoint' | 'mismatch' | 'no_body'

export interface Rejection {
  readonly ok: false
  readonly reason: RejectionReason
  /** The header at fault, if there is one. */
  readonly header?: string
  /** Age of the delivery in seconds, according to its timestamp. Negative if it is ahead of time. */
  readonly ageSeconds?: number
}

export interface Verified {
  readonly ok: true
  /** Index of the secret that matched, counted from 0. */
  readonly secretIndex: number
}

/** The result of the pure `verify...` functions. */
export type VerifyResult = Verified | Pick<Rejection, 'ok' | 'reason'>

export function reject (reason: RejectionReason, header?: string): Rejection {
  return header === undefined ? { ok: false, reason } : { ok: false, reason, header }
}
