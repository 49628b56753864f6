import { randomBytes } from 'node:crypto'
import t from 'tap'
import * as plugins from '../../plugins/index.js'
import type { ListTemplate } from '../../plugins/provider.js'
import { createSigner, createVerifier, type SignedInput } from '../../plugins/lib/signature/standalone.js'
import type { ProviderInfo } from '../../plugins/lib/webhook.js'
import { TARGETS } from '../support/attacks/attack.js'
import { githubPlugin, keyedPlugin } from '../support/own-providers/several.js'
import { standardWebhooksPlugin } from '../support/own-providers/standard-webhooks.js'
import { stripePlugin } from '../support/own-providers/stripe.js'
import { quiet } from '../support/quiet.js'

// Attacks that are made from the scheme of a provider: of each that the package exports, found in its exports, and of
// each of the tests' own.

const NOW = 1_790_000_000
const ENDPOINT = '/in?a=1'

const infoOf = (value: unknown): ProviderInfo | undefined => (Object(value) as { definition?: ProviderInfo }).definition
const exported = Object.values(plugins).flatMap((value) => infoOf(value) ?? [])
const own = [githubPlugin, keyedPlugin, standardWebhooksPlugin, stripePlugin].flatMap((plugin) => infoOf(plugin) ?? [])

t.test('each exported provider with a scheme is a target of the attacks on servers', async (t) => {
  const attacked = TARGETS.map(({ keyed }) => keyed.provider.name)
  t.strictSame(exported.map(({ name }) => name).filter((name) => !attacked.includes(name)), [])
  t.ok(exported.length >= 3)
})

/** Returns a secret in the form that the scheme expects. */
function secretFor (key: unknown): string {
  const bytes = randomBytes(32).toString('base64')
  return typeof key === 'function' ? `whsec_${bytes}` : bytes
}

/** Strings that differ from a header's value in one way. */
function changesOf (value: string): string[] {
  const other = (at: number): string =>
    value.slice(0, at) + (value[at] === '0' ? '1' : '0') + value.slice(at + 1)
  const positions = Array.from(value, (_, at) => at).filter((at) => value[at] !== other(at)[at])
  return [
    ...positions.map(other), ...positions.map((at) => value.slice(0, at) + value.slice(at + 1)),
    ` ${value}`, `${value} `, `${value}\0`, `${value}, ${value}`, `"${value}"`, value.split('').reverse().join('')
  ].filter((changed) => changed !== value)
}

for (const { name, scheme } of [...exported, ...own]) {
  t.test(`${name}: nothing but what was signed is accepted`, quiet(async (t) => {
    const { parts, key } = scheme!
    const [secret, another] = [secretFor(key), secretFor(key)]
    const body = Buffer.from('{"id":"1","data":"ä"}')
    const values: SignedInput = { secret, body, timestamp: NOW, id: 'msg_1', keyId: 'k1', endpoint: ENDPOINT }
    const { 'content-type': _type, ...headers } = createSigner(name, scheme!)(values)
    const verify = createVerifier(name, scheme!)
    const ring = { k1: secret, k2: another }
    const given = {
      headers, body, endpoint: ENDPOINT, now: () => NOW * 1000, ...(parts.has('keyId') ? { secrets: ring } : { secret })
    }
    const elementsOf = (header: string, value: string): string[] => {
      const { separator } = scheme!.source.headers[header] as ListTemplate
      return value.split(separator).map((element) => element.trim())
    }
    const refused = (change: object, reason: RegExp | string, what: string): void => {
      t.match(verify({ ...given, ...change }), { ok: false, reason }, `${what}: ${JSON.stringify(change)}`)
    }
    t.match(verify(given), { ok: true, secretIndex: 0 })

    for (const [header, value] of Object.entries(headers)) {
      refused({ headers: { ...headers, [header]: undefined } }, 'missing_header', 'without a header')
      refused({ headers: { ...headers, [header]: '' } }, 'missing_header', 'an empty header')
      refused({ headers: { ...headers, [header]: [value, value] } }, 'duplicate_header', 'a header twice')
      for (const changed of changesOf(value)) {
        const { ok } = verify({ ...given, headers: { ...headers, [header]: changed } })
        // A list may hold unknown elements, as long as all that was sent is in it.
        const isSame = scheme!.lists.includes(header) &&
          elementsOf(header, value).every((element) => elementsOf(header, changed).includes(element))
        t.ok(!ok || isSame, `${header}: ${JSON.stringify(changed)}`)
      }
    }
    for (let at = 0; at < body.length; at++) {
      for (const bit of [1, 128]) {
        const changed = Buffer.from(body)
        changed[at]! ^= bit
        refused({ body: changed }, 'mismatch', 'another body')
      }
      refused({ body: body.subarray(0, at) }, 'mismatch', 'a part of the body')
    }
    refused({ body: Buffer.concat([body, Buffer.from('\n')]) }, 'mismatch', 'a line break')
    refused(parts.has('keyId') ? { secrets: { k1: another } } : { secret: another }, 'mismatch', 'another secret')
    if (parts.has('keyId')) refused({ secrets: { k2: secret } }, 'unknown_key', 'another key')
    if (parts.has('endpoint')) refused({ endpoint: '/in' }, 'wrong_endpoint', 'another endpoint')
    if (parts.has('timestamp')) {
      refused({ now: () => (NOW + 301) * 1000 }, 'stale', 'too late')
      refused({ now: () => (NOW - 61) * 1000 }, 'future', 'too early')
    }
  }))
}
