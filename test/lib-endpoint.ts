import t from 'tap'
import { plainPath, publicEndpoint } from '../plugins/lib/endpoint.js'

t.test('an endpoint is a path with or without a query', async (t) => {
  for (const value of ['/', '/a', '/a/b-c_d.~', '/a?b=c&d=%20', "/!$&'()*+,;=:@"]) t.ok(publicEndpoint.accepts(value), value)
  for (const value of ['', 'a', 'a/b', ' /a', '/a ', '/a{b', '/a#b', '/a"b', '/é', '/a\n', 'https://example.com/a', ['/a'], 1, null, undefined]) {
    t.notOk(publicEndpoint.accepts(value), String(value))
  }
})

t.test('the path of a route is plain where all clients send the same', async (t) => {
  for (const [prefix, url, path] of [
    ['', '/', '/'], ['', '/a', '/a'], ['/p', '/a', '/p/a'], ['/p/', '/a', '/p/a'], ['/p', '/a/b', '/p/a/b'],
    ['/p', '/', undefined], ['', '/:id', undefined], ['', '/*', undefined], ['/:p', '/a', undefined], ['', '/é', undefined]
  ]) t.equal(plainPath(prefix!, url!), path, `${prefix} ${url}`)
})
