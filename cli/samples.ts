import { AghanimExamples, type AghanimEvent } from '../schemas/aghanim.js'
import { AltDentifierExamples, type AltDentifierEvent } from '../schemas/altdentifier.js'
import { IdentityValidationExamples } from '../schemas/identity-validation.js'

/** An event as a provider sends it. */
export interface Sample {
  /** Description of the event. */
  readonly about: string
  /**
   * Creates the payload, which is different for each `id` (1 to 20 digits). `seconds` is the time of the event in Unix
   * seconds.
   */
  readonly payload: (id: string, seconds: number) => object
  /** Set if the receiver refuses even a valid delivery of this event. */
  readonly refused?: true
  /** Expected result of sending the same delivery a second time. */
  readonly again: 'accepted' | 'replayed' | 'refused'
}

type Samples = Readonly<Record<string, Sample>>

const { sessions, requiredFiles } = IdentityValidationExamples

function altdentifier (about: string, example: AltDentifierEvent): Sample {
  const payload = (id: string) => ({ ...example, member: { ...AltDentifierExamples.passed.member, id } })
  return { about, payload, again: 'accepted' } // a copy cannot be recognised, unless the receiver has set `dedupe`
}

function aghanim (about: string, example: AghanimEvent, again: Sample['again']): Sample {
  const payload = (id: string, seconds: number) =>
    ({ ...example, event_time: seconds, event_id: `whevt_${id}`, request_id: `request-${id}`, transaction_id: `whtx_${id}` })
  return { about, payload, again }
}

/** Default identifier in HumanDetect's tokens. */
export const IDENTIFIER = 'ada@example.com'

/** Samples by provider and event name. The first event of a provider is its default. */
export const SAMPLES = {
  altdentifier: {
    passed: altdentifier('OP 1: a member passed verification', AltDentifierExamples.passed),
    started: altdentifier('OP 0: a member started verification', AltDentifierExamples.started),
    failed: altdentifier('OP 2: a member failed verification', AltDentifierExamples.failed),
    ignored: altdentifier('OP 3: a member ignored verification', AltDentifierExamples.ignored),
    'wrong-account': altdentifier('OP 4: a member used another account', AltDentifierExamples['wrong-account']),
    test: altdentifier('OP 5: a test event', AltDentifierExamples.test)
  },
  aghanim: {
    'player.verify': aghanim('verify a player', AghanimExamples['player.verify'], 'accepted'),
    'item.add': aghanim('add items to a player', AghanimExamples['item.add'], 'replayed'),
    'order.paid': aghanim('an order was paid', AghanimExamples['order.paid'], 'replayed')
  },
  'identity-validation': {
    session: {
      about: 'a session is being processed or completed',
      payload: (id) => ({
        ...sessions.verified, session: { ...sessions.verified.session, id: `iss-${id}` }, idempotency_key: `key-${id}`
      }),
      again: 'replayed'
    },
    'required-files': {
      about: 'files are required (the provider publishes no sample)',
      payload: (id) => ({ ...requiredFiles.notification, idempotency_key: `key-${id}` }),
      again: 'replayed'
    }
  },
  humandetect: {
    human: { about: 'a valid token of a human', payload: () => ({ identifier: IDENTIFIER }), again: 'refused' },
    bot: {
      about: 'a genuine token of a bot, which must be rejected',
      payload: () => ({ identifier: IDENTIFIER }),
      refused: true,
      again: 'refused'
    }
  }
} satisfies Record<string, Samples>

export type Provider = keyof typeof SAMPLES

export const samplesOf = (provider: Provider): Samples => SAMPLES[provider]
