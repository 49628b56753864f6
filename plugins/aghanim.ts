import { Type, type TSchema } from '@sinclair/typebox'
import {
  AghanimEventSchema, AghanimExamples, EventReplySchema, PlayerSchema, PlayerVerifyDataSchema, playerVerifyEvent,
  type AghanimEvent, type Player, type PlayerVerifyData, type PlayerVerifyEvent
} from '../schemas/aghanim.js'
import { DenialSchema } from '../schemas/common.js'
import type { Callback, SchemaCallback, VerifiedRequest } from './lib/callback.js'
import { createDenialReader, deny } from './lib/deny.js'
import { NO_CONTENT, UNKNOWN_EVENT, type Answer } from './lib/errors.js'
import type { Identity } from './lib/idempotency/delivery-id.js'
import { withExamples, webhookSchema, type RouteSchema } from './lib/openapi.js'
import type { WebhookOptions } from './lib/options.js'
import { compileReply, plainObjectJson, type Reply } from './lib/reply.js'
import { callback, path, required, schema, type Awaitable } from './lib/rules.js'
import type { VerifyResult } from './lib/signature/fields.js'
import type { SecretResolver } from './lib/signature/keys.js'
import { compileScheme } from './lib/signature/scheme.js'
import type { Secret } from './lib/signature/secrets.js'
import { createSigner, createVerifier, type SignInput, type VerifyInput } from './lib/signature/standalone.js'
import { compileCheck, compileOptionCheck } from './lib/validation.js'
import { defineWebhook, type SampleEvent, type WebhookPlugin } from './lib/webhook.js'

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

/** Signs the timestamp header, a full stop and the body. */
const scheme = /* @__PURE__ */ compileScheme({
  algorithm: 'hmac-sha256',
  headers: { 'x-aghanim-signature': '{hex}', 'x-aghanim-signature-timestamp': '{timestamp}' },
  signed: '{timestamp}.{body}'
})

/** The parts of an event that its response depends on. */
interface ReplyContext { isVerify: boolean, playerId: unknown }

function isPlayerVerify (event: AghanimEvent | PlayerVerifyEvent): event is PlayerVerifyEvent {
  return event.event_type === 'player.verify'
}

/** Identifies a delivery. `player.verify` needs a current response each time, unless it has an `idempotency_key`. */
function identify (event: AghanimEvent | PlayerVerifyEvent): Identity | undefined {
  const { event_type: type, event_data: content, idempotency_key: key, event_id: id } = event
  if (key) return { id: [type, 'idempotency_key', key], content }
  return isPlayerVerify(event) || id === '' ? undefined : { id: [type, 'event_id', id], content }
}

/**
 * Verifies that a delivery was signed by Aghanim.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If a secret or a time is invalid.
 * @example verifyAghanim({ secret, headers: request.headers, body: bytes }) // { ok: true, secretIndex: 0 }
 */
export const verifyAghanim: (input: VerifyInput & { secret: Secret }) => VerifyResult =
  /* @__PURE__ */ createVerifier('verifyAghanim', scheme)

/** Creates the headers that Aghanim would send with `body`. `timestamp` is in Unix seconds. Default: now. */
export const signAghanim: (
  input: SignInput & { timestamp?: number | string | undefined }
) => Record<'content-type' | 'x-aghanim-signature' | 'x-aghanim-signature-timestamp', string> =
  /* @__PURE__ */ createSigner('signAghanim', scheme)

function sample (about: string, example: AghanimEvent, once: boolean): SampleEvent {
  const body = (id: string, seconds: number): AghanimEvent => ({
    ...example, event_time: seconds, event_id: `whevt_${id}`, request_id: `request-${id}`, transaction_id: `whtx_${id}`
  })
  return { about, body, once }
}

