/** An event as a provider sends it. */
export interface Sample {
  /** What it says. */
  readonly about: string
  /** The payload: another one for another `id` (1 to 20 digits). `seconds`: when it happens, in Unix seconds. */
  readonly payload: (id: string, seconds: number) => object
  /** Refused even if nothing is wrong with it. */
  readonly refused?: true
  /** What the same delivery gets when it comes again. */
  readonly again: 'accepted' | 'replayed' | 'refused'
}

type Samples = Readonly<Record<string, Sample>>

const guild = { id: '372024042980638721', name: 'Auxim Solutions' }

function altdentifier (OP: number, about: string, fields: object = {}): Sample {
  const payload = (id: string) => ({ OP, member: { id, username: 'Auxim', discriminator: '0001' }, guild, ...fields })
  return { about, payload, again: 'accepted' } // unless the receiver has set `dedupe`, nothing tells a copy
}

function aghanim (type: string, about: string, data: object, fields: object, again: Sample['again']): Sample {
  const payload = (id: string, seconds: number) => ({
    event_type: type,
    event_data: data,
    event_time: seconds,
    event_id: `whevt_${id}`,
    idempotency_key: null,
    request_id: `request-${id}`,
    sandbox: false,
    transaction_id: `whtx_${id}`,
    context: null,
    game_id: 'gm_exTAyxPsVwh',
    ...fields
  })
  return { about, payload, again }
}

/** Whom HumanDetect's tokens are about. */
export const IDENTIFIER = 'ada@example.com'

const player = { player_id: '2D2R-OP3C' }

/** By provider and name; the first of each provider is what is sent if nothing else is asked for. */
export const SAMPLES = {
  altdentifier: {
    passed: altdentifier(1, 'OP 1: a member passed verification', { method: 'steam' }),
    started: altdentifier(0, 'OP 0: a member started verification'),
    failed: altdentifier(2, 'OP 2: a member failed verification', { method: 'steam', reason: 'Account is too new' }),
    ignored: altdentifier(3, 'OP 3: a member ignored verification', { action: 'kick' }),
    'wrong-account': altdentifier(4, 'OP 4: a member used another account', {
      incorrect_account: { id: '80351110224678912', username: 'Nelly', discriminator: '1337' }
    }),
    test: altdentifier(5, 'OP 5: a test event')
  },
  aghanim: {
    'player.verify': aghanim('player.verify', 'may this player enter?', player, { trigger: 'hub.login' }, 'accepted'),
    'item.add': aghanim('item.add', 'a player is to get items', {
      ...player, items: [{ sku: 'gems', quantity: 100 }]
    }, {}, 'replayed'),
    'order.paid': aghanim('order.paid', 'an order was paid', { ...player, order_id: 'ord_1' }, {}, 'replayed')
  },
  'identity-validation': {
    session: {
      about: 'a session is being processed or completed',
      payload: (id) => ({
        event_id: 'identity-session-status-changed',
        session: { id: `iss-${id}`, status: 'VERIFIED' },
        idempotency_key: `key-${id}`
      }),
      again: 'replayed'
    },
    'required-files': {
      about: 'files are required (the provider publishes no sample of it)',
      payload: (id) => ({ event_id: 'identity-required-files', idempotency_key: `key-${id}` }),
      again: 'replayed'
    }
  },
  humandetect: {
    human: { about: 'a token that shows a human', payload: () => ({ identifier: IDENTIFIER }), again: 'refused' },
    bot: {
      about: 'a genuine token that shows a bot: to be refused',
      payload: () => ({ identifier: IDENTIFIER }),
      refused: true,
      again: 'refused'
    }
  }
} satisfies Record<string, Samples>

export type Provider = keyof typeof SAMPLES

export const samplesOf = (provider: Provider): Samples => SAMPLES[provider]
