import { createSecretKey } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { describeScheme } from '../plugins/lib/doctor/describe.js'
import { diagnose } from '../plugins/lib/doctor/diagnose.js'
import { NO_KNOWN_MISTAKE, say } from '../plugins/lib/doctor/mistakes.js'
import { parseUnixSeconds, type VerifyResult } from '../plugins/lib/signature/fields.js'
import { endpointRule, type CompiledScheme } from '../plugins/lib/signature/scheme.js'
import { createVerifier, type SchemeVerifyInput } from '../plugins/lib/signature/standalone.js'
import { secretBytes } from '../plugins/lib/signature/secrets.js'
import { oneOf, readArguments } from './arguments.js'
import { readBytes, readCurl, readMessage, type Captured } from './captured.js'
import { harmless, jsonLine } from './harmless.js'
import { UsageError, type Command, type Env } from './io.js'
import { checkProviderOptions, loadProvider, PROVIDERS, type Provider } from './providers.js'

const NAMES = Object.values(PROVIDERS).filter(({ scheme }) => scheme !== undefined).map(({ name }) => name)

export const DOCTOR_HELP = `usage: fastify-verification doctor <provider> [options]
       fastify-verification doctor --provider <file> [options]

Explains why the signature of a captured request does not match, by trying common mistakes of senders. Prints no secrets
and no signatures. Exit status: 0 if the signature is valid, 1 if it is not, 2 for invalid usage.
Providers: ${NAMES.join(', ')}.

  --provider <file>   module that exports a provider of your own, made with createProvider from a scheme; if it exports
                      several, add "#" and the name of one. Needs --secret or <NAME>_SECRET
  --curl <file|->     output of "curl -v", or - for standard input: the lines with "> ". The body is read from the
                      command, if the output includes it in single quotes
  --headers <file|->  the headers as lines or as a JSON object, or a whole HTTP message with its body
  --body <file|->     the body, byte for byte
  --secret <text>     the secret of the receiver. Visible in the process list and the shell history: prefer
                      ALTDENTIFIER_SECRET, AGHANIM_SECRET or IDENTITY_API_SECRET. Default: the demo secret of the
                      example server
  --api-key <text>    identity validation: the api-key of the secret; default: IDENTITY_API_KEY, or that of the request
  --endpoint <path>   identity validation: the public path and query; default: those of the request
  --json              print one JSON object
  -h, --help          show this help
`

const OPTIONS = {
  provider: { type: 'string' },
  curl: { type: 'string' },
  headers: { type: 'string' },
  body: { type: 'string' },
  secret: { type: 'string' },
  'api-key': { type: 'string' },
  endpoint: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false }
} as const
type Values = { readonly [Name in keyof typeof OPTIONS]?: string | boolean | undefined }

/** The receiver's configuration, with which a captured request is compared. */
interface Ours { readonly secret: string, readonly apiKey: string | undefined, readonly endpoint: string | undefined }
const NOT_SEARCHABLE = 'mistakes are searched only in signatures of a timestamp, an endpoint and the body, outside a list'

interface Findings {
  readonly valid: boolean
  readonly reason?: string
  /** The mistake that would explain an invalid signature. */
  readonly diagnosis?: string
  /** Other irregularities, which do not affect the result. */
  readonly notes: readonly string[]
}

/** Explains why a captured request is not authentic. */
export const doctor: Command = async (argv, { stdout, env }) => {
  const { values, positionals } = readArguments(argv, OPTIONS)
  if (values.help) {
    stdout.write(DOCTOR_HELP)
    return 0
  }
  const provider = await findProvider(values.provider, positionals)
  const captured = readCaptured(values)
  const { from, ...ours } = readOurs(provider, values, env, captured)
  const findings = examine(provider, captured, ours, from)
  const report = values.json
    ? jsonLine({ provider: provider.name, secret: from, ...findings })
    : harmless(inWords(findings, from))
  stdout.write(`${report}\n`)
  return findings.valid ? 0 : 1
}

type Examined = Provider & { readonly scheme: CompiledScheme }

async function findProvider (file: string | undefined, [name, ...others]: readonly string[]): Promise<Examined> {
  if (file === undefined ? name === undefined || others.length > 0 : name !== undefined) {
    throw new UsageError('expected exactly one provider')
  }
  if (file !== undefined) return await loadProvider(file) as Examined
  if (name!.startsWith('humandetect')) throw new UsageError('HumanDetect has no signatures: its service verifies tokens')
  return PROVIDERS[oneOf('provider', NAMES, name!)] as Examined
}

