import swagger from '@fastify/swagger'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import { jsonSchemaTransform, serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { build } from '../../example-server.js'
import { altdentifierPlugin } from '../../plugins/index.js'
import { DEMO } from '../../cli/demo.js'
import { apiRoutes, type ApiRoute, type Attempt } from '../support/api-routes.js'
import { codesIn, sectionOf, tablesIn } from '../support/docs.js'
import { exchange, rawRequest, statusOf } from '../support/host.js'
import { read } from '../support/project.js'
import { quiet } from '../support/quiet.js'
import { freePort } from '../support/redis.js'

interface Media { examples?: Record<string, { value: object }>, example?: object, schema: object }
interface Parameter {
  name: string
  in: string
  required: boolean
  description?: string
  example?: string
  schema: { type?: string, pattern?: string }
}
interface Answer {
  description: string
  headers?: Record<string, { description?: string, schema: { example?: number, enum?: string[] } }>
  content?: { 'application/json': Media }
}
interface Operation {
  tags: string[]
  summary: string
  description: string
  parameters?: Parameter[]
  requestBody?: { content: Record<string, Media> }
  responses: Record<string, Answer>
}
interface Document { openapi: string, paths: Record<string, Record<string, Operation>> }

// The Token Verification API that the guard calls.
const service = Fastify()
apiRoutes('', '').at(-1)!.register(service)
const routes = apiRoutes(
  await service.listen({ port: 0, host: '127.0.0.1' }), `http://127.0.0.1:${await freePort()}`)
t.teardown(() => service.close())

// The validator compiles the schema of each OpenAPI version once, which Ajv's optimizer would slow down.
const validator = new Validator({ code: { optimize: false } })

async function isValid (t: Test, document: Document): Promise<void> {
  const { valid, errors } = await validator.validate({ ...document })
  t.ok(valid, JSON.stringify(errors))
}

type Register = (app: FastifyInstance) => unknown

/** Returns the OpenAPI document of a host that registers these plugins. */
async function describe (options: object, ...registered: readonly Register[]): Promise<Document> {
  const app = Fastify()
  await app.register(swagger, options)
  for (const register of registered) await register(app)
  await app.ready()
  const document = JSON.parse(JSON.stringify(app.swagger()))
  await app.close()
  return document
}

const OPENAPI = { openapi: { openapi: '3.1.0' } }
const registrations = routes.map(({ register }): Register => (app) => register(app))
const shown = await describe(OPENAPI, ...registrations)
const operationAt = (path: string, { paths } = shown): Operation => paths[path]!['post']!
const bodiesAt = (path: string, document = shown) =>
  operationAt(path, document).requestBody!.content['application/json']!.examples ?? {}

async function hostOf (t: Test, route: ApiRoute, options?: object): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await route.register(app, options)
  return app
}

/** Sends the request that a route accepts, with the given changes; to `host` where the attempt has no options. */
async function attempt (
  t: Test, route: ApiRoute, { options, body = route.body, headers, bytes }: Attempt, host?: FastifyInstance
) {
  const app = options === undefined && host !== undefined ? host : await hostOf(t, route, options)
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const sent: Record<string, string> = { ...route.sign(text), ...headers }
  if (bytes === undefined) {
    const reply = await app.inject({ method: 'POST', url: route.path, headers: sent, payload: text })
    return { statusCode: reply.statusCode, headers: reply.headers, body: reply.body }
  }
  const request = rawRequest(route.path, Object.entries({ ...sent, 'content-length': `${text.length}` }), text)
  const answer = (await exchange(app, [request.subarray(0, request.length - text.length + bytes)])).text
  return { statusCode: statusOf(answer), headers: {}, body: answer.slice(answer.indexOf('\r\n\r\n') + 4) }
}

t.test('all routes make a valid document, in OpenAPI 3.1 and 3.0', async (t) => {
  t.strictSame(Object.keys(shown.paths).sort(), routes.map(({ path }) => path).sort())
  await isValid(t, shown)
  await isValid(t, await describe({ openapi: { openapi: '3.0.3' } }, ...registrations))
})

