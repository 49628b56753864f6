import t from 'tap'
import { createSlots } from '../plugins/lib/slots.js'

const patient = () => new AbortController().signal
const settled = async (promise: Promise<unknown>) =>
  Promise.race([promise.then(() => 'entered', (error) => error), new Promise((resolve) => setImmediate(resolve, 'waiting'))])

t.test('so many enter at once, and the others in turn', async (t) => {
  const take = createSlots(2)
  const [first, second] = await Promise.all([take(patient()), take(patient())])
  const [third, fourth] = [take(patient()), take(patient())]
  t.equal(await settled(third), 'waiting')
  second()
  t.equal(await settled(third), 'entered')
  t.equal(await settled(fourth), 'waiting')
  first()
  t.equal(await settled(fourth), 'entered')
  const fifth = take(patient())
  t.equal(await settled(fifth), 'waiting', 'there are never more slots than there were')
  ;(await third)()
  t.equal(await settled(fifth), 'entered')
})

t.test('what is freed while nobody waits is there for the next', async (t) => {
  const take = createSlots(1)
  for (let count = 0; count < 3; count++) (await take(patient()))()
  t.pass('entered')
})

t.test('whoever waits too long leaves the queue, with the reason of the signal', async (t) => {
  const take = createSlots(1)
  const release = await take(patient())
  const impatient = new AbortController()
  const reason = new Error('too long')
  const [leaving, staying] = [take(impatient.signal), take(patient())]
  impatient.abort(reason)
  t.equal(await settled(leaving), reason)
  release()
  t.equal(await settled(staying), 'entered', 'the slot goes to the one behind')
  ;(await staying)()
  t.equal(await settled(take(patient())), 'entered', 'and is not lost')
})

t.test('a signal that comes once the slot is taken changes nothing', async (t) => {
  const take = createSlots(1)
  const release = await take(patient())
  const controller = new AbortController()
  const next = take(controller.signal)
  release()
  controller.abort()
  const free = await next
  const last = take(patient())
  t.equal(await settled(last), 'waiting')
  free()
  t.equal(await settled(last), 'entered')
})

t.test('whose time is up already does not enter, and takes no slot', async (t) => {
  const take = createSlots(1)
  t.match(await settled(take(AbortSignal.abort())), { name: 'AbortError' })
  t.equal(await settled(take(patient())), 'entered')
})
