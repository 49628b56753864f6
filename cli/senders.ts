import { signAghanim } from '../plugins/aghanim.js'
import { signAltdentifier } from '../plugins/altdentifier.js'
import { issueToken } from '../plugins/humandetect-api.js'
import { signIdentityValidation } from '../plugins/identity-validation.js'
import { DEMO, DEMO_TOKEN_SECRET } from './demo.js'
import type { Provider } from './samples.js'
import { VARIANTS, type Variant } from './variants.js'

/** The values from which a delivery is made. */
export interface Ingredients {
  readonly body: Buffer
  readonly secret: string
  /** Time of signing in Unix seconds. */
  readonly timestamp: number
  /** Changes the signed data after signing. */
  readonly alter: (signed: Buffer) => Buffer
  /** The public path and query, for senders with this option. */
  readonly endpoint: string
  /** The api-key that owns the secret, for senders with this option. */
  readonly apiKey: string
  /** The subject of a token. */
  readonly identifier: string
  /** True for the token of a human, false for a bot. */
  readonly human: boolean
}

/** A request, ready to be sent. */
export interface Delivery {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** A command line option that only some providers support. */
export type SenderOption = 'api-key' | 'endpoint' | 'identifier'

/** A simulated provider. */
export interface Sender {
  /** The environment variable of its secret. */
  readonly secretName: string
  /** The secret that the example server uses by default. */
  readonly demoSecret: string
  /** The command line options that it supports, of those that only some providers support. */
  readonly options: readonly SenderOption[]
  /** Returns the path on which the example server receives an event. */
  readonly path: (event: string) => string
  /** The variants that it does not support, each with the reason. */
  readonly without: Readonly<Partial<Record<Variant, string>>>
  readonly make: (ingredients: Ingredients) => Delivery
}

const noEndpoint = { 'wrong-endpoint': 'it signs no endpoint' }

export const SENDERS: Readonly<Record<Provider, Sender>> = {
  altdentifier: {
    secretName: 'ALTDENTIFIER_SECRET',
    demoSecret: DEMO.ALTDENTIFIER_SECRET,
    options: [],
    path: () => '/webhooks/altdentifier',
    without: { expired: 'it signs no time', future: 'it signs no time', ...noEndpoint },
    make: ({ secret, body, alter }) => ({ headers: signAltdentifier({ secret, body }), body: alter(body) })
  },
  aghanim: {
    secretName: 'AGHANIM_SECRET',
    demoSecret: DEMO.AGHANIM_SECRET,
    options: [],
    path: () => '/webhooks/aghanim',
    without: noEndpoint,
    make: ({ secret, body, timestamp, alter }) =>
      ({ headers: signAghanim({ secret, body, timestamp }), body: alter(body) })
  },
  'identity-validation': {
    secretName: 'IDENTITY_API_SECRET',
    demoSecret: DEMO.IDENTITY_API_SECRET,
    options: ['api-key', 'endpoint'],
    path: (event) => `/webhooks/identity-validation/${event === 'session' ? 'sessions' : event}`,
    without: {},
    make: ({ apiKey, secret, endpoint, body, timestamp, alter }) =>
      ({ headers: signIdentityValidation({ apiKey, secret, endpoint, body, timestamp }), body: alter(body) })
  },
  humandetect: {
    secretName: 'HUMANDETECT_TOKEN_SECRET',
    demoSecret: DEMO_TOKEN_SECRET,
    options: ['identifier'],
    path: () => '/humandetect',
    without: noEndpoint,
    make ({ secret, identifier, human, timestamp, body, alter }) {
      const token = issueToken({ secret, identifier, human, timestamp: new Date(timestamp * 1000) })
      const payload = { ...JSON.parse(body.toString()), token: alter(Buffer.from(token)).toString() }
      return { headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(payload)) }
    }
  }
}

/** Returns the variants that a provider supports. */
export function variantsOf (provider: Provider): Variant[] {
  const { without } = SENDERS[provider]
  return (Object.keys(VARIANTS) as Variant[]).filter((variant) => without[variant] === undefined)
}
