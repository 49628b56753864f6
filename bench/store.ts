import { hash } from 'node:crypto'
import type { DeliveryStore, StoredReply } from '../plugins/index.js'
import { PLAYER } from '../test/support/deliveries.js'

const REPLY: StoredReply = { statusCode: 200, body: JSON.stringify(PLAYER) }
// Keys and contents of the same length as the plugins' own.
const keyOf = (index: number): string => hash('sha256', `key ${index}`, 'base64url')
const contentOf = (index: number): string => hash('sha256', `content ${index}`, 'base64url')

/** Fills a store with this many completed deliveries. */
export async function fill (store: DeliveryStore, entries: number): Promise<void> {
  for (let index = 0; index < entries; index++) await put(store, index)
}

async function put (store: DeliveryStore, index: number, reply: StoredReply = REPLY): Promise<void> {
  const claim = await store.claim(keyOf(index), contentOf(index), 60_000)
  if (claim.state === 'claimed') await store.complete(keyOf(index), claim.token, reply, 361_000)
}

/** Fills a store with many calls at a time, for a store on the network. */
export async function fillMany (store: DeliveryStore, entries: number, reply: StoredReply = REPLY): Promise<void> {
  const lanes = 100
  await Promise.all(Array.from({ length: lanes }, async (_, lane) => {
    for (let index = lane; index < entries; index += lanes) await put(store, index, reply)
  }))
}

/** Tells if the store still knows the first and the last delivery. */
export async function remembers (store: DeliveryStore, entries: number): Promise<boolean> {
  const claims = [0, entries - 1].map((index) => store.claim(keyOf(index), contentOf(index), 1))
  return (await Promise.all(claims)).every(({ state }) => state === 'done')
}
