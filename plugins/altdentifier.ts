import {
  ALTDENTIFIER_KINDS, AltDentifierEventSchema, AltDentifierExamples, OpSchema, type AltDentifierEvent
} from '../schemas/altdentifier.js'
import type { Callback, VerifiedRequest } from './lib/callback.js'
import { readDenial } from './lib/deny.js'
import { NO_CONTENT } from './lib/errors.js'
import { NoContentSchema, webhookSchema, withExamples, type RouteSchema } from './lib/openapi.js'
import type { WebhookOptions } from './lib/options.js'
import { callback, nonEmptyString, oneOf, path, required, retention } from './lib/rules.js'
import type { VerifyResult } from './lib/signature/fields.js'
import { checkHttpSignature } from './lib/signature/http-signature.js'
import type { SecretResolver } from './lib/signature/keys.js'
import { compileScheme } from './lib/signature/scheme.js'
import type { Secret } from './lib/signature/secrets.js'
import { createSigner, createVerifier, type SignInput, type VerifyInput } from './lib/signature/standalone.js'
import { compileCheck } from './lib/validation.js'
import { defineWebhook, type SampleEvent, type WebhookPlugin } from './lib/webhook.js'

export interface AltDentifierOptions extends WebhookOptions {
  /** The server's "signature" or the OAuth client secret. A list while one replaces another, or a resolver function. */
  secret: Secret | SecretResolver
  /** Handler for every event with a known `OP`. The response is 204, regardless of the return value. */
  handleEvent: Callback<[event: AltDentifierEvent, request: VerifiedRequest], unknown>
  /** Policy for the `Signature` header: `require` verifies it in addition to `Digest`. Default `ignore`. */
  httpSignature?: 'ignore' | 'require' | undefined
  /** The only `keyId` accepted in a required `Signature`. Default: any. */
  keyId?: string | undefined
  /**
   * Period in seconds during which a repeated body counts as the same delivery. Off by default, because a resent
   * delivery looks exactly like the same event happening again.
   */
  dedupe?: number | undefined
  /** The path of the route. Default `/altdentifier`. */
  path?: string | undefined
}

/** Signs the body alone. The header is not the digest of RFC 3230, which anyone could compute. */
const scheme = /* @__PURE__ */ compileScheme({
  algorithm: 'hmac-md5', headers: { digest: 'MD5={hex}' }, signed: '{body}', ignoreCase: true
})

/**
 * Verifies by `Digest` that a body was signed by AltDentifier. The time of sending is not signed, so it cannot be
 * checked.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} If the secret is invalid.
 * @example verifyAltdentifier({ secret, headers: request.headers, body: bytes }) // { ok: true, secretIndex: 0 }
 */
export const verifyAltdentifier: (input: VerifyInput & { secret: Secret }) => VerifyResult =
  /* @__PURE__ */ createVerifier('verifyAltdentifier', scheme)

/** Creates the headers that AltDentifier would send with `body`, except `Signature`. */
export const signAltdentifier: (input: SignInput) => Record<'content-type' | 'digest', string> =
  /* @__PURE__ */ createSigner('signAltdentifier', scheme)

/** A sample of which a second copy cannot be recognized, unless the receiver has set `dedupe`. */
function sample (about: string, example: AltDentifierEvent): SampleEvent {
  const body = (id: string) => ({ ...example, member: { ...AltDentifierExamples.passed.member, id } })
  return { about, body, once: false }
}

function documentRoute (isSigned: boolean): RouteSchema {
  const signature = {
    Signature: {
      description: 'HTTP signature (draft-cavage-http-signatures-07) with `hmac-md5`, covering at least `date`',
      example: 'keyId="hmac-key-1",algorithm="hmac-md5",headers="date",signature="upyPyAXcrQqAK/fyTGvzkQ=="'
    },
    Date: {
      description: 'Time of signing. Rejected if outside the tolerance', example: 'Thu, 05 Sep 2024 15:00:50 GMT'
    }
  }
  return webhookSchema({
    tag: 'AltDentifier',
    summary: 'A Discord member passed or failed verification',
    description: '`Digest` must be the hex-encoded HMAC-MD5 of the bytes of the body, keyed with the "signature" of ' +
      'the server or the OAuth client secret (this is not the digest of RFC 3230). It is verified before the body is ' +
      'parsed. The example is for `started` as compact JSON, with the secret `demo-altdentifier-secret`.\n\n' +
      'Events with an undocumented `OP` are acknowledged as well.',
    signature: scheme,
    headers: {
      Digest: { description: 'Hex-encoded HMAC-MD5 of the body', example: 'MD5=6e5b25df0c4e748733471925ce5aa631' },
      ...(isSigned && signature)
    },
    body: withExamples(AltDentifierEventSchema, AltDentifierExamples),
    accepted: { 204: NoContentSchema },
    problem: '/OP: Expected required property'
  })
}

export const altdentifierPlugin: WebhookPlugin<AltDentifierOptions> = /* @__PURE__ */ defineWebhook<
  AltDentifierOptions, AltDentifierEvent, number
>(() => ({
  name: 'altdentifier',
  plugin: 'altdentifierPlugin',
  signature: scheme,
  secretOption: 'secret',
  options: {
    handleEvent: required(callback),
    httpSignature: oneOf('ignore', 'require'),
    keyId: nonEmptyString,
    dedupe: retention,
    path
  },
  handlers: ['handleEvent'],
  events: {
    passed: sample('OP 1: a member passed verification', AltDentifierExamples.passed),
    started: sample('OP 0: a member started verification', AltDentifierExamples.started),
    failed: sample('OP 2: a member failed verification', AltDentifierExamples.failed),
    ignored: sample('OP 3: a member ignored verification', AltDentifierExamples.ignored),
    'wrong-account': sample('OP 4: a member used another account', AltDentifierExamples['wrong-account']),
    test: sample('OP 5: a test event', AltDentifierExamples.test)
  },
  routes ({ options: { httpSignature, keyId, dedupe, path = '/altdentifier' }, settings, handlers: { handleEvent } }) {
    const isSigned = httpSignature === 'require'
    const checkOp = compileCheck(OpSchema)
    const checks = new Map(AltDentifierEventSchema.anyOf.map((schema) => [
      schema.properties.OP.const as number, compileCheck(schema)
    ]))

    return [{
      url: path,
      schema: documentRoute(isSigned),
      confirm: isSigned
        ? (request, key) => checkHttpSignature(request, key, { algorithm: 'md5', keyId, freshness: settings })
        : undefined,
      check: (payload) => checkOp(payload) ?? checks.get((payload as AltDentifierEvent).OP)?.(payload),
      kindOf: ({ OP }) => ALTDENTIFIER_KINDS[OP],
      subjectOf: (event) => event.OP === 5 ? undefined : event.member?.id,
      ...(dedupe !== undefined && {
        identify: (_event, mac) => ({ id: ['mac', mac.toString('hex')] }), copiesFor: dedupe * 1000
      }),
      replyContext: ({ OP }) => OP,
      handle: (event, request) => checks.has(event.OP) ? handleEvent(event, request) : undefined,
      denial: readDenial,
      answer: (_result, OP) => checks.has(OP)
        ? NO_CONTENT
        : { ...NO_CONTENT, reason: 'acknowledged', level: 'warn', details: { OP } }
    }]
  }
}))

export default altdentifierPlugin
export type * from '../schemas/altdentifier.js'
