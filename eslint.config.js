import neostandard from 'neostandard'

export default [
  ...neostandard({ ts: true, ignores: ['dist', '.built', '.tap', 'node_modules'] }),
  {
    rules: {
      '@stylistic/max-len': ['error', {
        code: 120, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true, ignoreUrls: true
      }]
    }
  }
]