function inWords ({ valid, reason, diagnosis, notes }: Findings, from: string): string {
  const lines = valid
    ? [`The signature is valid, checked with ${from}.`]
    : [`The delivery is not authentic (${reason}), checked with ${from}.`, `Likely cause: ${diagnosis}.`]
  return [...lines, ...notes.map((note) => `Note: ${note}.`)].join('\n')
}

function readCaptured ({ curl, headers, body }: Values): Captured & { readonly body: Buffer } {
  if ((curl === undefined) === (headers === undefined)) throw new UsageError('expected either --curl or --headers')
  const captured = typeof curl === 'string'
    ? readCurl(readBytes('curl', curl).toString())
    : readMessage(readBytes('headers', headers as string))
  const bytes = typeof body === 'string' ? readBytes('body', body) : captured.body
  if (bytes === undefined) throw new UsageError('the capture has no body: --body is required')
  return { ...captured, body: bytes }
}

function readOurs (
  provider: Examined, { secret, endpoint, 'api-key': apiKey }: Values, env: Env, { headers, target }: Captured
): Ours & { readonly from: string } {
  const { secretName, apiKeyName, demoSecret, options, scheme } = provider
  const own = env[secretName] || demoSecret
  const [given, from] = typeof secret === 'string'
    ? [secret, '--secret']
    : [own, env[secretName] ? secretName : 'the demo secret']
  if (given === undefined) throw new UsageError(`--secret or ${secretName} is required`)
  checkProviderOptions(provider, { endpoint, 'api-key': apiKey })
  const keyIdHeader = scheme.headerOf.get('keyId')
  const ours = {
    secret: given,
    from,
    apiKey: keyIdHeader === undefined
      ? undefined
      : (apiKey as string | undefined) ?? (env[apiKeyName] || headers[keyIdHeader])
  }
  if (!options.includes('endpoint')) return { ...ours, endpoint: undefined }
  const path = (endpoint as string | undefined) ?? target
  if (path === undefined || !endpointRule(scheme).accepts(path)) {
    throw new UsageError('--endpoint is required: the public path and query')
  }
  return { ...ours, endpoint: path }
}

function examine (
  { name, scheme: compiled }: Examined, { headers, body, target }: Captured & { readonly body: Buffer }, ours: Ours,
  from: string
): Findings {
  const { secret, apiKey, endpoint } = ours
  const time = parseUnixSeconds(headers[compiled.headerOf.get('timestamp') ?? ''] ?? '')
  const notes = [...lengthNotes(headers, body), ...(time === undefined ? [] : ageNotes(time))]
  const now = () => time! * 1000 // the time of sending, since the capture may be old; not called without one
  const verify = createVerifier(name, compiled)
  const result = judge(() => verify({ headers, body, now, endpoint, ...secretsOf(compiled, ours) }), from)
  if (result.ok) return { valid: true, notes }

  const scheme = describeScheme(compiled)
  if (scheme === undefined) return { valid: false, reason: result.reason, diagnosis: NOT_SEARCHABLE, notes }
  const key = createSecretKey(secretBytes(secret, { plugin: '', option: '', encoding: compiled.key }))
  const foreign = apiKey !== undefined && headers[scheme.keyId!] !== undefined && headers[scheme.keyId!] !== apiKey
  const diagnosis = diagnose(scheme, {
    headers: headers as IncomingHttpHeaders,
    body,
    url: target,
    endpoint,
    keys: foreign ? [] : [key],
    keyIds: foreign ? [apiKey] : [],
    others: foreign ? [{ key, mistake: say('otherApiKey', apiKey) }] : []
  })
  return { valid: false, reason: result.reason, diagnosis: diagnosis ?? NO_KNOWN_MISTAKE, notes }
}

function secretsOf ({ parts }: CompiledScheme, { secret, apiKey = '' }: Ours): Partial<SchemeVerifyInput> {
  return parts.has('keyId') ? { secrets: { [apiKey]: secret } } : { secret }
}

/** Verifies, and turns the error of an invalid secret into a `UsageError`. Its message never contains the secret. */
function judge (verify: () => VerifyResult, from: string): VerifyResult {
  try {
    return verify()
  } catch (error) {
    throw new UsageError((error as Error).message.replace(/^.*?option "\w+"/, `the secret (${from})`))
  }
}

function lengthNotes ({ 'content-length': length }: Captured['headers'], body: Buffer): string[] {
  if (length === undefined || Number(length) === body.length) return []
  return [`Content-Length is ${JSON.stringify(length)}, but the given body has ${body.length} bytes`]
}

function ageNotes (time: number): string[] {
  const age = Math.floor(Date.now() / 1000) - time
  if (age > 300) return [`the timestamp is now ${age} seconds old; the default tolerance of a server is 300`]
  return age < -60 ? [`the timestamp is ${-age} seconds in the future; the default tolerance of a server is 60`] : []
}
