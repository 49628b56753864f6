import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { read } from './project.js'
import type { Test } from './host.js'
import { freePort } from './redis.js'

const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` } // Debian installs nginx there, which PATH may lack
const found = spawnSync('nginx', ['-v'], { env }).status === 0
if (!found && process.env['REQUIRE_NGINX'] === '1') throw new Error('REQUIRE_NGINX=1, but there is no nginx')

/** Reason for tap's `skip` if nginx is not installed, or false. */
export const noNginx: string | false = found ? false : 'there is no nginx on this machine'

/** Configuration for port 8080 and the servers `server-1` and `server-2`. */
export const CONFIGURATION = read('docs/several-instances/nginx.conf')

/** Log line of a request: its status, and the status of each server that it was passed to. */
export interface LogLine { readonly uri: string, readonly status: number, readonly tries: readonly string[] }

const LINE = /"POST (\S+)" (\d+) \S+ upstream "([^"]*)" "([^"]*)"/

/** Starts nginx with the configuration in docs/, for servers on ports of this machine; it ends with the test. */
export async function startNginx (test: Test, servers: readonly number[], configuration = CONFIGURATION) {
  const folder = mkdtempSync(join(tmpdir(), 'verification-nginx-'))
  chmodSync(folder, 0o755) // nginx, if started by root, works as another user
  test.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const port = await freePort()
  const moved = configuration
    .replace('listen 8080', `listen 127.0.0.1:${port}`)
    .replace('/var/log/nginx', folder)
    .replace(/server server-1:3000/, `server 127.0.0.1:${servers[0]}`)
    .replace(/server server-2:3000/, `server 127.0.0.1:${servers[1]}`)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`)
  writeFileSync(join(folder, 'nginx.conf'), [
    'daemon off;', 'worker_processes 2;', `pid ${folder}/pid;`, `error_log ${folder}/error.log;`, 'events {}',
    'http {', ...temporary, moved, '}'
  ].join('\n'))

  const child = spawn('nginx', ['-e', join(folder, 'error.log'), '-p', folder, '-c', join(folder, 'nginx.conf')], {
    env, stdio: ['ignore', 'inherit', 'inherit']
  })
  const exit = once(child, 'exit')
  test.teardown(() => {
    child.kill()
    return exit
  })
  while (!await answers(port)) {
    if (child.exitCode !== null) throw new Error(readFileSync(join(folder, 'error.log'), 'utf8'))
    await sleep(5)
  }
  return {
    port,
    origin: `http://127.0.0.1:${port}`,
    /** Returns the log so far. nginx writes a line once its client has the answer. */
    log: (): LogLine[] => readFileSync(join(folder, 'access.log'), 'utf8').split('\n').flatMap((line) => {
      const [, uri, status, tried, statuses] = LINE.exec(line) ?? []
      if (uri === undefined) return []
      const each = statuses!.split(', ')
      return { uri, status: Number(status), tries: tried!.split(', ').map((server, index) => `${server}: ${each[index]}`) }
    })
  }
}

async function answers (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const answered = await Promise.race([once(socket, 'connect').then(() => true), once(socket, 'close').then(() => false)])
    .catch(() => false)
  socket.destroy()
  return answered
}
