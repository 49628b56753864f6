import { InvalidOption } from '../lib/errors.js'

// Hosts whose traffic never leaves the machine: RFC 6761 section 6.3 and RFC 6890.
const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/

export interface BaseUrl {
  readonly origin: string
  /** Prefix of every path, without a trailing slash. */
  readonly prefix: string
}

/**
 * Parses the URL of a service that receives a key. The string must be in the normal form of the WHATWG parser, so that
 * it cannot look like one host and be another: `https://api.example@evil` or `https://api.example\@evil`.
 */
export function readBaseUrl (plugin: string, text: unknown, allowHttp: boolean): BaseUrl {
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.href !== text && url.href !== `${text}/`)) {
    throw new InvalidOption(plugin, 'baseUrl', 'must be a normalized absolute URL')
  }
  const { protocol, hostname, origin, pathname, href } = url
  if (/[@?#]/.test(href)) {
    throw new InvalidOption(plugin, 'baseUrl', 'must not have credentials, a query or a fragment')
  }
  const local = protocol === 'http:' && allowHttp && LOOPBACK.test(hostname)
  if (protocol !== 'https:' && !local) {
    throw new InvalidOption(plugin, 'baseUrl', 'must use https, or http on loopback with "allowHttp"')
  }
  return { origin, prefix: pathname.replace(/\/$/, '') }
}
