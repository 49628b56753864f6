import type { Test } from 'tap'
import ts from 'typescript'
import { root } from './project.js'

/** A program of blocks of TypeScript, held to what the project itself is held to. */
export function programOf (t: Pick<Test, 'testdir'>, blocks: Readonly<Record<string, string>>): ts.Program {
  const folder = t.testdir({ ...blocks })
  const { config } = ts.readConfigFile(new URL('tsconfig.json', root).pathname, ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [] }, ts.sys, root.pathname)
  return ts.createProgram(Object.keys(blocks).map((name) => `${folder}/${name}`), {
    ...options,
    noEmit: true,
    rootDir: root.pathname,
    paths: {
      'fastify-verification': [new URL('plugins/index.ts', root).pathname],
      'fastify-verification/schemas/*': [new URL('schemas/*.ts', root).pathname],
      'fastify-verification/*': [new URL('plugins/*.ts', root).pathname]
    }
  })
}
