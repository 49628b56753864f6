import type { FastifyInstance } from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import type { TSchema } from '@sinclair/typebox'
import {
  AghanimEventSchema, aghanimRouteSchema, PlayerSchema, PlayerVerifyDataSchema, playerVerifyEvent,
  type AghanimEvent, type Player, type PlayerVerifyData, type PlayerVerifyEvent
} from '../schemas/aghanim.js'
import { createAuthenticate, type ParsedSignature } from './lib/signature/authenticate.js'
import type { Callback, SchemaCallback, VerificationPlugin, VerifiedRequest } from './lib/callback.js'
import {
  decodeHex, parseUnixSeconds, readHeaders, reject, type Rejection, type VerifyResult
} from './lib/signature/fields.js'
import type { Identity } from './lib/idempotency/delivery-id.js'
import { createDenialReader, deny } from './lib/deny.js'
import { createExplain } from './lib/doctor/explain.js'
import type { Scheme } from './lib/doctor/scheme.js'
import { NO_CONTENT, UNKNOWN_EVENT, type Answer } from './lib/errors.js'
import { cacheKeys, createKeyLookup, type SecretResolver } from './lib/signature/keys.js'
import { anyValue, callback, path, required, schema, type Awaitable } from './lib/rules.js'
import { createPlugin } from './lib/plugin.js'
import { readFreshness, signMac, timestampText, verifyPresented, type SignInput, type VerifyInput } from './lib/signature/standalone.js'
import { compileReply, plainObjectJson, type Reply } from './lib/reply.js'
import { compileCheck, compileOptionCheck } from './lib/validation.js'
import { decorateHandler, prepareScope } from './lib/scope.js'
import type { Secret } from './lib/signature/secrets.js'
import { checkWebhookOptions, readSettings, type WebhookOptions } from './lib/options.js'
import { addWebhookRoute } from './lib/pipeline.js'

/** A schema whose values have all fields of the default schema, and possibly more. */
type PlayerVerifyDataLike = TSchema & { static: PlayerVerifyData }

export interface AghanimOptions<EventData extends TSchema = PlayerVerifyDataLike> extends WebhookOptions {
  /** The webhook's secret key (S2S key). A list while one replaces another, or a resolver function. */
  secret: Secret | SecretResolver
  /**
   * Handler for `player.verify`. Returning a player admits the player; returning `null` or `undefined`, or throwing
   * `deny()`, denies. Optional members that are `null` are omitted from the response.
   */
  verifyPlayer: SchemaCallback<
    [event: PlayerVerifyEvent<EventData>, request: VerifiedRequest], Awaitable<Reply<Player> | null | undefined>
  >
  /**
   * Handler for every other event. A returned plain object is the response. For any other return value, such as the
   * result object of a database driver, the response is `{ "status": "ok" }`.
   */
  handleEvent?: Callback<[event: AghanimEvent, request: VerifiedRequest], unknown> | undefined
  /** Schema of `event_data` in `player.verify`, for composite or social logins. Default: an object with `player_id`. */
  eventData?: EventData | undefined
  /** The path of the route. Default `/aghanim`. */
  path?: string | undefined
}

/**
 * Returns the options unchanged, and types the event by your own schema in `eventData`.
 *
 * @example app.register(aghanimPlugin, aghanimOptions({ secret, eventData: Login, verifyPlayer }))
 */
export function aghanimOptions<EventData extends TSchema> (
  options: AghanimOptions<EventData> & { eventData: EventData }
): AghanimOptions {
  return options as AghanimOptions<TSchema> as AghanimOptions
}

const PROVIDER = 'aghanim'
const SIGNATURE = 'x-aghanim-signature'
const TIMESTAMP = 'x-aghanim-signature-timestamp'
const TAKEN: Answer = { ...NO_CONTENT, statusCode: 200, body: JSON.stringify({ status: 'ok' }) }
const SECRET_RULES = { plugin: 'aghanimPlugin', option: 'secret', algorithm: 'sha256', encoding: 'utf8' } as const

/** The scheme that `readMac` reads, described for `diagnose`. */
export const aghanimScheme: Scheme = {
  algorithm: 'sha256', secret: 'utf8', encoding: 'hex', signature: SIGNATURE, prefix: '', timestamp: TIMESTAMP, separator: '.'
}

/** Reads the HMAC-SHA256, in hex, of the timestamp header's value, a full stop and the body. */
function readMac (headers: IncomingHttpHeaders): ParsedSignature | Rejection {
  const texts = readHeaders(headers, SIGNATURE, TIMESTAMP)
  if (!Array.isArray(texts)) return texts
  const [signature, timestamp] = texts
  const mac = decodeHex(signature, 32)
  if (mac === undefined) return reject('malformed_header', SIGNATURE)
  const seconds = parseUnixSeconds(timestamp)
  if (seconds === undefined) return reject('malformed_header', TIMESTAMP)
  return { ok: true, macs: [mac], prefix: `${timestamp}.`, timestamp: seconds }
}

