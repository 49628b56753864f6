import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { connect, type AddressInfo } from 'node:net'
import { delimiter, join } from 'node:path'
import type { Test } from 'tap'
import { runIn, shellEnv } from './consumer.js'
import { API_KEY, API_SECRET, PROVIDERS, SECRET, type ProviderCase } from './deliveries.js'
import { blocksOf } from './docs.js'
import { PLAIN } from './programs.js'
import { freePort } from './redis.js'

// Servers of the pages, which run as separate processes, and deliveries to them.

/** Secrets of `PROVIDERS`, by the names that the servers of the pages use. */
export const SECRETS = {
  AGHANIM_SECRET: SECRET, ALTDENTIFIER_SECRET: SECRET, IDENTITY_API_KEY: API_KEY, IDENTITY_API_SECRET: API_SECRET
}

/** Returns the first code block of a page that contains `text`. */
export function findBlock (page: string, language: string, text: string): string {
  const found = blocksOf(page, language).find((block) => block.includes(text))
  if (found === undefined) throw new Error(`no block with ${text}`)
  return found
}

/** Returns the command of an `sh` block, run without `npx`, which takes a second. */
const commandOf = (folder: string, block: string): string[] =>
  [`PATH=${join(folder, 'node_modules/.bin')}${delimiter}${process.env['PATH']}`, 'sh', '-c', block.replace(/^npx /, '')]

/** Runs an `sh` block of a page to its end. */
export const runBlock = (folder: string, block: string) => runIn(folder, 'env', ...commandOf(folder, block))

/** Starts an `sh` block of a page, or a program, with a port in `PORT`, and returns its URL once it is ready. */
export async function startServer (
  test: Pick<Test, 'teardown'>, folder: string, command: string | readonly string[], env: Record<string, string>
): Promise<string> {
  const port = String(await freePort())
  const args = typeof command === 'string' ? commandOf(folder, `exec ${command.replace(/^npx /, '')}`) : command
  const server = spawn('env', [...PLAIN, ...args], { cwd: folder, env: { ...shellEnv, ...env, PORT: port } })
  test.teardown(() => server.kill('SIGKILL'))
  const url = `http://127.0.0.1:${port}`
  let output = ''
  let ended = false
  server.stdout.on('data', (data) => { output += data })
  server.stderr.on('data', (data) => { output += data })
  server.on('exit', () => { ended = true })
  while (!await fetch(url).then(() => true, () => false)) {
    if (ended) throw new Error(`the server ended: ${output}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return url
}

const seconds = (): number => Math.floor(Date.now() / 1000)

/** Returns a delivery whose body contains non-ASCII characters. */
export function deliveryFrom ({ event, sign }: ProviderCase, age = 0) {
  const body = JSON.stringify({ ...event, note: 'Zoë 😀' })
  return { body, headers: sign(body, seconds() - age) }
}

/** Returns the status of a server's answer. */
export async function statusOf (url: string, headers: Record<string, string>, body: string): Promise<number> {
  const reply = await fetch(url, { method: 'POST', headers, body })
  await reply.arrayBuffer()
  return reply.status
}

/** Sends valid and invalid deliveries of these providers. Returns the statuses, by the provider's name. */
export async function tryProviders (
  url: string, names: readonly string[]
): Promise<Record<string, { signed: number, changed: number, stale: number, tooLong: number }>> {
  const providers = PROVIDERS.filter(({ name }) => names.includes(name))
  return Object.fromEntries(await Promise.all(providers.map(async (provider) => {
    const { body, headers } = deliveryFrom(provider)
    const target = url + provider.url
    const [signed, changed, stale, tooLong] = await Promise.all([
      statusOf(target, headers, body),
      statusOf(target, headers, body.replace('Zoë', 'Zoe')),
      statusOf(target, deliveryFrom(provider, 3600).headers, body),
      statusOf(target, headers, body + ' '.repeat(300_000))
    ])
    return [provider.name, { signed, changed, stale, tooLong }]
  })))
}

/** Returns the expected statuses of `tryProviders`. AltDentifier signs no timestamp. */
export const expectedOf = (names: readonly string[]) => Object.fromEntries(PROVIDERS
  .filter(({ name }) => names.includes(name))
  .map(({ name, success, timestamp }) => [
    name, { signed: success, changed: 403, stale: timestamp === undefined ? success : 403, tooLong: 413 }
  ]))

/** Returns the status line and `connection` header of the answer to a body that never completes. */
export function answerToHalf (url: string, provider: ProviderCase): Promise<string> {
  const { body, headers } = deliveryFrom(provider)
  const { hostname, port } = new URL(url)
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname)
    let answer = ''
    socket.on('data', (data) => { answer += data })
    socket.on('error', reject)
    socket.on('close', () => {
      const [status, ...rest] = answer.split('\r\n')
      resolve(`${status} ${rest.find((line) => /^connection:/i.test(line))?.toLowerCase()}`)
    })
    socket.write(`POST ${provider.url} HTTP/1.1\r\nhost: a\r\n${lines}content-length: ${body.length}\r\n\r\n${body.slice(0, 9)}`)
  })
}

const IDENTIFIER = 'user-1'

/** Starts a service that finds every token genuine, over TLS if it has a certificate. Returns its port. */
export async function startTokenService (
  test: Pick<Test, 'teardown'>, certificate?: { key: Buffer, cert: Buffer }
): Promise<number> {
  let checksum = 0
  const service = certificate === undefined ? createHttpServer() : createHttpsServer(certificate)
  service.on('request', (request, reply) => {
    request.resume().on('end', () => {
      const [valid, timestamp] = [true, new Date().toISOString()]
      reply.setHeader('content-type', 'application/json')
      reply.end(JSON.stringify({ valid, identifier: IDENTIFIER, timestamp, checksum: String(++checksum), version: 1 }))
    })
  })
  await once(service.listen(0), 'listening')
  test.teardown(() => service.close())
  return (service.address() as AddressInfo).port
}

/** Returns the status of the guard's own route for a token. */
export const statusOfToken = (url: string): Promise<number> => statusOf(`${url}/humandetect`,
  { 'content-type': 'application/json' }, JSON.stringify({ token: 'a token', identifier: IDENTIFIER }))
