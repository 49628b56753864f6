/* global document, EventSource, fetch */

// Data from deliveries is only ever inserted as text, never as HTML.

const MOST = 200
const RETRY = 1000 // milliseconds
const OUTCOMES = ['all', 'accepted', 'duplicate', 'denied', 'rejected', 'failed']

const byId = (id) => document.getElementById(id)
const list = byId('deliveries')
const template = byId('delivery')
const time = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium', hourCycle: 'h23' })

/** Adds a radio button to a group. Tab moves to the group, and the arrow keys move within it. */
function addChoice (parent, name, value, checked) {
  const label = document.createElement('label')
  const input = document.createElement('input')
  const text = document.createElement('span')
  Object.assign(input, { type: 'radio', name, value, checked })
  text.textContent = value
  label.append(input, text)
  parent.append(label)
  return text
}

const chosen = (parent) => parent.querySelector('input:checked')?.value

// Sending

const providers = byId('providers')
const kinds = byId('kinds')
let samples = []

function showSamples (given) {
  if (JSON.stringify(given) === JSON.stringify(samples)) return // so that the focused element keeps the focus
  samples = given
  for (const label of providers.querySelectorAll('label')) label.remove()
  const names = new Set(samples.map(({ provider }) => provider))
  for (const name of names) addChoice(providers, 'provider', name, providers.querySelector('input') === null)
  showKinds()
}

function showKinds () {
  const provider = chosen(providers)
  const own = samples.filter((sample) => sample.provider === provider)
  const addButton = (text, some) => {
    const button = document.createElement('button')
    button.type = 'button'
    button.textContent = text
    button.addEventListener('click', () => send(text, some))
    kinds.append(button)
  }
  kinds.replaceChildren()
  for (const sample of own) addButton(sample.kind, [sample])
  if (own.length > 1) addButton('one of each', own)
}

async function send (text, some) {
  for (const { provider, kind } of some) {
    const failure = await fetch('/deliveries/samples', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ provider, kind })
    }).then(({ ok, status }) => ok ? '' : `the server responded with ${status}`, () => 'the server is unreachable')
    if (failure !== '') {
      byId('sent').textContent = `Not sent: ${failure}.`
      return
    }
  }
  byId('sent').textContent = `Sent: ${some[0].provider}, ${text}.`
}

providers.addEventListener('change', showKinds)

// Filtering

const outcomes = byId('outcomes')
const counts = new Map()
for (const outcome of OUTCOMES) {
  const count = document.createElement('span')
  count.className = 'count'
  addChoice(outcomes, 'outcome', outcome, outcome === 'all').after(count)
  counts.set(outcome, count)
}

function filter () {
  const wanted = chosen(outcomes)
  const seen = new Map(OUTCOMES.map((outcome) => [outcome, 0]))
  seen.set('all', list.children.length)
  for (const item of list.children) {
    const { outcome } = item.dataset
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
    item.hidden = wanted !== 'all' && outcome !== wanted
  }
  for (const [outcome, count] of counts) count.textContent = String(seen.get(outcome))
  byId('empty').hidden = seen.get(wanted) > 0
  byId('empty').textContent = wanted === 'all' || seen.get('all') === 0
    ? 'No deliveries yet. Send a test delivery above, or point a provider at this server.'
    : `No ${wanted} deliveries.`
}

outcomes.addEventListener('change', filter)

// Showing

function addFact (facts, name, value, isCode = true) {
  const term = document.createElement('dt')
  const definition = document.createElement('dd')
  const text = document.createElement(isCode ? 'code' : 'span')
  term.textContent = name
  text.textContent = value
  definition.append(text)
  facts.append(term, definition)
}

/** Sets the explanation, with parts in `backticks`, such as option names, as code. */
function setExplanation (element, text) {
  text.split('`').forEach((part, index) => {
    const piece = document.createElement(index % 2 === 1 ? 'code' : 'span')
    piece.textContent = part
    element.append(piece)
  })
}

function createItem (delivery) {
  const { outcome, reason, provider, path, status, duration, bytes, at, explanation, request } = delivery
  const item = template.content.cloneNode(true).firstElementChild
  const part = (name) => item.querySelector(name)
  item.dataset.outcome = outcome
  part('.outcome').textContent = outcome
  part('.reason').textContent = reason
  part('.provider').textContent = provider
  part('.status').textContent = status ?? 'passed on'
  part('.duration').textContent = `${duration < 10 ? duration.toFixed(1) : Math.round(duration)} ms`
  part('time').textContent = time.format(at)
  part('time').dateTime = new Date(at).toISOString()
  setExplanation(part('.explanation'), explanation)

  const facts = part('.facts')
  addFact(facts, 'response', `${status ?? 'passed on'}, after ${duration.toFixed(1)} ms`, false)
  addFact(facts, 'request', `${request.method} ${request.path}`)
  for (const [name, value] of request.headers) addFact(facts, name, value)
  addFact(facts, 'body', bytes > 0 ? `${bytes} bytes: ${request.body}` : request.body)
  if (path !== request.path) addFact(facts, 'route', path)
  if (delivery.ageSeconds !== undefined) addFact(facts, 'signed', tellAge(delivery.ageSeconds), false)
  if (delivery.secretIndex !== undefined) addFact(facts, 'secret', `number ${delivery.secretIndex + 1} in the configuration`, false)
  if (delivery.delivery !== undefined) addFact(facts, 'delivery key', delivery.delivery)
  return item
}

const tellAge = (seconds) => `${Math.abs(seconds)} seconds ${seconds < 0 ? 'ahead of this server’s clock' : 'ago'}`

function show (deliveries) {
  for (const delivery of deliveries) list.prepend(createItem(delivery))
  while (list.children.length > MOST) list.lastElementChild.remove()
  filter()
}

// Listening

function connect () {
  const source = new EventSource('/deliveries/events')
  source.addEventListener('start', ({ data }) => {
    const { samples, deliveries } = JSON.parse(data)
    setConnection('Live', true)
    showSamples(samples)
    list.replaceChildren()
    show(deliveries)
  })
  source.addEventListener('delivery', ({ data }) => show([JSON.parse(data)]))
  source.addEventListener('error', () => { // any kind of error: a new connection starts from scratch
    source.close()
    setConnection('Disconnected. Reconnecting...', false)
    setTimeout(connect, RETRY)
  })
}

function setConnection (text, isLive) {
  byId('connection').textContent = text
  byId('connection').classList.toggle('live', isLive)
}

filter()
connect()
