import { fork, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeBatch, type Batch, type Traffic } from './deliveries.js'
import type { ServerSettings, Usage } from './servers.js'
import { ordered, quantile } from './statistics.js'

// Starts servers, sends them their deliveries and measures the cost. Not with autocannon, which loads one server and
// cannot send two of them the same number of distinct deliveries in lock step. All code is compiled first: tsx wraps
// each named closure at run time, which cost 14 to 18 µs per delivery.

const CONNECTIONS = 32
const SERVER_CORE = 0
const LOAD_CORE = 1
const BUILT = fileURLToPath(new URL('..', import.meta.url))

/** Pins this process, and all it starts, to the core that the servers do not use. */
export function pinLoad (): void {
  const { status } = spawnSync('taskset', ['-acp', String(LOAD_CORE), String(process.pid)])
  if (status !== 0) throw new Error('two cores and taskset (util-linux) are needed')
}

export interface Entrant {
  readonly name: string
  readonly server: ServerSettings
  readonly traffic: Traffic
  /** The folder of another compiled copy of all this, `.built` of another clone, whose server it is. */
  readonly built?: string
}

/** An entrant whose server is running. */
export interface Lane {
  readonly entrant: Entrant
  readonly process: ChildProcess
  readonly port: number
  /** Returns the user and system time so far, of all threads, in microseconds. */
  readonly cpu: () => Promise<number>
  readonly stop: () => Promise<void>
}

/** Starts a server, by default pinned to the servers' core; resolves once it listens. */
export async function start (entrant: Entrant, cores = String(SERVER_CORE), ...flags: string[]): Promise<Lane> {
  const child = fork(path.join(entrant.built ?? BUILT, 'bench/servers.js'), [JSON.stringify(entrant.server)], {
    execPath: 'taskset', execArgv: ['-c', cores, process.execPath, ...flags], env: { ...process.env, NODE_ENV: 'production' }
  })
  const exit = once(child, 'exit')
  const message = (): Promise<unknown> => Promise.race([
    once(child, 'message').then(([value]) => value as unknown),
    exit.then(() => { throw new Error(`${entrant.name}: the server ended`) })
  ])
  const port = await message() as number
  return {
    entrant,
    process: child,
    port,
    async cpu () {
      child.send('')
      return (await message() as Usage).cpu
    },
    async stop () {
      child.disconnect()
      await exit
    }
  }
}

/** Opens a keep-alive connection, for one request at a time. */
async function open (port: number): Promise<{ exchange: (request: Buffer) => Promise<number>, socket: Socket }> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  let text = ''
  let done: (status: number) => void
  let failed: ((error: Error) => void) | undefined
  const closed = new Error('the server closed a connection')
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    const end = text.indexOf('\r\n\r\n') + 4
    if (end === 3) return
    const length = /\r\ncontent-length: (\d+)/i.exec(text)
    if (length === null && /\r\ntransfer-encoding: chunked/i.test(text)) {
      if (!text.endsWith('\r\n0\r\n\r\n')) return
    } else if (text.length < end + Number(length?.[1] ?? 0)) return
    const status = Number(text.slice(9, 12))
    text = ''
    done(status)
  })
  socket.on('close', () => failed?.(closed))
  return {
    socket,
    exchange: (request) => new Promise((resolve, reject) => {
      if (socket.destroyed) throw closed
      done = resolve
      failed = reject
      socket.write(request)
    })
  }
}

/**
 * Sends each lane its batch, all at the same time: each connection alternates between the lanes with every delivery.
 * Resolves to the duration of each delivery in milliseconds, by lane, sorted.
 */
async function drive (lanes: readonly Lane[], batches: readonly Batch[]): Promise<number[][]> {
  const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () =>
    Promise.all(lanes.map(({ port }) => open(port)))))
  const next = lanes.map(() => 0)
  const times = lanes.map((): number[] => [])
  await Promise.all(connections.map(async (mine, worker) => {
    for (let turn = worker; next.some((done, lane) => done < batches[lane]!.requests.length); turn++) {
      const lane = turn % lanes.length
      const request = batches[lane]!.requests[next[lane]!++]
      if (request === undefined) continue
      const began = performance.now()
      const status = await mine[lane]!.exchange(request)
      times[lane]!.push(performance.now() - began)
      if (status !== batches[lane]!.status) throw new Error(`${lanes[lane]!.entrant.name} answered ${status}`)
    }
  }))
  for (const { socket } of connections.flat()) socket.destroy()
  return times.map(ordered)
}

export interface Figures {
  /** User and system time of the server per delivery, in microseconds. */
  readonly cpu: number
  /** Quantiles of the duration of a delivery, in milliseconds. */
  readonly p50: number
  readonly p99: number
  /** Deliveries per second. */
  readonly rate: number
}

/** Measures the cost of `count` deliveries to each of the servers, while all are loaded at the same time. */
export async function measure (lanes: readonly Lane[], count: number): Promise<Figures[]> {
  const batches = lanes.map(({ entrant }) => makeBatch(entrant.server, entrant.traffic, count))
  const before = await Promise.all(lanes.map(({ cpu }) => cpu()))
  const began = performance.now()
  const times = await drive(lanes, batches)
  const seconds = (performance.now() - began) / 1000
  const after = await Promise.all(lanes.map(({ cpu }) => cpu()))
  return times.map((sorted, lane) => ({
    cpu: (after[lane]! - before[lane]!) / count,
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    rate: count / seconds
  }))
}

/** Returns the number of deliveries to each server in a round, which take about a second. */
export function countFor ({ bytes = 330 }: Traffic): number {
  return bytes > 20_000 ? 500 : bytes > 2_000 ? 3_000 : 6_000
}
