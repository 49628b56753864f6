import { createHmac, createSecretKey } from 'node:crypto'
import { verify as verifyOctokit } from '@octokit/webhooks-methods'
import { Webhook } from 'standardwebhooks'
import Stripe from 'stripe'
import {
  signAghanim, signAltdentifier, signIdentityValidation, verifyAghanim, verifyAltdentifier, verifyIdentityValidation
} from '../plugins/index.js'
import { API_KEY, API_SECRET, SECRET, SESSIONS } from '../test/support/deliveries.js'
import { bodyOf, STANDARD_SECRET } from './deliveries.js'
import { median, spread, tableOf } from './statistics.js'

// Cost of verifying bytes in memory, without a server, compared with the HMAC alone and with other packages:
// `npm run bench:verify -- [rounds = 60]`. All run in one process, in turns; CPU time of all its threads.

const ROUNDS = Number(process.argv[2] ?? 60)
if (!(Number.isSafeInteger(ROUNDS) && ROUNDS > 0)) {
  console.error('usage: npm run bench:verify -- [rounds = 60]')
  process.exit(2)
}
const SIZES = [330, 4096, 61_440]
const DELIVERIES = 64
/** Bytes that are verified between two readings of the clock. */
const BLOCK = 2_000_000

type Verify = (index: number) => unknown
interface Subject {
  readonly name: string
  /** Name of the HMAC that it includes. */
  readonly raw: string
  readonly verify: Verify
}

const webhook = new Webhook(STANDARD_SECRET)
const standardTime = new Date()
const seconds = String(Math.floor(standardTime.getTime() / 1000))
const sha256Key = createSecretKey(Buffer.from(SECRET))

/** Returns the verifiers and enough signed deliveries that none meets the same one twice in a row. */
function subjectsOf (bytes: number): Subject[] {
  const texts = Array.from({ length: DELIVERIES }, (_, index) => bodyOf('aghanim', `whevt_${index}`, true, bytes))
  const bodies = texts.map((text) => Buffer.from(text))
  const aghanim = bodies.map((body) => signAghanim({ secret: SECRET, body, timestamp: seconds }))
  const altdentifier = bodies.map((body) => signAltdentifier({ secret: SECRET, body }))
  const identity = bodies.map((body) =>
    signIdentityValidation({ apiKey: API_KEY, secret: API_SECRET, endpoint: SESSIONS, body, timestamp: seconds }))
  const octokit = bodies.map((body) => `sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}`)
  const standard = texts.map((text, index) => ({
    'webhook-id': String(index),
    'webhook-timestamp': seconds,
    'webhook-signature': webhook.sign(String(index), standardTime, text)
  }))
  const stripe = texts.map((payload) =>
    Stripe.webhooks.generateTestHeaderString({ payload, secret: SECRET, timestamp: Number(seconds) }))
  const apiKeys = { [API_KEY]: API_SECRET }
  const raw = (name: string, algorithm: string, prefix: string): Subject => ({
    name,
    raw: name,
    verify: (index) => createHmac(algorithm, sha256Key).update(prefix, 'latin1').update(bodies[index]!).digest()
  })
  return [
    raw('createHmac, SHA-256', 'sha256', `${seconds}.`),
    raw('createHmac, MD5', 'md5', ''),
    {
      name: 'verifyAghanim',
      raw: 'createHmac, SHA-256',
      verify: (index) => verifyAghanim({ secret: SECRET, headers: aghanim[index]!, body: bodies[index]! }).ok
    },
    {
      name: 'verifyIdentityValidation',
      raw: 'createHmac, SHA-256',
      verify: (index) => verifyIdentityValidation({
        apiKeys, endpoint: SESSIONS, headers: identity[index]!, body: bodies[index]!
      }).ok
    },
    {
      name: 'verifyAltdentifier',
      raw: 'createHmac, MD5',
      verify: (index) => verifyAltdentifier({ secret: SECRET, headers: altdentifier[index]!, body: bodies[index]! }).ok
    },
    {
      name: 'stripe',
      raw: 'createHmac, SHA-256',
      verify: (index) => Stripe.webhooks.signature!.verifyHeader(bodies[index]!, stripe[index]!, SECRET)
    },
    {
      name: 'standardwebhooks',
      raw: 'createHmac, SHA-256',
      verify: (index) => webhook.verify(bodies[index]!, standard[index]!, { jsonParse: false }) === undefined
    },
    {
      name: '@octokit/webhooks-methods',
      raw: 'createHmac, SHA-256',
      verify: (index) => verifyOctokit(SECRET, bodies[index]!.toString(), octokit[index]!)
    }
  ]
}

/** Returns the microseconds of CPU time per call. */
async function block ({ verify }: Subject, calls: number): Promise<number> {
  const before = process.cpuUsage()
  for (let call = 0; call < calls; call++) {
    const outcome = verify(call % DELIVERIES)
    if ((outcome instanceof Promise ? await outcome : outcome) === false) throw new Error('an honest delivery is refused')
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / calls
}

const rows: string[][] = []
for (const bytes of SIZES) {
  const subjects = subjectsOf(bytes)
  const calls = Math.max(20, Math.floor(BLOCK / (bytes + 600)))
  const costs = new Map(subjects.map(({ name }): [string, number[]] => [name, []]))
  for (let round = -5; round < ROUNDS; round++) { // the negative ones warm up until the code is compiled
    for (const subject of subjects) {
      const cost = await block(subject, calls)
      if (round >= 0) costs.get(subject.name)!.push(cost)
    }
  }
  for (const { name, raw } of subjects) {
    const mine = costs.get(name)!
    const ratios = mine.map((cost, round) => cost / costs.get(raw)![round]!)
    rows.push([name, `${bytes} B`, spread(mine, 2), name === raw ? '1' : spread(ratios, 2)])
  }
  console.error(`${bytes} B: ${median(costs.get('verifyAghanim')!).toFixed(2)} µs`)
}
console.log(tableOf(['verifies', 'body', 'CPU, µs', 'times its HMAC alone'], rows))
