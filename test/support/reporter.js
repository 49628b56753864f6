import { Transform } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { styleText } from 'node:util'

const SUITE = /^(?:\.built\/)?(test\/.*\.)[jt]s$/
const RESULT = /^( *)(not )?ok(?: \d+)?(?: - (.*))?$/
const OMITTED = /^(?:stack|at|source|tapCaught|isToplevel|cwd|externalID|stdio|command|args): ?/

/**
 * Reporter of tap: one line per suite with its time and its assertions, each failed assertion with its place and its
 * difference, and a last line `N passed, N failed`. It reads TAP as a stream, so it also serves as a filter:
 * `node test/providers/aghanim.js | node test/support/reporter.js`.
 */
export default class Reporter extends Transform {
  #rest = ''
  /** Set from the first line of a run to its totals. */
  #open = false
  /** Titles of the open subtests, by depth. */
  #titles = []
  /** Failure whose lines are being read. */
  #failure
  #suites = 0
  #passed = 0
  #failed = 0
  #skipped = new Map()
  /** Counts at the start of the current suite. */
  #before = { passed: 0, failed: 0 }

  _transform (chunk, _encoding, done) {
    const lines = (this.#rest + chunk).split('\n')
    this.#rest = lines.pop()
    for (const line of lines) this.#read(line)
    done()
  }

  _flush (done) {
    this.#endFailure()
    if (this.#open) this.#end()
    done()
  }

  #end () {
    for (const [reason, count] of this.#skipped) this.#say(`skipped ${count}: ${reason}`)
    const skipped = [...this.#skipped.values()].reduce((sum, count) => sum + count, 0)
    if (this.#suites > 1) this.#say(`${this.#suites} suites`)
    this.#say(`${this.#passed} passed, ${this.#failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
    this.#open = false
    this.#suites = this.#passed = this.#failed = 0
    this.#skipped.clear()
  }

  #say (text) {
    this.push(`${text}\n`)
  }

  #read (line) {
    if (this.#failure !== undefined) {
      const { indent, lines } = this.#failure
      if (line.startsWith(`${indent}  `) || line.trim() === '') {
        lines.push(line.slice(indent.length + 2))
        if (line === `${indent}  ...`) this.#endFailure()
        return
      }
      this.#endFailure()
    }
    if (line.startsWith('TAP version')) this.#open = true
    if (line.startsWith('# { total: ')) this.#end()
    const [, open, title] = /^( *)# Subtest: (.*)$/.exec(line) ?? []
    if (title !== undefined) {
      const depth = open.length / 4
      this.#titles.length = depth
      this.#titles[depth] = title
      if (depth === 0) this.#before = { passed: this.#passed, failed: this.#failed }
      return
    }
    const result = RESULT.exec(line)
    if (result !== null) this.#count(result[1], result[2] !== undefined, result[3] ?? '')
  }

  #count (indent, failed, text) {
    const [title, directive = ''] = text.split(/ # (?=SKIP|TODO|time=)/)
    const depth = indent.length / 4
    const isSubtest = this.#titles.length > depth && this.#titles[depth] === title
    this.#titles.length = Math.min(this.#titles.length, isSubtest ? depth : this.#titles.length)
    if (isSubtest && depth === 0) {
      this.#endSuite(title, failed, /time=([\d.]+)/.exec(directive)?.[1])
    } else if (directive.startsWith('SKIP')) {
      const reason = directive.slice(5) || title
      this.#skipped.set(reason, (this.#skipped.get(reason) ?? 0) + 1)
    } else if (!isSubtest && !directive.startsWith('time=')) {
      if (failed) this.#failed++
      else this.#passed++
      if (failed) this.#failure = { indent, titles: [...this.#titles.slice(0, depth), title], lines: [] }
    }
  }

  #endSuite (title, failed, milliseconds) {
    const name = nameOf(title)
    const [passed, without] = [this.#passed - this.#before.passed, this.#failed === this.#before.failed]
    if (SUITE.test(title)) this.#suites++
    const time = `${(Number(milliseconds ?? 0) / 1000).toFixed(1)} s`
    this.#say(`${paint(failed ? 'red' : 'green', failed ? 'FAIL' : 'ok  ')} ${time.padStart(7)} ${String(passed).padStart(6)}  ${name}`)
    if (failed && without) { // it crashed, or never ended
      this.#failed++
      this.#failure = { indent: '', titles: [name], lines: [] }
    }
  }

  #endFailure () {
    if (this.#failure === undefined) return
    const { titles, lines } = this.#failure
    this.#failure = undefined
    // Prefers a line of a suite: helpers in support make assertions, too.
    const place = /(?<![\w/])test\/(?!support\/)[\w/-]+\.[jt]s:\d+/.exec(lines.join('\n'))?.[0]
    this.#say(paint('red', `\n✗ ${titles.map(nameOf).join(' > ')}${place === undefined ? '' : ` (${place})`}`))
    let omit = false
    for (const line of lines) {
      if (line === '---' || line === '...' || line.trim() === '') continue
      if (/^\S/.test(line)) omit = OMITTED.test(line)
      if (!omit) this.#say(`    ${line}`)
    }
    this.#say('')
  }
}

/** Returns the path of a suite's source, or any other title unchanged. */
function nameOf (title) {
  return title.replace(SUITE, '$1ts')
}

function paint (colour, text) {
  return process.stdout.isTTY ? styleText(colour, text) : text
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.on('error', () => process.exit()) // the reader has closed the pipe
  process.stdin.pipe(new Reporter()).pipe(process.stdout)
}
