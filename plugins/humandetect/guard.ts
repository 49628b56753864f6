import type {
  FastifyBaseLogger, FastifyRequest, RawServerBase, RawServerDefault, RouteGenericInterface
} from 'fastify'
import { RETRY_AFTER_SECONDS } from '../lib/response.js'
import { errorBody, type Answer } from '../lib/errors.js'
import { anyValue, callback, checkOptions, oneOf, required, nonEmptyString, type Awaitable, type Rule } from '../lib/rules.js'
import { reportDelivery, type DeliveryReport } from '../lib/telemetry.js'
import type { Examine, Finding, Refusal, Refused, Verdict } from './token-verifier.js'

export interface VerifyTokenOptions {
  /** What the SDK was given: a user, a nonce. A token about anything else is refused. */
  identifier: string
  /** Whether a bot's token, genuine otherwise, is let through with `valid: false`. Default `deny`. */
  onBot?: 'deny' | 'flag' | undefined
}

export interface RequireHumanOptions<
  Route extends RouteGenericInterface = RouteGenericInterface, Server extends RawServerBase = RawServerDefault
> extends Pick<VerifyTokenOptions, 'onBot'> {
  /** What the SDK was given, or how to tell for a request. A token about anything else is refused. */
  identifier: string | ((request: FastifyRequest<Route, Server>) => Awaitable<string>)
  /** Where the token is. Default: the body's `token`. */
  token?: ((request: FastifyRequest<Route, Server>) => unknown) | undefined
}

/** A reply of a host, whether it speaks HTTP/1.1 or HTTP/2. */
export interface HasHeader { header: (name: string, value: string) => unknown }

/** The errors by which a guard refuses, in a host's own routes. */
export type Refusals = Readonly<Record<Refusal, new () => Error & { statusCode?: number, code: string }>>

export interface Guard<V extends Verdict> {
  /** Asks about a token in code; what comes of it is told to `log`. Rejects with one of the refusals. */
  verifier: (log: FastifyBaseLogger) => (token: string, options: VerifyTokenOptions) => Promise<V>
  /** A preHandler for routes of the host. */
  requireHuman: <
    Route extends RouteGenericInterface = RouteGenericInterface, Server extends RawServerBase = RawServerDefault
  >(options: RequireHumanOptions<Route, Server>) =>
  (request: FastifyRequest<Route, Server>, reply: HasHeader) => Promise<void>
  /** The same for a route of the plugin's own, which answers by itself and throws nothing. */
  admit: (body: { token: string, identifier: string }, request: FastifyRequest) => Promise<Answer | undefined>
  readonly tokenRequired: Answer
}

interface Parts<V extends Verdict> {
  readonly provider: string
  readonly examine: Examine<V>
  readonly refusals: Refusals
  /** Leaves on the request what is known of the human. */
  readonly grant: (request: FastifyRequest, verdict: V) => void
}

const BOT_RULE = oneOf('deny', 'flag')
const IDENTIFIER_RULE: Rule = {
  accepts: (value) => typeof value === 'function' || nonEmptyString.accepts(value),
  expects: 'must be a non-empty string or a function'
}
const bodyToken = ({ body }: { body: unknown }): unknown => (body as { token?: unknown } | null | undefined)?.token

/** Lets requests pass that bring a token about whom they should, and reports each. */
export function createGuard<V extends Verdict> ({ provider, examine, refusals, grant }: Parts<V>): Guard<V> {
  function answerTo ({ refusal, reason, details }: Refused): Answer {
    const { statusCode, code, message } = new refusals[refusal]()
    const outcome = refusal === 'unavailable' ? 'failed' : 'rejected'
    return { statusCode: statusCode!, body: errorBody(statusCode!, code, message), outcome, reason, details }
  }

  /** What becomes of a request that is let through is for its route to say: it has no status yet. */
  function report (
    finding: Finding<V>, log: FastifyBaseLogger,
    about: Pick<DeliveryReport, 'path' | 'duration' | 'bytes' | 'requestId'>
  ): void {
    if (!('refusal' in finding)) {
      return reportDelivery({ provider, outcome: 'accepted', reason: 'handled', ...about }, log, {})
    }
    const answer = answerTo(finding)
    const { outcome, reason, statusCode: status } = answer
    reportDelivery({ provider, outcome, reason, status, ...about }, log, answer)
  }

  return {
    verifier: (log) => async (token, options) => {
      // An identifier that is none is an answer, not a misuse: it may be what a client has sent.
      checkOptions('verify', Object(options), { identifier: anyValue, onBot: BOT_RULE })
      const { identifier, onBot } = Object(options) as VerifyTokenOptions
      const since = performance.now()
      const finding = await examine({ token, identify: () => identifier, onBot })
      report(finding, log, { path: '', duration: performance.now() - since, bytes: 0, requestId: '' })
      if ('refusal' in finding) throw new refusals[finding.refusal]()
      return finding.verdict
    },
    requireHuman (options) {
      const rules = { identifier: required(IDENTIFIER_RULE), token: callback, onBot: BOT_RULE }
      checkOptions('requireHuman', Object(options), rules)
      const { identifier, token = bodyToken, onBot } = options
      return async (request, reply) => {
        const since = performance.now()
        const finding = await examine({
          token: await token(request),
          identify: () => typeof identifier === 'function' ? identifier(request) : identifier,
          onBot
        })
        report(finding, request.log, {
          path: request.routeOptions.url ?? '',
          duration: performance.now() - since,
          bytes: Number(request.headers['content-length'] ?? 0),
          requestId: request.id
        })
        if ('refusal' in finding) {
          if (finding.refusal === 'unavailable') reply.header('retry-after', RETRY_AFTER_SECONDS)
          throw new refusals[finding.refusal]()
        }
        grant(request as FastifyRequest, finding.verdict)
      }
    },
    async admit ({ token, identifier }, request) {
      const finding = await examine({ token, identify: () => identifier })
      if ('refusal' in finding) return answerTo(finding)
      grant(request, finding.verdict)
      return undefined
    },
    tokenRequired: answerTo({ refusal: 'token_required', reason: 'token_required' })
  }
}
