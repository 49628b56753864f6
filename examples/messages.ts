import type {
  AghanimEvent, AltDentifierEvent, Player, PlayerVerifyEvent, SessionNotification
} from '../plugins/index.js'
import type { KnownDelivery } from '../plugins/queue.js'

// One-line descriptions of deliveries, for the logs of the example server and of the worker.

const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/**
 * Formats one line. Replaces control and format characters: names are chosen by their owners, so on a terminal they
 * must not start a new line or contain control sequences.
 */
function line (texts: TemplateStringsArray, ...values: unknown[]): string {
  return String.raw({ raw: texts }, ...values.map((value) => String(value).replace(UNSEEN, '\uFFFD')))
}

export function tellMember (event: AltDentifierEvent): string {
  if (event.OP === 5) return 'AltDentifier: test event'
  const who = `${event.member.username ?? event.member.name ?? 'member'} (${event.member.id})`
  switch (event.OP) {
    case 0: return line`AltDentifier: ${who} started verification`
    case 1: return line`AltDentifier: ${who} passed verification by ${event.method}`
    case 2: return line`AltDentifier: ${who} failed verification by ${event.method}: ${event.reason}`
    case 3: return line`AltDentifier: ${who} ignored verification, action ${event.action}`
    case 4: return line`AltDentifier: ${who} verified with another account`
  }
}

export function tellPlayer ({ trigger, event_data: asked }: PlayerVerifyEvent, player: Player | null): string {
  return line`Aghanim: player ${asked.player_id} requested by ${trigger ?? 'an unknown trigger'}: ${player?.name ?? 'denied'}`
}
export const tellItem = (event: AghanimEvent): string => line`Aghanim: ${event.event_type} ${event.event_id}`
export const tellSession = ({ session }: SessionNotification): string =>
  line`Identity validation: session ${session?.id} is ${session?.status}`
export const FILES_REQUIRED = 'Identity validation: files are required'

export function tellDelivery (delivery: KnownDelivery): string {
  switch (delivery.provider) {
    case 'altdentifier': return tellMember(delivery.event)
    case 'aghanim': return tellItem(delivery.event)
    default: return delivery.kind === 'sessions' ? tellSession(delivery.event) : FILES_REQUIRED
  }
}
