import { createHash } from 'node:crypto'

/** What Redis carries out as one step. */
export interface Script { readonly text: string, readonly sha1: string }

function script (text: string): Script {
  return { text, sha1: createHash('sha1').update(text).digest('hex') }
}

// A value is the claim's token, the fingerprint and, once it is done, the reply: JSON texts, which hold no line feed.
// It is written together with its expiry. A verb that a client sends again, on a new connection, does the same again.
const READ = `
  local value = redis.call('GET', KEYS[1])
  local token, fingerprint, reply
  if value then
    token, fingerprint, reply = string.match(value, '^([^\\n]+)\\n([^\\n]+)\\n([^\\n]*)$')
    if not token then return redis.error_reply('NODELIVERY the key holds something else') end
  end`

/** Token, fingerprint and lease (ms): `claimed`, `running`, `conflict`, or `done` and the reply. */
export const CLAIM = script(`${READ}
  if not value or (token == ARGV[1] and reply == '') then
    redis.call('SET', KEYS[1], ARGV[1] .. '\\n' .. ARGV[2] .. '\\n', 'PX', ARGV[3])
    return {'claimed'}
  end
  if fingerprint ~= ARGV[2] then return {'conflict'} end
  if reply == '' then return {'running'} end
  return {'done', reply}`)

/** Token, reply and how long to keep it (ms): 1, or 0 where the claim is not the token's. */
export const COMPLETE = script(`${READ}
  if token ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], token .. '\\n' .. fingerprint .. '\\n' .. ARGV[2], 'PX', ARGV[3])
  return 1`)

/** Token: 1, or 0 where the claim is not the token's, or done. */
export const RELEASE = script(`${READ}
  if token ~= ARGV[1] or reply ~= '' then return 0 end
  return redis.call('DEL', KEYS[1])`)
