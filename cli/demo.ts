// Publicly known secrets, only for trying things out on one's own machine.
export const DEMO = {
  ALTDENTIFIER_SECRET: 'demo-altdentifier-secret',
  AGHANIM_SECRET: 'demo-aghanim-secret-of-32-bytes!',
  IDENTITY_API_KEY: 'demo-api-key',
  IDENTITY_API_SECRET: 'ZGVtby1pZGVudGl0eS1zZWNyZXQtMzItYnl0ZXMtISE=',
  HUMANDETECT_API_KEY: 'demo-humandetect-key'
}

/** Demo value of `HUMANDETECT_TOKEN_SECRET`, for a server that issues tokens to anybody. */
export const DEMO_TOKEN_SECRET = 'demo-humandetect-token-secret'
