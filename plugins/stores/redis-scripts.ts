import { createHash } from 'node:crypto'

/** A Lua script that Redis runs atomically. */
export interface Script { readonly text: string, readonly sha1: string }

function script (text: string): Script {
  return { text, sha1: createHash('sha1').update(text).digest('hex') }
}

// A value consists of the claim's token, the fingerprint and, once the delivery is completed, the reply. They are JSON
// strings, which contain no line feed, separated by line feeds. A value is always written together with its expiry. A
// client may resend a script on a new connection, so each script has the same effect when it is repeated.
const READ = `
  local value = redis.call('GET', KEYS[1])
  local token, fingerprint, reply
  if value then
    token, fingerprint, reply = string.match(value, '^([^\\n]+)\\n([^\\n]+)\\n([^\\n]*)$')
    if not token then return redis.error_reply('NODELIVERY the key holds something else') end
  end`

/**
 * Claims a delivery. Arguments: token, fingerprint, lease in milliseconds. Returns `claimed`, `running`, `conflict`, or
 * `done` and the reply.
 */
export const CLAIM = script(`${READ}
  if not value or (token == ARGV[1] and reply == '') then
    redis.call('SET', KEYS[1], ARGV[1] .. '\\n' .. ARGV[2] .. '\\n', 'PX', ARGV[3])
    return {'claimed'}
  end
  if fingerprint ~= ARGV[2] then return {'conflict'} end
  if reply == '' then return {'running'} end
  return {'done', reply}`)

/**
 * Completes a claim. Arguments: token, reply, retention in milliseconds. Returns 1, or 0 if the token does not hold the
 * claim.
 */
export const COMPLETE = script(`${READ}
  if token ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], token .. '\\n' .. fingerprint .. '\\n' .. ARGV[2], 'PX', ARGV[3])
  return 1`)

/** Releases a claim. Argument: token. Returns 1, or 0 if the token does not hold the claim or it is completed. */
export const RELEASE = script(`${READ}
  if token ~= ARGV[1] or reply ~= '' then return 0 end
  return redis.call('DEL', KEYS[1])`)