for (const route of routes) {
  const { path, tag } = route
  const { tags, summary, description, parameters = [], requestBody, responses } = operationAt(path)

  t.test(`${path} is described: the verified data, its headers, and every answer`, quiet(async (t) => {
    t.strictSame(tags, [tag])
    t.match(summary, /^.{10,60}$/)
    t.match(description, /.{100}/)
    t.strictSame(Object.keys(requestBody!.content), ['application/json'])

    const headers = Object.keys(route.sign('{}')).filter((name) => name !== 'content-type')
    t.strictSame(parameters.map(({ name }) => name.toLowerCase()).sort(), headers.sort(), 'every check')
    for (const { schema: { pattern = '' }, ...parameter } of parameters) {
      t.match(parameter, { in: 'header', required: true, description: /\w{2}/, example: new RegExp(pattern, 'u') })
    }

    const examples = Object.entries(responses).flatMap(([status, { description, headers, content }]) => {
      t.match(description, /^(?!Default Response)\w/, status)
      t.equal(headers?.['Retry-After']?.schema.example, status === '503' ? 5 : undefined)
      return Object.keys(content?.['application/json'].examples ?? {}).map((name) => `${status} ${name}`)
    })
    t.strictSame(examples.sort(), Object.keys(route.attempts).sort(), 'each example is compared below')
  }))

  t.test(`${path} accepts the examples of its bodies, once they are signed`, async (t) => {
    const bodies = Object.entries(bodiesAt(path))
    t.ok(bodies.length > 0)
    for (const [name, { value }] of bodies) {
      const { statusCode } = await attempt(t, route, { body: value })
      t.ok([200, 204].includes(statusCode) && statusCode in responses, name)
    }
  })

  t.test(`the example headers of ${path} are those of the first of its bodies`, async (t) => {
    const headers = Object.fromEntries(parameters.map(({ name, example }) => [name.toLowerCase(), example!]))
    const [first] = Object.values(bodiesAt(path))
    const { statusCode } = await attempt(t, route, { body: first!.value, headers })
    t.ok(statusCode < 300, `${statusCode}`)
  })

  t.test(`${path} gives the answers in its examples`, quiet(async (t) => {
    const host = await hostOf(t, route)
    for (const [name, attempted] of Object.entries(route.attempts)) {
      const [status, example] = name.split(' ') as [string, string]
      const { statusCode, headers, body } = await attempt(t, route, attempted, host)
      t.match(`${statusCode}`, new RegExp(`^${status.replace('XX', '..')}$`), name)
      t.strictSame(JSON.parse(body), responses[status]!.content!['application/json'].examples![example]!.value, name)
      t.equal(headers['retry-after'], status === '503' ? '5' : undefined)
    }
  }))

  t.test(`${path} does not validate with the schema of its page`, async (t) => {
    const without = Object.fromEntries(parameters.map(({ name }) => [name.toLowerCase(), '']))
    const { statusCode } = await attempt(t, route, { headers: without })
    t.equal(statusCode, parameters.length === 0 ? 204 : '401 unauthorized' in route.attempts ? 401 : 403)
  })
}

t.test('schemas of the user are shown instead of ours, without examples that may not fit them', async (t) => {
  const Login = Type.Object({ subject: Type.String() }, { $id: 'Login' })
  const Session = Type.Object({ session: Type.Object({ id: Type.String() }) }, { description: 'Of our own' })
  const Reply = Type.Object({ welcome: Type.Boolean() }, { description: 'Welcome' })
  const [aghanim, sessions, guard] = [routes[1]!, routes[2]!, routes[4]!]
  const document = await describe(OPENAPI,
    (app) => aghanim.register(app, { eventData: Login }),
    (app) => sessions.register(app, { schemas: { sessions: Session } }),
    (app) => guard.register(app, { reply: Reply }))
  await isValid(t, document)
  t.strictSame(Object.keys(bodiesAt(aghanim.path, document)), ['item.add', 'order.paid'])
  t.match(JSON.stringify(document), '"subject"')
  t.match(operationAt(sessions.path, document).requestBody, { description: 'Of our own' })
  t.strictSame(bodiesAt(sessions.path, document), {})
  t.match(operationAt(guard.path, document).responses[200], { description: 'Welcome' })
})