/** Context of an event that its response must match. */
interface Question { isVerify: boolean, asked: unknown }

function isPlayerVerify (event: AghanimEvent | PlayerVerifyEvent): event is PlayerVerifyEvent {
  return event.event_type === 'player.verify'
}

/** Identifies a delivery. `player.verify` needs a current response each time, unless it has an `idempotency_key`. */
function identify (event: AghanimEvent | PlayerVerifyEvent): Identity | undefined {
  const { event_type: type, event_data: content, idempotency_key: key, event_id: id } = event
  if (key) return { id: [type, 'idempotency_key', key], content }
  return isPlayerVerify(event) || id === '' ? undefined : { id: [type, 'event_id', id], content }
}

const cachedKeys = cacheKeys({ ...SECRET_RULES, plugin: 'verifyAghanim' })

/**
 * Verifies that a delivery was signed by Aghanim.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If a secret or a time is invalid.
 * @example verifyAghanim({ secret, headers: request.headers, body: bytes }) // { ok: true, secretIndex: 0 }
 */
export function verifyAghanim (input: VerifyInput & { secret: Secret }): VerifyResult {
  const keys = cachedKeys(input.secret)
  const freshness = readFreshness('verifyAghanim', input)
  return verifyPresented('verifyAghanim', readMac(input.headers), keys, input.body, freshness)
}

/** Creates the headers that Aghanim would send with `body`. `timestamp` is in Unix seconds. Default: now. */
export function signAghanim (input: SignInput & { timestamp?: number | string | undefined }) {
  const timestamp = timestampText(input.timestamp)
  return {
    'content-type': 'application/json',
    [SIGNATURE]: signMac({ ...SECRET_RULES, plugin: 'signAghanim' }, input, `${timestamp}.`).toString('hex'),
    [TIMESTAMP]: timestamp
  }
}

async function aghanim (scope: FastifyInstance, options: AghanimOptions): Promise<void> {
  checkWebhookOptions('aghanimPlugin', options, {
    secret: required(anyValue),
    verifyPlayer: required(callback),
    handleEvent: callback,
    eventData: schema,
    path
  })
  const settings = readSettings(scope, PROVIDER, options)
  const { eventData = PlayerVerifyDataSchema } = options
  const readDenial = createDenialReader({ code: 'not_found', message: 'Player verification failed' })
  const denied: Answer = readDenial(deny())!
  const rules = { ...SECRET_RULES, allowWeakSecret: options.allowWeakSecret === true }
  const keysFor = createKeyLookup(options.secret, rules, scope.log)
  const checkVerify = compileOptionCheck('aghanimPlugin', 'eventData', playerVerifyEvent(eventData))
  const checkEvent = compileCheck(AghanimEventSchema)
  const writePlayer = compileReply(PlayerSchema, (player: Player, asked: unknown) =>
    typeof asked !== 'string' || asked === player.player_id
      ? undefined
      : '/player_id: Expected the player that was asked for')

  const send = prepareScope(scope, PROVIDER, settings)
  const verifyPlayer = decorateHandler(scope, 'verifyPlayer', options.verifyPlayer)
  const handleEvent = options.handleEvent && decorateHandler(scope, 'handleEvent', options.handleEvent)

  const url = options.path ?? '/aghanim'
  addWebhookRoute<AghanimEvent | PlayerVerifyEvent, Question>(scope, send, settings, {
    provider: PROVIDER,
    url,
    schema: aghanimRouteSchema(eventData),
    authenticate: createAuthenticate({
      algorithm: 'sha256',
      read: ({ headers }) => readMac(headers),
      keysFor,
      freshness: settings
    }),
    explain: createExplain(scope, settings, { path: scope.prefix + url, scheme: aghanimScheme, keysFor }),
    check (payload) {
      const isVerify = isPlayerVerify(payload as AghanimEvent)
      const problem = isVerify ? checkVerify(payload) : checkEvent(payload)
      return problem ?? (isVerify || handleEvent ? undefined : UNKNOWN_EVENT)
    },
    handle: (event, request) => isPlayerVerify(event) ? verifyPlayer(event, request) : handleEvent!(event, request),
    denial: readDenial,
    kindOf: ({ event_type: type }) => type,
    identify,
    replyContext: (event) => ({
      isVerify: isPlayerVerify(event), asked: (event.event_data as PlayerVerifyData | undefined)?.player_id
    }),
    answer (result, { isVerify, asked }) {
      if (!isVerify) return { ...TAKEN, body: plainObjectJson(result) ?? TAKEN.body }
      return result === null || result === undefined ? denied : writePlayer(result, asked)
    }
  })
}

export { deny }
export const aghanimPlugin: VerificationPlugin<AghanimOptions> =
  /* @__PURE__ */ createPlugin(aghanim, 'aghanim')
export default aghanimPlugin
export type * from '../schemas/aghanim.js'
