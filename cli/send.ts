import { connect } from './connection.js'
import type { Command } from './io.js'
import { readOrder } from './order.js'
import { AT_A_TIME, repeat } from './repeat.js'
import { fullReport, jsonReport, shortReport } from './report.js'
import { createTally } from './tally.js'
import { changeOf } from './variants.js'
import { expectationOf, isExpected } from './verdict.js'

export const SEND_HELP = `usage: fastify-verification send <provider> [options]

Signs a delivery as the provider would and sends it. The exit status is 0 if the answer was the expected one, 1 if it
was not or there was none, 2 if the command makes no sense. "fastify-verification list" shows providers, events and
variants.

  --url <url>         where to; default: the example server's route on http://127.0.0.1:3000
  --event <name>      which event; default: the provider's first
  --variant <name>    valid (the default), tampered, expired, future, duplicate, wrong-key, wrong-endpoint, truncated
  --body <text|@file> sent in place of the event's sample, byte for byte
  --secret <text>     the provider's secret. Others can see it in the list of processes and the shell keeps it: better
                      set ALTDENTIFIER_SECRET, AGHANIM_SECRET, IDENTITY_API_SECRET or HUMANDETECT_TOKEN_SECRET.
                      Default: the example server's demo secret
  --api-key <text>    identity validation: whose secret it is; default: IDENTITY_API_KEY, or the demo's
  --endpoint <path>   identity validation: the public path and query; default: those of the url
  --identifier <text> HumanDetect: whom the token is about
  --times <n>         so many, each signed anew, ${AT_A_TIME} at a time, with a summary in place of requests and answers
  --rate <n>          at most so many a second
  --json              one JSON object a line: each delivery, then the summary
  -h, --help          this
`

export const send: Command = async (argv, io) => {
  const order = readOrder(argv, io.env)
  if (order === undefined) {
    io.stdout.write(SEND_HELP)
    return 0
  }
  const { times, json, url, variant, make } = order
  const report = (json ? jsonReport : times > 1 ? shortReport : fullReport)(order, io)
  const connection = connect(url, Math.min(times, AT_A_TIME), io.signal)
  const tally = createTally()
  const attempts = changeOf(variant).twice ? [1, 2] as const : [1] as const

  await repeat({ ...order, signal: io.signal }, async (number) => {
    const delivery = make()
    for (const attempt of attempts) {
      const outcome = await connection.send(delivery)
      if (outcome === undefined) return
      const expectation = expectationOf(order, attempt)
      const result = { number, attempt, delivery, outcome, expectation, expected: isExpected(expectation, outcome) }
      tally.count(result)
      report.sent(result)
      if ('failure' in outcome) return
    }
  })
  await connection.close()
  const summary = tally.summary()
  report.end(summary)
  return summary.sent > 0 && summary.unexpected === 0 ? 0 : 1
}
