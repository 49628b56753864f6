/** Why a delivery was not authentic. For logs and callbacks only: the answer is the same for all of them. */
export type RejectionReason = 'missing_header' | 'duplicate_header' | 'malformed_header' | 'stale' | 'future' |
  'unknown_key' | 'wrong_endpoint' | 'mismatch' | 'no_body'

export interface Rejection {
  readonly ok: false
  readonly reason: RejectionReason
  /** The header at fault, where one is. */
  readonly header?: string
  /** How old the delivery says it is, in seconds; negative if it is ahead of time. */
  readonly ageSeconds?: number
}

export interface Verified {
  readonly ok: true
  /** Which of several secrets matched, counted from 0. */
  readonly secretIndex: number
}

/** What the pure `verify...` functions return. */
export type VerifyResult = Verified | Pick<Rejection, 'ok' | 'reason'>

export function reject (reason: RejectionReason, header?: string): Rejection {
  return header === undefined ? { ok: false, reason } : { ok: false, reason, header }
}
