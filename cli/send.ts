import { connect } from './connection.js'
import type { Command } from './io.js'
import { readOrder, readSendArguments } from './order.js'
import { loadProvider } from './providers.js'
import { AT_A_TIME, repeat } from './repeat.js'
import { fullReport, jsonReport, shortReport } from './report.js'
import { createTally } from './tally.js'
import { changeOf } from './variants.js'
import { expectationOf, isExpected } from './verdict.js'

export const SEND_HELP = `usage: fastify-verification send <provider> [options]
       fastify-verification send --provider <file> [options]

Signs a delivery as the provider would and sends it. Exit status: 0 if every response was as expected, 1 if one was not
or was missing, 2 for invalid usage. "fastify-verification list" shows the providers, events and variants.

  --provider <file>   module that exports a provider of your own, made with createProvider from a scheme; if it exports
                      several, add "#" and the name of one. Needs --body, and --secret or <NAME>_SECRET
  --url <url>         destination; default: the route of the example server on http://127.0.0.1:3000
  --event <name>      event to send; default: the first of the provider
  --variant <name>    valid (the default), tampered, expired, future, duplicate, wrong-key, wrong-endpoint, truncated
  --body <text|@file> body to send instead of the sample of the event, byte for byte
  --secret <text>     the secret of the provider. Visible in the process list and the shell history: prefer
                      ALTDENTIFIER_SECRET, AGHANIM_SECRET, IDENTITY_API_SECRET or HUMANDETECT_TOKEN_SECRET.
                      Default: the demo secret of the example server
  --api-key <text>    api-key or id of the secret, for providers with ids; default: IDENTITY_API_KEY or
                      HUMANDETECT_API_KEY, or the demo api-key
  --endpoint <path>   identity validation: the public path and query; default: those of the URL
  --identifier <text> HumanDetect: the identifier in the token
  --times <n>         number of deliveries, each signed separately and sent ${AT_A_TIME} at a time; prints a summary
  --rate <n>          maximum number of deliveries per second
  --json              print one JSON object per line: each delivery, then the summary
  -h, --help          show this help
`

export const send: Command = async (argv, io) => {
  const given = readSendArguments(argv)
  const { help, provider } = given.values
  if (help) {
    io.stdout.write(SEND_HELP)
    return 0
  }
  const order = readOrder(given, io.env, provider === undefined ? undefined : await loadProvider(provider))
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
      const expected = isExpected(order, expectation, outcome)
      const result = { number, attempt, delivery, outcome, expectation, expected }
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
