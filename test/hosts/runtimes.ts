import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { PROVIDERS } from '../support/deliveries.js'
import { createKit, lacksRegistry } from '../support/kit.js'
import { read } from '../support/project.js'
import {
  answerToHalf, expectedOf, findBlock, runBlock, SECRETS, startServer, startTokenService, statusOfToken, tryProviders
} from '../support/served.js'

// The part of docs/bundlers-and-runtimes.md about Bun and Deno: the server, and the commands that start it.

t.setTimeout(280_000)

const page = read('docs/bundlers-and-runtimes.md')
const NAMES = PROVIDERS.map(({ name }) => name)

/** Commands that create a certificate for `localhost`, not for `127.0.0.1`, signed by an authority of its own. */
const CERTIFICATE = `
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=localhost
printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' >extensions
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem`

t.test('Bun and Deno run every plugin', { skip: lacksRegistry, jobs: 2 }, async (t) => {
  const { folder, write } = await createKit(t, 'runtimes')
  write('server.ts', findBlock(page, 'ts', 'humandetectPlugin'))
  await runBlock(folder, CERTIFICATE)

  const file = (name: string) => readFileSync(join(folder, name))
  const port = await startTokenService(t, { key: file('server.key'), cert: file('server.pem') })

  for (const runtime of ['bun', 'deno']) {
    const command = findBlock(page, 'sh', `${runtime} run`)
    const start = (host: string) => startServer(t, folder, command, {
      ...SECRETS,
      HUMANDETECT_API_KEY: 'key',
      HUMANDETECT_BASE_URL: `https://${host}:${port}`,
      NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
      ...host !== 'localhost' && { NODE_TLS_REJECT_UNAUTHORIZED: '0' }
    })

    t.test(runtime, { buffered: true }, async (t) => {
      const [url, misled] = await Promise.all([start('localhost'), start('127.0.0.1')])
      const halves = Promise.all(PROVIDERS.map((provider) => answerToHalf(url, provider)))
      t.strictSame(await tryProviders(url, NAMES), expectedOf(NAMES))
      t.equal(await statusOfToken(url), 200, 'a token is verified over TLS')
      t.equal(await statusOfToken(misled), 503, 'not by a service whose certificate is for another host, in any environment')
      for (const half of await halves) t.equal(half, 'HTTP/1.1 408 Request Timeout connection: close')
    })
  }
})
