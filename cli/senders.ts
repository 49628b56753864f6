import { signAghanim } from '../plugins/aghanim.js'
import { signAltdentifier } from '../plugins/altdentifier.js'
import { issueToken } from '../plugins/humandetect-api.js'
import { signIdentityValidation } from '../plugins/identity-validation.js'
import { DEMO, DEMO_TOKEN_SECRET } from './demo.js'
import type { Provider } from './samples.js'
import { VARIANTS, type Variant } from './variants.js'

/** What goes into a delivery. */
export interface Ingredients {
  readonly body: Buffer
  readonly secret: string
  /** When it is signed, in Unix seconds. */
  readonly timestamp: number
  /** What becomes of what is signed, afterwards. */
  readonly alter: (signed: Buffer) => Buffer
  /** The public path and query, and the owner of the secret, for senders with these options. */
  readonly endpoint: string
  readonly apiKey: string
  /** The subject of a token, and if it shows a human. */
  readonly identifier: string
  readonly human: boolean
}

/** A request, ready to be sent. */
export interface Delivery {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** An option of the command line that not every provider has. */
export type SenderOption = 'api-key' | 'endpoint' | 'identifier'

/** One provider, as seen by its receivers. */
export interface Sender {
  /** The environment variable of its secret, and what the example server takes for it. */
  readonly secretName: string
  readonly demoSecret: string
  /** The options of the command line that mean something to it. */
  readonly options: readonly SenderOption[]
  /** Where the example server receives an event. */
  readonly path: (event: string) => string
  /** The variants it cannot have, and why. */
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

/** The variants a provider has. */
export function variantsOf (provider: Provider): Variant[] {
  const { without } = SENDERS[provider]
  return (Object.keys(VARIANTS) as Variant[]).filter((variant) => without[variant] === undefined)
}
