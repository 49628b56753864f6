import { build } from 'esbuild'
import { existsSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bullmqUrl } from './bullmq.js'
import { pathOf } from './project.js'

/**
 * Arguments of `env`, for a process without what the test runner puts into NODE_OPTIONS of whatever is started: that
 * slows it down, compilers most of all, and upsets the coverage.
 */
export const PLAIN = ['-u', 'NODE_OPTIONS']

/** The same, up to the program. */
export const PLAIN_NODE = [...PLAIN, process.execPath]

/** The same, for programs in TypeScript. */
export const PLAIN_TSX = [...PLAIN_NODE, '--import', 'tsx']

/** The same with a program of the project, such as `cli`: compiled if this module is, or else from its source. */
export function plainProgram (path: string): string[] {
  const file = fileURLToPath(import.meta.resolve(`../../${path}.js`))
  return [...file.endsWith('.ts') ? PLAIN_TSX : PLAIN_NODE, file]
}

/**
 * Makes one file of a program and all it imports, which starts several times as fast. `external` packages are left out,
 * since they read files of their own, and found by a link beside it.
 */
export async function bundle (program: string, outfile: string, external: string[] = []): Promise<void> {
  const bullmq = bullmqUrl()
  await build({
    plugins: [{
      name: 'bullmq',
      setup: ({ onResolve }) => { if (bullmq) onResolve({ filter: /^bullmq$/ }, () => ({ path: bullmq, external: true })) }
    }],
    entryPoints: [pathOf(program)],
    outfile,
    bundle: true,
    external,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    // What a module lacks that packages in CommonJS need.
    banner: { js: "globalThis.require = process.getBuiltinModule('node:module').createRequire(import.meta.url)" }
  })
  const modules = join(dirname(outfile), 'node_modules')
  if (external.length > 0 && !existsSync(modules)) symlinkSync(pathOf('node_modules'), modules)
}
