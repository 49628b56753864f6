import { Type, type Static, type TProperties } from '@sinclair/typebox'
import { optional } from '../plugins/lib/openapi.js'

const Snowflake = Type.String({
  pattern: '^[0-9]{1,20}$',
  description: 'Discord id, as a string because a JSON number would lose precision'
})

export const MemberSchema = Type.Object({
  id: Snowflake,
  username: optional(Type.String({ description: 'Name of the member, as documented' })),
  name: optional(Type.String({ description: "Name of the member, as in the provider's sample" })),
  discriminator: optional(Type.String({ description: 'Discord discriminator: four digits, or 0' }))
}, { description: 'A Discord member' })
export type Member = Static<typeof MemberSchema>

export const GuildSchema = Type.Object({
  id: Snowflake,
  name: optional(Type.String())
}, { description: 'The Discord server where the verification takes place' })
export type Guild = Static<typeof GuildSchema>

const Method = optional(Type.String({ description: 'steam, captcha, bypass (skipped by a moderator), ...' }))

function event<Op extends number, Fields extends TProperties> (op: Op, description: string, fields: Fields) {
  return Type.Object({ OP: Type.Literal(op), member: MemberSchema, guild: GuildSchema, ...fields }, { description })
}

export const VerificationStartedSchema = event(0, 'Verification started', {})
export const VerificationPassedSchema = event(1, 'Verification passed', { method: Method })
export const VerificationFailedSchema = event(2, 'Verification failed', {
  method: Method,
  reason: optional(Type.String({ description: 'Localised text for display only. Not suitable for comparisons' }))
})
export const VerificationIgnoredSchema = event(3, 'Verification ignored', {
  action: optional(Type.String({ description: 'Action taken: kick, ban, role, nothing, ...' })),
  timeout_role: optional(Type.String({ description: 'Role to assign, if the action assigns one' }))
})
export const AccountIncorrectSchema = event(4, 'The member verified with another account', {
  incorrect_account: optional(Type.Union([
    Type.Object({ ...MemberSchema.properties, id: optional(Snowflake) }), Type.String()
  ], { description: 'The account that was used: a member or a string' }))
})
export const TestEventSchema = Type.Object({ OP: Type.Literal(5) }, { description: 'A test event' })

/** Schema of all known events, discriminated by `OP`. */
export const AltDentifierEventSchema = Type.Union([
  VerificationStartedSchema, VerificationPassedSchema, VerificationFailedSchema, VerificationIgnoredSchema,
  AccountIncorrectSchema, TestEventSchema
], { description: 'An AltDentifier event' })
export type AltDentifierEvent = Static<typeof AltDentifierEventSchema>

/** Names of the events by `OP`. */
export const ALTDENTIFIER_KINDS = {
  0: 'started', 1: 'passed', 2: 'failed', 3: 'ignored', 4: 'wrong-account', 5: 'test'
} as const satisfies Record<AltDentifierEvent['OP'], string>

/** Schema of any event, including those with an unknown `OP`. */
export const OpSchema = Type.Object({ OP: Type.Integer({ description: 'The OP code' }) })

const member = { id: '66166172835385344', username: 'Auxim', discriminator: '0001' }
const guild = { id: '372024042980638721', name: 'Auxim Solutions' }

/** An example event of each kind. */
export const AltDentifierExamples = {
  started: { OP: 0, member, guild },
  passed: { OP: 1, member, guild, method: 'steam' },
  failed: { OP: 2, member, guild, method: 'steam', reason: 'Account is too new' },
  ignored: { OP: 3, member, guild, action: 'kick' },
  'wrong-account': { OP: 4, member, guild, incorrect_account: { id: '80351110224678912', username: 'Nelly' } },
  test: { OP: 5 }
} satisfies Record<string, AltDentifierEvent>