t.test('AltDentifier shows the headers that it is configured to require', async (t) => {
  for (const [httpSignature, shown] of [['ignore', ['Digest']], ['require', ['Digest', 'Signature', 'Date']]] as const) {
    const { paths } = await describe({ openapi: { openapi: '3.1.0' } }, (app) =>
      app.register(altdentifierPlugin, { secret: 'a secret of AltDentifier', httpSignature, handleEvent () {} }))
    const { parameters = [] } = paths['/altdentifier']!['post']!
    t.strictSame(parameters.map(({ name }) => name), shown)
  }
})

t.test('a host changes the description of one route only', async (t) => {
  const [route] = routes
  const [first, second] = ['/first', '/second'].map((path): Register => (app) => route!.register(app, { path }))
  const change: Register = (app) => app.addHook('onRoute', ({ url, schema }) => {
    if (url.endsWith('/first')) Object.assign(schema!.response!, { 403: { type: 'null', description: 'changed' } })
  })
  const document = await describe(OPENAPI, change, first!, second!)
  t.equal(operationAt('/webhooks/first', document).responses[403]?.description, 'changed')
  t.strictSame(operationAt('/webhooks/second', document).responses, operationAt(route!.path).responses)
})

t.test("together with a host's own schemas and transform, zod's, all routes are described", async (t) => {
  const host: Register = (app) => {
    app.setValidatorCompiler(validatorCompiler)
    app.setSerializerCompiler(serializerCompiler)
    app.withTypeProvider<ZodTypeProvider>().post('/host', { schema: { body: z.object({ n: z.number() }) } }, () => '')
  }
  const document = await describe({ ...OPENAPI, transform: jsonSchemaTransform }, host, ...registrations)
  await isValid(t, document)
  t.match(operationAt('/host', document).requestBody, { content: { 'application/json': { schema: { required: ['n'] } } } })
  for (const { path } of routes) t.strictSame(operationAt(path, document), operationAt(path))
})

const example = await build()
t.teardown(() => example.close())

t.test('the example server shows all of its routes on a page', quiet(async (t) => {
  const document: Document = (await example.inject('/docs/json')).json()
  await isValid(t, document)
  t.equal(document.openapi, '3.1.0')
  const paths = ['/signup', '/health', '/humandetect/demo-token', ...routes.map(({ path }) => path)]
  for (const path of paths.filter((path) => path !== '/humandetect')) {
    const [operation] = Object.values(document.paths[path]!)
    t.match(operation, { tags: [/\w/], summary: /\w/, responses: /./ }, path)
  }
  t.strictSame(Object.keys(operationAt('/signup', document).responses), ['201', '400', '403', '503'])
  const page = await example.inject('/docs')
  t.match(page.body, 'swagger-ui')
  t.match(page.headers['content-security-policy'], /default-src 'self'/)
  for (const [, link] of page.body.matchAll(/(?:src|href)="([^"]+)"/g)) {
    t.equal((await example.inject(new URL(link!, 'http://localhost/docs').pathname)).statusCode, 200, `${link}`)
  }
}))

t.test('docs/README.md lists the environment and the routes of the example server', quiet(async (t) => {
  const [variables, routes] = tablesIn(sectionOf(read('docs/README.md'), '## The example server'))
  const asked = [...read('example-server.ts').matchAll(/env\['([A-Z_]+)'\]/g)].map(([, name]) => name!)
  t.strictSame(new Set(variables!.rows.flatMap(([name]) => codesIn(name!))), new Set([...asked, ...Object.keys(DEMO)]))
  const listed = routes!.rows.flatMap(([route]) => codesIn(route!))
  const described = Object.entries(example.swagger().paths as Record<string, object>)
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`))
  t.strictSame(described.filter((route) => !listed.includes(route)), [], 'none is missing')
  for (const route of listed) {
    const [method, url] = route.split(' ') as ['GET' | 'POST', string]
    t.not((await example.inject({ method, url })).statusCode, 404, route)
  }
}))
