import { build } from 'esbuild'
import { existsSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bullmqUrl } from './bullmq.js'
import { pathOf } from './project.js'

/**
 * Arguments of `env`, for a process without the NODE_OPTIONS that the test runner passes on to its children: they slow
 * it down, compilers most of all, and distort the coverage.
 */
export const PLAIN = ['-u', 'NODE_OPTIONS']

/** Arguments of `env` that start Node. */
export const PLAIN_NODE = [...PLAIN, process.execPath]

/** Arguments of `env` that start Node for programs in TypeScript. */
export const PLAIN_TSX = [...PLAIN_NODE, '--import', 'tsx']

/** Arguments of `env` that run a program of the project, such as `cli`: compiled if this module is, or its source. */
export function plainProgram (path: string): string[] {
  const file = fileURLToPath(import.meta.resolve(`../../${path}.js`))
  return [...file.endsWith('.ts') ? PLAIN_TSX : PLAIN_NODE, file]
}

/**
 * Bundles a program and all its imports into one file, which starts several times as fast. `external` packages, which
 * read files of their own, are not bundled but resolved by a link beside the file.
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
    // Defines `require`, which an ES module lacks and bundled CommonJS packages need.
    banner: { js: "globalThis.require = process.getBuiltinModule('node:module').createRequire(import.meta.url)" }
  })
  const modules = join(dirname(outfile), 'node_modules')
  if (external.length > 0 && !existsSync(modules)) symlinkSync(pathOf('node_modules'), modules)
}
