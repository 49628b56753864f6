import { Type, type Static, type TProperties } from '@sinclair/typebox'
import { optional } from './common.js'

const Snowflake = Type.String({
  pattern: '^[0-9]{1,20}$',
  description: 'A Discord id; a string, since a JSON number has lost digits by the time it is read'
})

export const MemberSchema = Type.Object({
  id: Snowflake,
  username: optional(Type.String({ description: 'As the document names it' })),
  name: optional(Type.String({ description: "As the provider's sample names it" })),
  discriminator: optional(Type.String({ description: 'Four digits, or 0' }))
}, { description: 'A Discord member' })
export type Member = Static<typeof MemberSchema>

export const GuildSchema = Type.Object({
  id: Snowflake,
  name: optional(Type.String())
}, { description: 'The Discord server in which the verification takes place' })
export type Guild = Static<typeof GuildSchema>

const Method = optional(Type.String({ description: 'steam, captcha, bypass (a moderator skipped the check), ...' }))

function event<Op extends number, Fields extends TProperties> (op: Op, description: string, fields: Fields) {
  return Type.Object({ OP: Type.Literal(op), member: MemberSchema, guild: GuildSchema, ...fields }, { description })
}

export const VerificationStartedSchema = event(0, 'Verification started', {})
export const VerificationPassedSchema = event(1, 'Verification passed', { method: Method })
export const VerificationFailedSchema = event(2, 'Verification failed', {
  method: Method,
  reason: optional(Type.String({ description: 'Localised prose: show it, never branch on it' }))
})
export const VerificationIgnoredSchema = event(3, 'Verification ignored', {
  action: optional(Type.String({ description: 'kick, ban, role, nothing, ...' })),
  timeout_role: optional(Type.String({ description: 'Where the action is to give a role' }))
})
export const AccountIncorrectSchema = event(4, 'The member verified with another account', {
  incorrect_account: optional(Type.Union([
    Type.Object({ ...MemberSchema.properties, id: optional(Snowflake) }), Type.String()
  ], { description: 'The account that was used: a member, or a text' }))
})
export const TestEventSchema = Type.Object({ OP: Type.Literal(5) }, { description: 'A test; all else is open' })

/** Every event that is known, told apart by `OP`. */
export const AltDentifierEventSchema = Type.Union([
  VerificationStartedSchema, VerificationPassedSchema, VerificationFailedSchema, VerificationIgnoredSchema,
  AccountIncorrectSchema, TestEventSchema
], { description: 'An AltDentifier event' })
export type AltDentifierEvent = Static<typeof AltDentifierEventSchema>

/** Any event, those of codes that are yet to come included. */
export const OpSchema = Type.Object({ OP: Type.Integer({ description: 'The OP code' }) })
