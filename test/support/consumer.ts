import { execFile } from 'node:child_process'
import {
  chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { PLAIN } from './programs.js'
import { pathOf, read } from './project.js'

// The published package, and projects that use it. They are outside of the project's folder, so that they cannot
// resolve its modules by accident.

const { name, version, dependencies, files } = JSON.parse(read('package.json')) as {
  name: string, version: string, dependencies: Record<string, string>, files: string[]
}

/** Environment of a shell, without the variables that npm sets for its scripts. */
export const shellEnv = Object.fromEntries(Object.entries(process.env)
  .filter(([key]) => !/^(INIT_CWD|npm_(package|lifecycle|command|config_local_prefix).*)$/i.test(key)))

/** Runs a program to its end, and rejects if it fails. */
export const runIn = (cwd: string, command: string, ...args: readonly string[]) =>
  promisify(execFile)('env', [...PLAIN, command, ...args], { cwd, env: shellEnv })

function createFolder (test: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'consumer-'))
  test.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

let packed: Promise<string> | undefined

/** Packs the tarball once per process; removed when `test` ends. */
export function packOnce (test: Test): Promise<string> {
  packed ??= pack(createFolder(test))
  return packed
}

/** Packs like `npm pack`, from a build in a separate folder, so that several suites can do so at the same time. */
async function pack (folder: string): Promise<string> {
  const staging = join(folder, 'package')
  const entries = ['package.json', 'README.md', 'LICENSE', ...files].map((path) => path.split('/')[0]!)
  for (const entry of new Set(entries)) {
    if (entry !== 'dist') cpSync(pathOf(entry), join(staging, entry), { recursive: true })
  }
  await runIn(pathOf('.'), 'npm', 'run', '-s', 'build', '--', '--outDir', join(staging, 'dist'))
  await runIn(staging, 'npm', 'pack', '--silent', '--ignore-scripts', '--pack-destination', folder)
  return join(folder, `${name}-${version}.tgz`)
}

export type Consumer = ReturnType<typeof createConsumer>

/** Creates a project in a separate folder, removed when the test ends. */
export function createConsumer (test: Test) {
  const folder = createFolder(test)
  const modules = join(folder, 'node_modules')
  const write = (path: string, text: string) => writeFileSync(join(folder, path), text)
  const run = (command: string, ...args: readonly string[]) => runIn(folder, command, ...args)
  write('package.json', JSON.stringify({ name: 'consumer', private: true, type: 'module' }))

  /**
   * Installs packages in the versions that the project is tested with, so that a new release cannot change the result,
   * and the tarball if there is one. They come from the registry or npm's cache; without either they are links to the
   * packages installed in the project.
   */
  async function install (packages: readonly string[], tarball?: string): Promise<void> {
    const wanted = [...tarball === undefined ? [] : [tarball], ...packages.map((name) => `${name}@${versionOf(name)}`)]
    try {
      await run('npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=0', ...wanted)
    } catch (error) {
      if (await reachesRegistry()) throw error
      test.comment('no registry can be reached: the dependencies are links to those of the project')
      if (tarball !== undefined) await unpack(tarball)
      for (const name of packages) link(name)
    }
  }

  const reachesRegistry = () =>
    run('npm', 'view', 'fastify', 'version', '--prefer-online', '--fetch-retries=0').then(() => true, () => false)

  async function unpack (tarball: string): Promise<void> {
    const installed = join(modules, name)
    for (const path of [join(modules, '.bin'), installed]) mkdirSync(path, { recursive: true })
    await run('tar', '-xzf', tarball, '-C', installed, '--strip-components=1')
    for (const dependency of Object.keys(dependencies)) link(dependency)
    const program = join(installed, 'dist/cli/main.js')
    chmodSync(program, 0o755)
    symlinkSync(program, join(modules, '.bin', name))
  }

  function link (name: string): void {
    const path = join(modules, name)
    mkdirSync(dirname(path), { recursive: true })
    if (!existsSync(path)) symlinkSync(pathOf(`node_modules/${name}`), path)
  }

  return {
    folder,
    /** Folder of the installed package. */
    installed: join(modules, name),
    has: (path: string) => existsSync(join(modules, path)),
    write,
    run,
    install
  }
}

const versionOf = (name: string): string =>
  JSON.parse(readFileSync(pathOf(`node_modules/${name}/package.json`), 'utf8')).version
