import type {
  FastifyBaseLogger, FastifyRequest, RawServerBase, RawServerDefault, RouteGenericInterface
} from 'fastify'
import { RETRY_AFTER_SECONDS } from '../lib/response.js'
import { errorBody, type Answer } from '../lib/errors.js'
import { anyValue, callback, checkOptions, oneOf, required, nonEmptyString, type Awaitable, type Rule } from '../lib/rules.js'
import { reportDelivery, type DeliveryReport } from '../lib/telemetry.js'
import type { Examine, Finding, Refusal, Refused, Verdict } from './token-verifier.js'

export interface VerifyTokenOptions {
  /** The identifier given to the SDK: a user, a nonce. A token about any other identifier is refused. */
  identifier: string
  /** Handling of an otherwise genuine token of a bot: `flag` accepts it, with `valid: false`. Default `deny`. */
  onBot?: 'deny' | 'flag' | undefined
}

export interface RequireHumanOptions<
  Route extends RouteGenericInterface = RouteGenericInterface, Server extends RawServerBase = RawServerDefault
> extends Pick<VerifyTokenOptions, 'onBot'> {
  /**
   * The identifier given to the SDK, or a function that returns it for a request. A token about any other identifier is
   * refused.
   */
  identifier: string | ((request: FastifyRequest<Route, Server>) => Awaitable<string>)
  /** Function that returns the token of a request. Default: the field `token` of the body. */
  token?: ((request: FastifyRequest<Route, Server>) => unknown) | undefined
}

/** The part of a Fastify reply that a guard needs, for HTTP/1.1 and HTTP/2. */
export interface HasHeader { header: (name: string, value: string) => unknown }

/** The errors that a guard throws in routes of the host. */
export type Refusals = Readonly<Record<Refusal, new () => Error & { statusCode?: number, code: string }>>

export interface Guard<V extends Verdict> {
  /** Creates a function that verifies a token outside a route and logs the outcome. It rejects with a refusal. */
  verifier: (log: FastifyBaseLogger) => (token: string, options: VerifyTokenOptions) => Promise<V>
  /** Creates a preHandler for routes of the host. */
  requireHuman: <
    Route extends RouteGenericInterface = RouteGenericInterface, Server extends RawServerBase = RawServerDefault
  >(options: RequireHumanOptions<Route, Server>) =>
  (request: FastifyRequest<Route, Server>, reply: HasHeader) => Promise<void>
  /** Verifies a token in the plugin's own route. Returns the response of a refusal instead of throwing. */
  admit: (body: { token: string, identifier: string }, request: FastifyRequest) => Promise<Answer | undefined>
  readonly tokenRequired: Answer
}

interface Parts<V extends Verdict> {
  readonly provider: string
  readonly examine: Examine<V>
  readonly refusals: Refusals
  /** Stores the verdict on the request. */
  readonly grant: (request: FastifyRequest, verdict: V) => void
}

const BOT_RULE = oneOf('deny', 'flag')
const IDENTIFIER_RULE: Rule = {
  accepts: (value) => typeof value === 'function' || nonEmptyString.accepts(value),
  expects: 'must be a non-empty string or a function'
}
const bodyToken = ({ body }: { body: unknown }): unknown => (body as { token?: unknown } | null | undefined)?.token

/** Creates a guard that admits requests with a token about the expected identifier, and reports every request. */
export function createGuard<V extends Verdict> ({ provider, examine, refusals, grant }: Parts<V>): Guard<V> {
  function answerTo ({ refusal, reason, details }: Refused): Answer {
    const { statusCode, code, message } = new refusals[refusal]()
    const outcome = refusal === 'unavailable' ? 'failed' : 'rejected'
    return { statusCode: statusCode!, body: errorBody(statusCode!, code, message), outcome, reason, details }
  }

  /** Reports a finding. A request that is admitted has no status yet, since its own route still has to respond. */
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
      // An invalid identifier is a refusal, not a misuse of this function: it may come from a client.
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
