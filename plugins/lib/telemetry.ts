import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { channel } from 'node:diagnostics_channel'
import type { DeliveryContext } from './context.js'
import { describeError, errorOf, isForbidden, type Answer } from './errors.js'
import type { RejectionReason } from './signature/fields.js'
import type { WatchOptions } from './options.js'

/** The outcome of a delivery. */
export type Outcome = 'accepted' | 'duplicate' | 'denied' | 'rejected' | 'failed'

/** The reason for an outcome. */
export type Reason =
  'handled' | 'acknowledged' | // accepted
  'replayed' | 'in_progress' | // duplicate
  'denied' | // denied
  RejectionReason | // rejected, like all up to `used`
  'unsupported_media_type' | 'body_too_large' | 'body_timeout' | 'bad_request' |
  'invalid_json' | 'invalid_payload' | 'unknown_event' | 'id_reused' | 'not_serializable' |
  'token_required' | 'no_identifier' | 'malformed_token' | 'bot' | 'other_identifier' | 'used' |
  'handler_failed' | 'handler_timeout' | 'invalid_reply' | 'store_unavailable' | 'secret_unavailable' | // failed
  'queue_unavailable' | 'verification_failed' | 'service_unavailable' | 'internal_error'

/**
 * The report of a delivery, with nothing secret in it. It is published on the channel `fastify-verification:delivery`
 * of `node:diagnostics_channel`: one message per delivery, when its response is sent.
 */
export interface DeliveryReport {
  /** Name of the provider, as its plugin has it. */
  readonly provider: string
  /** Path of the route, with its prefix. Empty if code, not a route, asks for the check. */
  readonly path: string
  readonly outcome: Outcome
  readonly reason: Reason
  /** HTTP status of the response. Absent if `requireHuman` lets a request through to your route. */
  readonly status?: number
  /** Duration in milliseconds from the arrival of the request to its response. */
  readonly duration: number
  /** Length of the body in bytes. 0 if it was not read to its end. */
  readonly bytes: number
  /**
   * Index of the secret that matched, counted from 0. An old secret can be removed once no delivery uses it any more.
   */
  readonly secretIndex?: number
  /** The api-key or `keyId`, if it is known to have a secret. */
  readonly keyId?: string
  /** Age of a `stale` or `future` delivery in seconds, according to its timestamp. Negative if it is ahead of time. */
  readonly ageSeconds?: number
  /** Key of the delivery in the store. Equal for all copies, and reveals nothing of the content. */
  readonly delivery?: string
  /** Fastify's id of the request. */
  readonly requestId: string
}

/** The report passed to `onRejected`. */
export type RejectedDelivery = DeliveryReport & { readonly reason: RejectionReason }

const deliveries = channel('fastify-verification:delivery')
const LEVELS: Readonly<Record<Outcome, Level>> = {
  accepted: 'debug', duplicate: 'info', denied: 'info', rejected: 'info', failed: 'error'
}

const MESSAGES: Readonly<Record<Outcome, string>> = {
  accepted: 'delivery accepted',
  duplicate: 'delivery duplicate',
  denied: 'delivery denied',
  rejected: 'delivery rejected',
  failed: 'delivery failed'
}

/** Reports a delivery to the log and the channel. */
export function reportDelivery (
  report: DeliveryReport, log: FastifyBaseLogger, { level, details }: Pick<Answer, 'level' | 'details'>
): void {
  const { provider, path, outcome, reason, status, secretIndex, keyId, ageSeconds, delivery } = report
  const known = { provider, path, reason, statusCode: status, secretIndex, keyId, ageSeconds, delivery }
  safeLog(log, level ?? LEVELS[outcome], details === undefined ? known : { ...known, ...details }, MESSAGES[outcome])
  if (deliveries.hasSubscribers) deliveries.publish(report)
}

/** Callback for each response and the status it is sent with, before it is sent. */
export type Report = (
  request: FastifyRequest, delivery: DeliveryContext | undefined, answer: Answer, status: number
) => void

/** Makes a function that reports a plugin's deliveries to the log, the channel and the observers. */
export function createReport (provider: string, { onRejected, onFailed }: WatchOptions): Report {
  return (request, delivery, answer, status) => {
    const { log } = request
    const rejects = onRejected !== undefined && isForbidden(answer)
    const fails = onFailed !== undefined && answer.outcome === 'failed'
    const observed = rejects || fails || deliveries.hasSubscribers
    if (!observed && !isEnabled(log, answer.level ?? LEVELS[answer.outcome])) return
    const report = reportOf(provider, request, delivery, answer, status)
    reportDelivery(report, log, answer)
    if (rejects) call(() => onRejected(report as RejectedDelivery), 'onRejected', log)
    if (fails) {
      const error = answer.thrown === undefined ? errorOf(answer) : answer.thrown.value
      call(() => onFailed(error, report), 'onFailed', log)
    }
  }

  function call (observer: () => void, name: string, log: FastifyBaseLogger): void {
    Promise.resolve().then(observer).catch((error: unknown) => {
      safeLog(log, 'error', { provider, failure: describeError(error) }, `${name} failed`)
    })
  }
}

function reportOf (
  provider: string, request: FastifyRequest, delivery: DeliveryContext | undefined, { outcome, reason }: Answer,
  status: number
): DeliveryReport {
  const report: { -readonly [Field in keyof DeliveryReport]: DeliveryReport[Field] } = {
    provider,
    path: request.routeOptions.url!,
    outcome,
    reason,
    status,
    duration: delivery === undefined ? 0 : performance.now() - delivery.since,
    bytes: delivery?.bytes ?? 0,
    requestId: request.id
  }
  if (delivery?.secretIndex !== undefined) report.secretIndex = delivery.secretIndex
  if (delivery?.keyId !== undefined) report.keyId = delivery.keyId
  if (delivery?.ageSeconds !== undefined) report.ageSeconds = delivery.ageSeconds
  if (delivery?.key !== undefined) report.delivery = delivery.key
  return report
}

export type Level = 'debug' | 'info' | 'warn' | 'error'

/**
 * Logs a message. Ignores errors of the host's serializers and transports, so that logging never changes a response.
 */
export function safeLog (log: FastifyBaseLogger, level: Level, details: object, message: string): void {
  try {
    log[level](details, message)
  } catch {}
}

/** Returns true if the logger uses messages of this level, or cannot tell. */
export function isEnabled (log: FastifyBaseLogger, level: Level): boolean {
  try {
    return (log as { isLevelEnabled?: (level: Level) => boolean }).isLevelEnabled?.(level) ?? true
  } catch {
    return true
  }
}

/** Logs the outcome of a handler that ended after the response was sent without it. */
export function logLate ({ log }: FastifyRequest, provider: string, answer: Answer): void {
  const { statusCode, reason, details } = answer
  safeLog(log, 'warn', { provider, reason, statusCode, ...details }, 'handler ended after its timeout')
}
