import type { InjectOptions } from 'fastify'
import t from 'tap'
import { memoryDeliveries, type DeliveryStore, type RejectedDelivery } from '../../plugins/index.js'
import {
  add, addFirst, beyondLimit, BODY_TIMEOUT, CLOSE, deliveryOf, fill, LOST, MISMATCH, NO_BODY, REPLAYED, requestBytes,
  sign, TAKEN, targetOf, TARGETS, type Attack, type Change, type Delivery, type Outcome, type Pairs, type Target,
  type Theme, type WireAttack
} from '../support/attacks/attack.js'
import { WORDS } from '../support/attacks/bodies.js'
import { THEMES } from '../support/attacks/index.js'
import { REPLAYS } from '../support/attacks/replays.js'
import { FORBIDDEN, NOW } from '../support/deliveries.js'
import { exchange, NO_REQUEST_LOG, statusOf, type Test } from '../support/host.js'
import { createReceiver, scriptedStore } from '../support/life-cycle.js'
import { watchRejections, within } from '../support/waiting.js'

/** Milliseconds that a server may leave a socket open after its response; its keep-alive timeout is far longer. */
const DEADLINE = 20_000

/** Response headers that end or keep the connection. */
const CONNECTION = /\r\nConnection: (?:close|keep-alive\r\nKeep-Alive: timeout=72)(?=\r\n|$)/

interface Reply { readonly statusCode: number, readonly head: string, readonly body: string }
/** Sends deliveries one after the other; over sockets, all on the same one. */
type Send = (deliveries: readonly Delivery[]) => Promise<Reply[]>

/** Parses the replies in the data of a socket, without what differs each time. */
function readReplies (text: string): Reply[] {
  return text.split(/(?=HTTP\/1\.1 \d{3} )/).filter(Boolean).map((reply) => {
    const [head, ...rest] = reply.split('\r\n\r\n')
    return { statusCode: statusOf(reply), head: head!.replace(/\r\nDate: .*/, ''), body: rest.join('\r\n\r\n') }
  })
}

/** Groups repeated names into arrays, as `inject` expects them. */
function grouped (headers: Pairs): NonNullable<InjectOptions['headers']> {
  const values = new Map<string, string[]>()
  for (const [name, value] of headers) values.set(name.toLowerCase(), [...values.get(name.toLowerCase()) ?? [], value])
  return Object.fromEntries([...values].map(([name, all]) => [name, all.length === 1 ? all[0]! : all]))
}

/** Returns an answer in the words of the tables; takes the reason of a 403 from `reasons`. */
function outcomeOf ({ statusCode, head, body }: Reply, reasons: string[]): Outcome {
  if (statusCode >= 200 && statusCode < 300) return /idempotency-replayed/i.test(head) ? REPLAYED : TAKEN
  if (statusCode === 403 && body === FORBIDDEN) return `403 FST_VERIFICATION_FORBIDDEN ${reasons.shift()}`
  const { code, message = '' } = body === '' ? {} : JSON.parse(body)
  return `${statusCode} ${code ?? message.replace(/^Route .* not found$/, 'Not Found')}`.trimEnd()
}

/** Returns true for an attack that changes no signed byte and is accepted. */
const isHarmless = (attack: Attack | WireAttack): boolean =>
  'write' in attack ? attack.outcomes.at(-1) === TAKEN && !attack.outcomes.includes(MISMATCH) : attack.outcome === TAKEN

/** Observed effects of an attack on a server. */
interface Observation {
  readonly outcomes: readonly Outcome[]
  /** Number of runs of the handler. */
  readonly runs: number
  /** Methods of the store that were called. */
  readonly asked: readonly string[]
  readonly logged: readonly string[]
  readonly failures: number
  readonly leaked: boolean
}

/** Returns the observation that these outcomes require. */
function expectation (outcomes: readonly Outcome[]): Observation {
  const taken = outcomes.filter((outcome) => outcome === TAKEN || outcome === LOST).length
  const replayed = outcomes.filter((outcome) => outcome === REPLAYED).length
  const reasons = outcomes.filter((outcome) => outcome.startsWith('403')).map((outcome) => outcome.split(' ')[2]!)
  return {
    outcomes: outcomes.filter((outcome) => outcome !== LOST),
    runs: taken,
    asked: [...Array(taken + replayed).fill('claim'), ...Array(taken).fill('complete')].sort(),
    logged: reasons.map((reason) => `${reason} at ${reason === 'stale' ? 40 : 30}`),
    failures: 0,
    leaked: false
  }
}

