import { readArguments } from './arguments.js'
import { paintFor, UsageError, type Command } from './io.js'
import { PROVIDERS, variantsOf } from './providers.js'
import { changeOf } from './variants.js'

const LIST_HELP = `usage: fastify-verification list [--json]

Lists the providers that "send" supports, their events (the first is the default) and their variants.
`

function entries () {
  return Object.values(PROVIDERS).map((provider) => ({
    provider: provider.name,
    secret: provider.secretName,
    events: Object.entries(provider.events).map(([name, { about }]) => ({ name, about, path: provider.path(name) })),
    variants: variantsOf(provider).map((name) => ({ name, about: changeOf(name).about }))
  }))
}

const rows = (items: readonly { name: string, about: string }[]): string[] =>
  items.map(({ name, about }) => `    ${name.padEnd(16)}${about}`)

export const list: Command = async (argv, { stdout, env }) => {
  const { values, positionals } = readArguments(argv, {
    json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' }
  })
  if (positionals.length > 0) throw new UsageError('expected no arguments')
  const paint = paintFor(stdout, env)
  if (values.help) {
    stdout.write(LIST_HELP)
  } else if (values.json) {
    stdout.write(`${JSON.stringify(entries(), undefined, 2)}\n`)
  } else {
    stdout.write(`${entries().map(({ provider, secret, events, variants }) => [
      `${paint('bold', provider)} (secret: ${secret})`, '  events', ...rows(events), '  variants', ...rows(variants)
    ].join('\n')).join('\n\n')}\n`)
  }
  return 0
}