function documentRoute (eventData: TSchema): RouteSchema {
  const { 'player.verify': _verify, ...others } = AghanimExamples
  const player = { player_id: '2D2R-OP3C', name: 'Beebee-Ate', attributes: { level: 2 }, country: 'US' }
  const denied = { status: 'error', code: 'not_found', message: 'Player verification failed' }
  const schema = webhookSchema({
    tag: 'Aghanim',
    summary: 'Verify a player, and receive all other events',
    description: '`X-Aghanim-Signature` must be the hex-encoded HMAC-SHA256 of the timestamp, a full stop and the ' +
      'bytes of the body, keyed with the secret key of the webhook (S2S key), and the timestamp must be within ' +
      'the tolerance. Both are verified before the body is parsed. The example signature is for `player.verify` as ' +
      'compact JSON, with the secret `demo-aghanim-secret-of-32-bytes!`.\n\n' +
      'Retries of the same delivery are handled only once, except for `player.verify` without an `idempotency_key`.',
    signature: scheme,
    headers: {
      'X-Aghanim-Signature': {
        description: 'Hex-encoded HMAC-SHA256 of the timestamp, a full stop and the body',
        example: '5b07d1ef13b27f246e8a05e61357b9319292f477c0449b668ba90cfa684e9b03'
      },
      'X-Aghanim-Signature-Timestamp': {
        description: 'Time of signing in Unix seconds. Rejected if outside the tolerance', example: '1725548450'
      }
    },
    body: withExamples(
      Type.Union([playerVerifyEvent(eventData), AghanimEventSchema]),
      eventData === PlayerVerifyDataSchema ? AghanimExamples : others),
    accepted: {
      200: {
        ...withExamples(
          Type.Union([PlayerSchema, EventReplySchema]), { 'player.verify': player, others: { status: 'ok' } }),
        description: 'The player is verified, or the event was accepted'
      }
    },
    problem: '/event_id: Expected required property',
    errors: ['FST_VERIFICATION_UNKNOWN_EVENT', 'FST_VERIFICATION_ID_REUSED', 'FST_VERIFICATION_INVALID_REPLY'],
    denials: { banned: { status: 'error', code: 'banned', message: 'This player may not buy' } }
  })
  const notFound = { ...withExamples(DenialSchema, { not_found: denied }), description: 'The player was denied' }
  return { ...schema, response: { ...schema.response, 401: notFound } }
}

const ACKNOWLEDGED: Answer = { ...NO_CONTENT, statusCode: 200, body: JSON.stringify({ status: 'ok' }) }
const readDenial = /* @__PURE__ */ createDenialReader({ code: 'not_found', message: 'Player verification failed' })

export const aghanimPlugin: WebhookPlugin<AghanimOptions> = /* @__PURE__ */ defineWebhook<
  AghanimOptions, AghanimEvent | PlayerVerifyEvent, ReplyContext
>(() => ({
  name: 'aghanim',
  plugin: 'aghanimPlugin',
  signature: scheme,
  secretOption: 'secret',
  options: { verifyPlayer: required(callback), handleEvent: callback, eventData: schema, path },
  handlers: ['verifyPlayer', 'handleEvent'],
  events: {
    'player.verify': sample('verify a player', AghanimExamples['player.verify'], false),
    'item.add': sample('add items to a player', AghanimExamples['item.add'], true),
    'order.paid': sample('an order was paid', AghanimExamples['order.paid'], true)
  },
  routes ({ options, handlers: { verifyPlayer, handleEvent } }) {
    const { eventData = PlayerVerifyDataSchema } = options
    const checkVerify = compileOptionCheck('aghanimPlugin', 'eventData', playerVerifyEvent(eventData))
    const checkEvent = compileCheck(AghanimEventSchema)
    const writePlayer = compileReply(PlayerSchema, (player: Player, playerId: unknown) =>
      typeof playerId !== 'string' || playerId === player.player_id
        ? undefined
        : '/player_id: Expected the requested player')

    return [{
      url: options.path ?? '/aghanim',
      schema: documentRoute(eventData),
      check (payload) {
        const isVerify = isPlayerVerify(payload as AghanimEvent)
        const problem = isVerify ? checkVerify(payload) : checkEvent(payload)
        return problem ?? (isVerify || handleEvent ? undefined : UNKNOWN_EVENT)
      },
      kindOf: ({ event_type: type }) => type,
      subjectOf: ({ event_data: { player_id: id } }) => typeof id === 'string' ? id : undefined,
      identify,
      replyContext: (event) => ({
        isVerify: isPlayerVerify(event), playerId: (event.event_data as PlayerVerifyData | undefined)?.player_id
      }),
      handle: (event, request) => isPlayerVerify(event) ? verifyPlayer(event, request) : handleEvent!(event, request),
      denial: readDenial,
      answer (result, { isVerify, playerId }) {
        if (!isVerify) return { ...ACKNOWLEDGED, body: plainObjectJson(result) ?? ACKNOWLEDGED.body }
        return result === null || result === undefined ? readDenial(deny())! : writePlayer(result, playerId)
      }
    }]
  }
}))

export { deny }
export default aghanimPlugin
export type * from '../schemas/aghanim.js'