/** Creates a server to attack, and functions that send to it and observe it. */
function createServer (
  test: Test, { keyed }: Target, { options, server }: Pick<Theme, 'options' | 'server'> = {}, base?: DeliveryStore
) {
  const { store, asked, verbs } = scriptedStore({}, base)
  const rejected: RejectedDelivery[] = []
  const onRejected = (delivery: RejectedDelivery) => { rejected.push(delivery) }
  const { app, lines, events } =
    createReceiver(test, keyed, undefined, { deliveries: store, onRejected, ...options },
      { ...NO_REQUEST_LOG, ...server })
  app.log.level = 'debug' // Fastify logs whole packets that are not HTTP at level trace
  /** Heads of all 403s on sockets, without their connection headers. */
  const forbidden = new Set<string>()

  const write = async (bytes: string | Buffer) => {
    const end = await within(DEADLINE, exchange(app, [bytes]))
    return end === undefined ? [{ statusCode: 0, head: '', body: '{"code":"left open"}' }] : readReplies(end.text)
  }
  const inject: Send = async (deliveries) => {
    const replies: Reply[] = []
    for (const { method, url, headers, body: payload } of deliveries) {
      const reply = await app.inject({ method: method as 'POST', url, headers: grouped(headers), payload })
      replies.push({ statusCode: reply.statusCode, head: Object.keys(reply.headers).join(), body: reply.body })
    }
    return replies
  }
  const post: Send = async (deliveries) => {
    const last = deliveries.length - 1
    const replies = await write(Buffer.concat(deliveries.map((delivery, at) =>
      requestBytes(delivery, ...at === last ? [CLOSE] : []))))
    for (const { statusCode, head } of replies) if (statusCode === 403) forbidden.add(head.replace(CONNECTION, ''))
    return replies
  }

  async function observe (send: () => Promise<Reply[]>): Promise<Observation> {
    for (const noted of [events, rejected, asked, lines]) noted.length = 0
    const replies = await send()
    const reasons: string[] = rejected.map(({ reason }) => reason)
    return {
      outcomes: replies.map((reply) => outcomeOf(reply, reasons)),
      runs: events.length,
      asked: verbs().sort(),
      logged: lines.filter(({ msg, statusCode }) => msg === 'delivery rejected' && statusCode === 403).map(({ reason, level }) =>
        `${reason} at ${level}`),
      failures: lines.filter(({ level }) => level >= 50).length,
      leaked: /canary/.test(JSON.stringify([lines, replies]))
    }
  }
  return { app, events, forbidden, write, ways: [['inject', inject], ['socket', post]] as const, observe }
}

const rejections = watchRejections()

/** Lists the differences between two observations. */
function differences (seen: Observation, expected: Observation): string[] {
  return (Object.keys(expected) as (keyof Observation)[]).flatMap((key) => {
    const [ones, others] = [listOf(seen[key]), listOf(expected[key])]
    const at = Array.from({ length: Math.max(ones.length, others.length) }, (_, at) => at).find((at) =>
      ones[at] !== others[at])
    return at === undefined ? [] : [`${key}${at > 0 ? ` ${at}` : ''}: ${ones[at]}, not ${others[at]}`]
  })
}

function listOf (value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value]
}

/** Collects the attacks whose observation is not the expected one. */
function createCheck () {
  const wrong: [name: string, ...differences: string[]][] = []
  const check = async (name: string, outcomes: readonly Outcome[], observation: Promise<Observation>) => {
    const different = differences(await observation, expectation(outcomes))
    if (different.length > 0) wrong.push([name, ...different])
  }
  return { wrong, check }
}

t.jobs = TARGETS.length // the tests mostly wait

