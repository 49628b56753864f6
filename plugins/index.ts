export { aghanimOptions, aghanimPlugin, deny, signAghanim, verifyAghanim, type AghanimOptions } from './aghanim.js'
export {
  altdentifierPlugin, signAltdentifier, verifyAltdentifier, type AltDentifierOptions
} from './altdentifier.js'
export {
  humandetectPlugin, type HumanDetect, type HumanDetectOptions, type RequireHumanOptions, type VerifyTokenOptions
} from './humandetect.js'
export {
  humandetectApiPlugin, issueToken, openToken, type HumanDetectApiOptions, type TokenClaims
} from './humandetect-api.js'
export {
  identityValidationOptions, identityValidationPlugin, signIdentityValidation, verifyIdentityValidation,
  type IdentityValidationOptions
} from './identity-validation.js'
export {
  createProvider, decodeBase64, decodeHex, FormatRegistry, list, parseUnixSeconds, Type, type ListTemplate,
  type ProviderDefinition, type ProviderOptions, type Reading, type SignatureScheme, type Static, type TSchema
} from './provider.js'
export { errors, type ErrorCode } from './errors.js'
export { memoryDeliveries, type MemoryDeliveriesOptions } from './stores/memory.js'
export { redisDeliveries, type RedisClient, type RedisDeliveriesOptions } from './stores/redis.js'
export type { VerificationPlugin, VerifiedRequest } from './lib/callback.js'
export type { Claim, DeliveryStore, StoredReply, StoreReport, StoreResult } from './lib/idempotency/store.js'
export type { DenialOptions } from './lib/deny.js'
export type { KeyRing, SecretResolver } from './lib/signature/keys.js'
export type { SignInput, VerifyInput } from './lib/signature/standalone.js'
export type { RejectionReason, VerifyResult } from './lib/signature/fields.js'
export type { DeliveryReport, Outcome, Reason, RejectedDelivery } from './lib/telemetry.js'
export type { Secret } from './lib/signature/secrets.js'
export type { RouteOptions, WatchOptions, WebhookOptions } from './lib/options.js'
export type * from '../schemas/aghanim.js'
export type * from '../schemas/altdentifier.js'
export type * from '../schemas/common.js'
export type * from '../schemas/humandetect.js'
export type * from '../schemas/identity-validation.js'
