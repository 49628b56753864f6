import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from './host.js'
import { freePort } from './redis.js'

const DEBIAN = '/usr/lib/postgresql'
const folder = existsSync(DEBIAN)
  ? readdirSync(DEBIAN).map((version) => join(DEBIAN, version, 'bin')).find((bin) => existsSync(join(bin, 'initdb')))
  : undefined
if (folder === undefined && process.env['REQUIRE_POSTGRES'] === '1') {
  throw new Error('REQUIRE_POSTGRES=1, but there is no PostgreSQL')
}

/** Reason for tap's `skip` if PostgreSQL is not installed, or false. */
export const noPostgres: string | false = folder === undefined ? "Debian's postgresql is not installed" : false

/** Starts PostgreSQL on a free port with a temporary folder, until the test ends. Returns its URL. */
export async function startPostgres (test: Test): Promise<string> {
  const data = mkdtempSync(join(tmpdir(), 'postgres-'))
  const asRoot = process.getuid?.() === 0 // PostgreSQL refuses to run as root
  const user = asRoot ? idsOf('postgres') : undefined
  if (user !== undefined) {
    chownSync(data, user.uid, user.gid)
    chmodSync(data, 0o700)
  }
  const options = { cwd: data, ...user, env: {} }
  execFileSync(join(folder!, 'initdb'), ['-D', data, '-A', 'trust', '-U', 'test', '-N', '--no-locale', '-E', 'UTF8'], options)
  const port = await freePort()
  const settings = ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', data, '-F']
  const child = spawn(join(folder!, 'postgres'), settings, { ...options, stdio: ['ignore', 'ignore', 'pipe'] })
  test.teardown(async () => {
    const ended = once(child, 'exit')
    child.kill('SIGQUIT')
    await ended
    rmSync(data, { recursive: true, force: true })
  })
  let printed = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk) => {
      printed += chunk
      if (printed.includes('ready to accept connections')) resolve()
    })
    child.once('exit', () => reject(new Error(`postgres ended:\n${printed}`)))
  })
  return `postgres://test@127.0.0.1:${port}/postgres`
}

function idsOf (name: string): { uid: number, gid: number } {
  const id = (flag: string) => Number(execFileSync('id', [flag, name]))
  return { uid: id('-u'), gid: id('-g') }
}
