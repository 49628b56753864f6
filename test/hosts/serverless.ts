import { spawnSync } from 'node:child_process'
import t from 'tap'
import { PROVIDERS } from '../support/deliveries.js'
import { createKit, lacksRegistry } from '../support/kit.js'
import { read } from '../support/project.js'
import { deliveryFrom, findBlock, SECRETS, startServer, tryProviders } from '../support/served.js'

// docs/serverless.md: its app, in the runtime of Google's functions and with events of AWS API Gateway.

t.setTimeout(280_000)

const page = read('docs/serverless.md')
const find = (language: string, text: string): string => findBlock(page, language, text)
const AGHANIM = PROVIDERS.find(({ name }) => name === 'aghanim')!
const PATH = `/webhooks${AGHANIM.url}`

interface Sent { headers: Record<string, string | string[]>, body: string | null, isBase64Encoded: boolean }
const firstOf = (value: string | string[]): string => typeof value === 'string' ? value : value.at(-1)!

/** Events of API Gateway, in the form of its documentation. */
const EVENTS: Record<string, (sent: Sent) => object> = {
  'REST API, format 1.0': ({ headers, ...rest }) => ({
    resource: '/{proxy+}',
    path: PATH,
    httpMethod: 'POST',
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, firstOf(value)])),
    multiValueHeaders: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value].flat()])),
    queryStringParameters: null,
    multiValueQueryStringParameters: null,
    pathParameters: { proxy: PATH.slice(1) },
    stageVariables: null,
    requestContext: { httpMethod: 'POST', path: PATH, stage: 'prod', identity: { sourceIp: '192.0.2.1' } },
    ...rest
  }),
  'HTTP API, format 2.0': ({ headers, ...rest }) => ({
    version: '2.0',
    routeKey: '$default',
    rawPath: PATH,
    rawQueryString: '',
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value].flat().join(',')])),
    requestContext: { http: { method: 'POST', path: PATH, sourceIp: '192.0.2.1' }, stage: '$default' },
    ...rest
  })
}

t.test('serverless hosts', { skip: lacksRegistry, jobs: 2 }, async (t) => {
  const { folder, write } = await createKit(t, 'serverless')
  write('app.js', find('js', 'aghanimPlugin'))
  write('lambda.js', find('js', 'awsLambdaFastify'))
  write('function.js', find('js', "http('webhooks'"))

  t.test('AWS Lambda: the signed bytes are verified', { buffered: true }, async (t) => {
    const { body, headers } = deliveryFrom(AGHANIM)
    const stale = deliveryFrom(AGHANIM, 3600)
    const base64 = (text: string | Buffer): string => Buffer.from(text).toString('base64')
    const length = { 'content-length': String(Buffer.byteLength(body)) }
    const changed = body.replace('Zoë', 'Zoe')
    const notUtf8 = Buffer.from('{"a":"\xff"}', 'latin1')
    const twice = [headers[AGHANIM.signature]!, headers[AGHANIM.signature]!]
    const sent: [title: string, status: number, sent: Sent][] = [
      ['text', 200, { headers: { ...headers, ...length }, body, isBase64Encoded: false }],
      ['base64', 200, { headers: { ...headers, ...length }, body: base64(body), isBase64Encoded: true }],
      ['without a length', 200, { headers, body: base64(body), isBase64Encoded: true }],
      ['text that has changed', 403, { headers, body: changed, isBase64Encoded: false }],
      ['base64 that has changed', 403, { headers, body: base64(changed), isBase64Encoded: true }],
      ['stale', 403, { headers: stale.headers, body, isBase64Encoded: false }],
      ['no body', 403, { headers, body: null, isBase64Encoded: false }],
      ['a signature sent twice', 403, { headers: { ...headers, [AGHANIM.signature]: twice }, body, isBase64Encoded: false }],
      ['signed, but not UTF-8', 400, {
        headers: AGHANIM.sign(notUtf8, headers[AGHANIM.timestamp!]), body: base64(notUtf8), isBase64Encoded: true
      }],
      ['too long', 413, { headers, body: body + ' '.repeat(70_000), isBase64Encoded: false }]
    ]
    const events = Object.entries(EVENTS).flatMap(([format, make]) =>
      sent.map(([title, status, sent]) => ({ title: `${format}: ${title}`, status, event: make(sent) })))
    write('invoke.js', `import { handler } from './lambda.js'
      const replies = []
      for (const event of ${JSON.stringify(events.map(({ event }) => event))}) replies.push(await handler(event, {}))
      const answered = performance.now()
      process.on('exit', () => console.log('REPLIES', JSON.stringify({ replies, idle: performance.now() - answered })))`)
    const { stdout, stderr } = spawnSync(process.execPath, ['invoke.js'], {
      cwd: folder, encoding: 'utf8', env: { PATH: process.env['PATH'], ...SECRETS }
    })
    t.equal(stderr, '')
    const { replies, idle } = JSON.parse(/REPLIES (.*)/.exec(stdout)![1]!) as {
      replies: { statusCode: number, body: string }[], idle: number
    }
    t.strictSame(replies.map(({ statusCode }, index) => `${events[index]!.title}: ${statusCode}`),
      events.map(({ title, status }) => `${title}: ${status}`))
    t.match(replies[0]!.body, '"name":"Zoë"')
    t.ok(idle < 1000, 'nothing keeps the process running after the answers')
  })

  t.test("Google's functions: the bytes that the platform kept are verified", { buffered: true }, async (t) => {
    const url = await startServer(t, folder, find('sh', 'npx functions-framework'), SECRETS)
    t.strictSame(await tryProviders(`${url}/webhooks`, ['aghanim']), {
      aghanim: { signed: 200, changed: 403, stale: 403, tooLong: 413 }
    })
  })
})