for (const theme of THEMES) {
  for (const target of TARGETS) {
    const attacks = theme.attacks(target)
    if (attacks.length === 0) continue
    const harmless = attacks.filter(isHarmless).length
    const count = `${attacks.length - harmless} attacks, ${harmless} changes that do no harm`
    const waits = theme.options?.bodyTimeout !== undefined
    t.test(`${target.name}, ${theme.name}: ${count}`, { buffered: waits }, async (t) => {
      const names = attacks.map(({ name }) => name)
      t.strictSame(names.filter((name, index) => names.indexOf(name) < index), [], 'no two have the same name')
      const { forbidden, write, ways, observe } = createServer(t, target, theme)
      const { wrong, check } = createCheck()
      let made = 0
      const make = () => deliveryOf(target, `id-${++made}`)

      for (const attack of attacks) {
        if ('write' in attack) {
          await check(attack.name, attack.outcomes, observe(() => write(attack.write(make()))))
          continue
        }
        for (const [way, send] of ways) {
          const delivery = make()
          const changes = [attack.change(delivery)].flat()
          if (changes.length === 0) wrong.push([attack.name, 'nothing was sent'])
          await check(`${attack.name}, by ${way}`, changes.map(() => attack.outcome),
            observe(() => send(changes.map((change) => ({ ...delivery, ...change })))))
        }
      }
      for (const [way, send] of ways) {
        await check(`what they are made from, untouched, by ${way}`, [TAKEN], observe(() => send([make()])))
      }
      t.strictSame(wrong.slice(0, 20), [], 'each is answered and reported as expected')
      t.ok(forbidden.size <= 1, 'all 403 answers have the same headers')
    })
  }
}

for (const target of TARGETS) {
  t.test(`${target.name}: an unfinished body with a length beyond Node's limit of headers leaves no socket open`,
    { buffered: true }, async (t) => {
      const { wrong, check } = createCheck()
      // Node reads headers 31 at a time: at a limit of 310 its list has the same length with and without dropped ones.
      await Promise.all([310, 64, 0].map(async (limit) => {
        const { app, write, observe } = createServer(t, target, { options: { bodyTimeout: 200 } })
        app.server.maxHeadersCount = limit
        for (const count of [(limit || 1100) - 1, (limit || 1100) + 60]) {
          const sent: [where: string, change: (delivery: Delivery, more: Pairs) => Change, outcome: Outcome][] = [
            ['before the type of the body', (delivery, more) => addFirst(delivery, ...more),
              limit > 0 ? beyondLimit(NO_BODY) : BODY_TIMEOUT],
            ['behind it', (delivery, more) => add(delivery, ...more),
              limit > 0 ? beyondLimit(BODY_TIMEOUT) : BODY_TIMEOUT]
          ]
          for (const [where, change, outcome] of sent) {
            const delivery = deliveryOf(target, `${where} ${count}`)
            const request = requestBytes({ ...delivery, ...change(delivery, fill(count)) }, ['content-length', '500'])
            await check(`of ${limit} headers at most, ${count} ${where}`, [outcome], observe(() => write(request)))
          }
        }
      }))
      t.strictSame(wrong, [])
    })
}

for (const target of TARGETS) {
  t.test(`${target.name}: the handler sees the signed event, however it is written`, async (t) => {
    const { events, ways, observe } = createServer(t, target)
    const seen: [id: string, outcomes: readonly Outcome[], ...events: unknown[]][] = []
    const expected: typeof seen = []
    for (const [way, send] of ways) {
      for (const [name, form, more] of WORDS) {
        const id = `${way} ${name}`
        const delivery = deliveryOf(target, id)
        const change = sign(delivery, form(String(delivery.body)))
        const { outcomes } = await observe(() => send([{ ...delivery, ...change }]))
        seen.push([id, outcomes, ...events])
        expected.push([id, [TAKEN], { ...target.keyed.event(id), ...more }])
      }
    }
    t.strictSame(seen, expected)
  })
}

for (const { name, kinds, stamp, ttl, steps } of REPLAYS) {
  for (const target of kinds.map(targetOf)) {
    t.test(`${target.keyed.name}: sent again ${name}`, async (t) => {
      const { wrong, check } = createCheck()
      for (const way of [0, 1] as const) {
        const clocks = { wall: 0, passed: 0 }
        const store = memoryDeliveries({ ttl, now: () => clocks.passed * 1000 })
        const now = () => (NOW + clocks.wall) * 1000
        const { ways, observe } = createServer(t, target, { options: { now } }, store)
        const [by, send] = ways[way]
        const delivery = deliveryOf(target, 'id')
        const stamped = { ...delivery, ...sign(delivery, delivery.body, String(NOW + stamp)) }
        for (const [wall, passed, outcome] of steps) {
          Object.assign(clocks, { wall, passed })
          await check(`${wall} s, by ${by}`, [outcome], observe(() => send([stamped])))
        }
      }
      t.strictSame(wrong, [])
    })
  }
}

t.test('no promise was rejected without being handled', async (t) => {
  t.strictSame(rejections, [])
})
