import type { Page } from 'playwright-core'
import t from 'tap'
import { REASONS } from '../../examples/deliveries-page/reasons.js'
import type { Sample } from '../../examples/deliveries-page/samples.js'
import { createScan } from '../support/canaries.js'
import { noChromium, startChromium } from '../support/chromium.js'
import { API_KEY, API_SECRET, SECRET } from '../support/deliveries.js'
import { createPage, JSON_TYPE } from '../support/deliveries-page.js'
import type { Test } from '../support/host.js'
import { backdrop, beyondTheEdge, colors, focus, overlaps, setMarkup } from '../support/in-page.js'

t.test('in a browser', { skip: noChromium, jobs: 4 }, async (t) => {
  const browser = await startChromium(t)
  const context = await browser.newContext()

  /** Opens the page and waits until it is live. Errors in its console fail the test. */
  async function open (test: Test, origin: string) {
    const page = await context.newPage()
    test.teardown(() => page.close())
    const complaints: string[] = []
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('console', (message) => complaints.push(message.text()))
    await page.goto(`${origin}/deliveries`)
    await isLive(page)
    return { page, complaints }
  }

  const isLive = (page: Page) => page.locator('#connection.live').waitFor()
  const shown = (page: Page) => page.locator('#deliveries > li:visible')
  /** Waits for this many deliveries to be visible, and returns their lines. */
  async function lines (page: Page, count: number) {
    await shown(page).nth(count - 1).waitFor()
    return shown(page).locator('summary').allInnerTexts()
  }
  const outcomesOf = async (page: Page) => shown(page).locator('.outcome').allTextContents()
  /** Returns the counts of all outcomes. */
  const counts = async (page: Page) => (await page.locator('#outcomes label').allInnerTexts()).join(', ').replaceAll('\n', ' ')
  const OUTCOMES = ['accepted', 'duplicate', 'denied', 'rejected', 'failed'] as const

  t.test('deliveries appear at once, the newest first, with their reasons explained', { buffered: true }, async (t) => {
    const { report, origin } = await createPage(t)
    const { page, complaints } = await open(t, origin)
    t.match(await page.locator('#empty').innerText(), /^No deliveries yet/)
    t.notOk(await page.locator('#deliveries').isVisible())
    for (const reason of Object.keys(REASONS)) await report({ reason })
    const seen = (await lines(page, Object.keys(REASONS).length)).reverse()
    for (const [index, [reason, sentence]] of Object.entries(REASONS).entries()) {
      t.match(seen[index]!.split('\n'), ['rejected', reason, 'identity-validation', '403', '2.3 ms', /^\d\d:\d\d:\d\d$/])
      t.equal(seen[index]!.split('\n').at(-1), sentence.replaceAll('`', ''))
    }
    t.notOk(await page.locator('#empty').isVisible())
    t.strictSame(complaints, [])
  })

  t.test('an accepted delivery is one line, until it is opened', { buffered: true }, async (t) => {
    const { report, origin } = await createPage(t)
    const { page } = await open(t, origin)
    await report({
      outcome: 'accepted', reason: 'handled', status: undefined, duration: 12.34, secretIndex: 1, delivery: 'a-hash'
    }, { headers: { 'x-timestamp': '1790000000', 'x-api-key': 'hidden' } })
    await report({ ageSeconds: 400 })
    await report({ ageSeconds: -400, bytes: 0 })
    const seen = await lines(page, 3)
    t.match(seen[2]!.split('\n'), ['accepted', 'handled', 'identity-validation', 'passed on', '12 ms', /^\d\d:\d\d:\d\d$/])
    t.equal(seen[2]!.split('\n').length, 6)
    const facts = async (index: number) => {
      await shown(page).nth(index).locator('summary').click()
      const [names, values] = await Promise.all(['dt', 'dd'].map((name) =>
        shown(page).nth(index).locator(name).allInnerTexts()))
      return Object.fromEntries(names!.map((name, at) => [name, values![at]]))
    }
    t.match(await facts(2), {
      response: 'passed on, after 12.3 ms',
      request: 'POST /sessions',
      'x-timestamp': '1790000000',
      'x-api-key': 'hidden: 6 characters, other',
      body: '63 bytes: none',
      secret: 'number 2 in the configuration',
      'delivery key': 'a-hash'
    })
    t.match(await shown(page).nth(2).innerText(), REASONS.handled)
    t.match(await facts(1), { signed: '400 seconds ago', response: '403, after 2.3 ms' })
    t.match(await facts(0), { signed: '400 seconds ahead of this server’s clock', body: 'none' })
  })

  t.test('a filter selects outcomes', { buffered: true }, async (t) => {
    const { report, origin } = await createPage(t)
    const { page, complaints } = await open(t, origin)
    for (const [index, outcome] of OUTCOMES.entries()) {
      for (let times = 0; times <= index; times++) await report({ outcome })
    }
    await lines(page, 15)
    t.equal(await counts(page), 'all 15, accepted 1, duplicate 2, denied 3, rejected 4, failed 5')
    for (const [index, outcome] of OUTCOMES.entries()) {
      await page.getByRole('radio', { name: outcome }).check()
      t.strictSame(await outcomesOf(page), Array(index + 1).fill(outcome))
    }
    await report({ outcome: 'accepted' })
    await report({ outcome: 'failed' })
    await shown(page).nth(5).waitFor()
    t.strictSame(await outcomesOf(page), Array(6).fill('failed'), 'later deliveries, too')
    await page.getByRole('radio', { name: 'all' }).check()
    t.equal((await outcomesOf(page)).length, 17)
    t.strictSame(complaints, [])
  })

  t.test('a filter without matches says so', { buffered: true }, async (t) => {
    const { report, origin } = await createPage(t)
    const { page } = await open(t, origin)
    await report()
    await lines(page, 1)
    await page.getByRole('radio', { name: 'failed' }).check()
    t.equal(await page.locator('#empty').innerText(), 'No failed deliveries.')
    t.notOk(await page.locator('#deliveries').isVisible())
  })

  const SAMPLES = [['one', 'valid'], ['one', 'tampered'], ['two', 'valid']].map(([provider, kind]): Sample => ({
    provider: provider!,
    kind: kind!,
    requests: () => [{ method: 'POST', url: '/sessions' }]
  }))

  t.test('the keyboard reaches everything: a provider, a button, an outcome, a delivery', { buffered: true }, async (t) => {
    const { origin, report } = await createPage(t, SAMPLES)
    const { page, complaints } = await open(t, origin)
    /** Presses Tab until the named element has the focus, which must be visible. */
    const tabTo = async (name: string) => {
      for (let steps = 0; steps < 20; steps++) {
        await page.keyboard.press('Tab')
        const found = await page.evaluate(focus)
        if (!found.name.startsWith(name)) continue
        t.match(found, { outlineStyle: 'solid', outlineWidth: '2px' }, `the focus is visible on ${name}`)
        return
      }
      t.fail(`Tab does not lead to ${name}`)
    }
    const sent = (text: string) => page.locator('#sent', { hasText: text }).waitFor()

    await tabTo('one')
    await tabTo('tampered')
    await page.keyboard.press('Enter')
    await sent('Sent: one, tampered.')
    await page.keyboard.press('Shift+Tab')
    await page.keyboard.press('Space')
    await sent('Sent: one, valid.')
    await page.keyboard.press('Shift+Tab')
    await page.keyboard.press('ArrowRight')
    t.strictSame(await page.locator('#kinds button').allInnerTexts(), ['valid'])
    await page.keyboard.press('ArrowLeft')
    await tabTo('one of each')
    await page.keyboard.press('Enter')
    await sent('Sent: one, one of each.')
    await lines(page, 4)
    await tabTo('all')
    await page.keyboard.press('ArrowRight')
    t.equal(await shown(page).count(), 0)
    await page.keyboard.press('ArrowLeft')
    await tabTo('')
    await page.keyboard.press('Enter')
    t.equal(await page.locator('details[open]').count(), 1)
    await report()
    await lines(page, 5)
    await page.keyboard.press('Space')
    t.equal(await page.locator('details[open]').count(), 0, 'new deliveries do not take the focus')
    t.strictSame(complaints, [])
  })

  t.test('a sample that cannot be sent is reported', { buffered: true }, async (t) => {
    const { app, origin } = await createPage(t, [{ provider: 'one', kind: 'valid', requests () { throw new Error('canary') } }])
    const { page } = await open(t, origin)
    t.strictSame(await page.locator('#kinds button').allInnerTexts(), ['valid'])
    await page.getByRole('button', { name: 'valid' }).click()
    await page.locator('#sent', { hasText: 'Not sent: the server responded with 500.' }).waitFor()
    await app.close()
    await page.getByRole('button', { name: 'valid' }).click()
    await page.locator('#sent', { hasText: 'Not sent: the server is unreachable.' }).waitFor()
  })

  t.test('the page reconnects when the server is back', { buffered: true }, async (t) => {
    const first = await createPage(t, SAMPLES)
    const { page } = await open(t, first.origin)
    await first.report()
    await lines(page, 1)
    await page.getByRole('radio', { name: 'two' }).check()
    await first.app.close()
    await page.locator('#connection', { hasText: 'Disconnected. Reconnecting...' }).waitFor()
    t.equal(await shown(page).count(), 1, 'what it has shown is still there')
    const second = await createPage(t, SAMPLES, Number(new URL(first.origin).port))
    await isLive(page)
    t.equal(await shown(page).count(), 0)
    t.ok(await page.getByRole('radio', { name: 'two' }).isChecked())
    await second.report({ reason: 'future' })
    t.match(await lines(page, 1), [/future/])
  })

  t.test('foreign strings are not interpreted, and only the page’s own script runs', { buffered: true }, async (t) => {
    const { report, origin } = await createPage(t)
    const { page, complaints } = await open(t, origin)
    const script = '<img src=x onerror="document.title = `taken`"><script>document.title = `taken`</script>'
    const texts = { provider: script, path: script, reason: script, outcome: script, status: script, delivery: script }
    const url = `/sessions?${encodeURIComponent(script)}`
    await report(texts, { url, payload: script, headers: { 'content-type': JSON_TYPE } })
    await lines(page, 1)
    await page.locator('summary').click()
    t.equal((await page.locator('li').innerText()).split(script).length - 1, 7)
    t.equal(await page.locator('img, li script').count(), 0)
    t.strictSame(complaints, [])
    const refused = await page.evaluate(setMarkup, script)
    t.match(refused, /TrustedHTML/)
    t.equal(await page.title(), 'Deliveries')
  })

  t.test('the page contains no secret', { buffered: true }, async (t) => {
    const { report, origin } = await createPage(t)
    const { page } = await open(t, origin)
    const scan = createScan(['canary', SECRET, API_KEY, API_SECRET])
    await report({ keyId: API_KEY }, {
      url: `/sessions?${SECRET}`,
      headers: { 'x-api-key': API_KEY, 'x-signature': `hmac-sha256 ${API_SECRET}`, 'x-endpoint': '/canary', 'content-type': JSON_TYPE },
      payload: JSON.stringify({ canary: 'canary', session: { id: SECRET, [SECRET]: 1 } })
    })
    await lines(page, 1)
    await page.locator('summary').click()
    const html = await page.content()
    t.match(html, 'hidden: 44 characters, base64')
    t.strictSame(scan(html), [])
  })

  t.test('all text has the contrast of WCAG AA, light and dark', { buffered: true }, async (t) => {
    const { report, origin } = await createPage(t, SAMPLES)
    const { page } = await open(t, origin)
    for (const outcome of OUTCOMES) await report({ outcome, reason: 'stale', ageSeconds: 400, secretIndex: 0 })
    await lines(page, 5)
    for (const summary of await page.locator('summary').all()) await summary.click()
    await page.getByRole('button', { name: 'tampered' }).click()
    await page.locator('#sent', { hasText: 'Sent' }).waitFor()
    for (const [colorScheme, expected] of [['light', /^rgb\(2\d\d,/], ['dark', /^rgb\(\d\d,/]] as const) {
      await page.emulateMedia({ colorScheme })
      t.match(await page.evaluate(backdrop), expected, colorScheme)
      const found = await page.evaluate(colors)
      t.ok(found.filter(({ isText }) => isText).length > 100)
      t.equal(found.filter(({ isText }) => !isText).length, 3, 'the edges of buttons')
      const weak = found.map((one) => ({ ...one, ratio: contrastOf(one.color, one.behind) }))
        .filter(({ isText, ratio }) => !(ratio >= (isText ? 4.5 : 3)))
      t.strictSame(weak, [], colorScheme)
    }
  })

  t.test('a narrow window does not scroll sideways, and a full list is fast', { buffered: true }, async (t) => {
    const { report, origin } = await createPage(t, SAMPLES)
    for (let count = 0; count < 205; count++) await report({ path: `/${'long'.repeat(50)}`, delivery: 'f'.repeat(64) })
    const { page } = await open(t, origin)
    t.equal((await lines(page, 200)).length, 200)
    await report({ reason: 'unsupported_media_type' })
    await page.locator('.reason', { hasText: 'unsupported_media_type' }).waitFor()
    t.equal(await shown(page).count(), 200)
    await page.locator('summary').first().click()
    for (const width of [320, 360, 740, 1440]) {
      await page.setViewportSize({ width, height: 800 })
      t.strictSame(await page.evaluate(beyondTheEdge), [], `nothing is wider than ${width} pixels`)
      t.strictSame(await page.evaluate(overlaps), [], 'or overlaps another element')
    }
    const start = performance.now()
    await page.getByRole('radio', { name: 'failed' }).check()
    await page.getByRole('radio', { name: 'rejected' }).check()
    t.equal(await shown(page).count(), 200)
    t.ok(performance.now() - start < 5_000)
  })
})

/** Returns the contrast of two colours like `rgb(1, 2, 3)`, as defined by WCAG 2. */
function contrastOf (one: string, other: string): number {
  const [dark, light] = [one, other].map((color) => {
    const [red, green, blue] = color.match(/\d+/g)!.map((channel) => {
      const value = Number(channel) / 255
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!
  }).sort((a, b) => a - b)
  return (light! + 0.05) / (dark! + 0.05)
}
