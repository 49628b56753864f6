import neostandard from 'neostandard'

// An augmentation must repeat the type parameters of the interface it adds to, used or not.
const varsIgnorePattern = '^(RawServer|TypeProviderDefault|LoggerDefault)$'

export default [
  ...neostandard({ ts: true, ignores: ['dist', '.tap', 'node_modules'] }),
  {
    rules: {
      '@stylistic/max-len': ['error', {
        code: 120, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true, ignoreUrls: true
      }]
    }
  },
  { files: ['plugins/*.ts'], rules: { '@typescript-eslint/no-unused-vars': ['error', { varsIgnorePattern }] } }
]
