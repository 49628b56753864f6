import { createProvider, Type } from '../../../plugins/provider.js'

export { githubPlugin } from './github.js'

/** A provider with all that a scheme can have. */
export const keyedPlugin = createProvider({
  name: 'keyed',
  summary: 'Events',
  scheme: {
    algorithm: 'hmac-sha256',
    headers: { 'x-key': '{keyId}', 'x-mac': '{hex}', 'x-time': '{timestamp}', 'x-endpoint': '{endpoint}' },
    signed: '{timestamp}{endpoint}{body}'
  },
  body: Type.Object({}),
  refusal: { statusCode: 401 }
})
