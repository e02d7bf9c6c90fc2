// <sse-source src="/events"> keeps a page live, <sse-status> says so: https://fasthtml-sse.github.io/fasthtml-sse/page.html
// Four files, one after the other in one function: this one, sse_share.js, sse_keep.js, sse_source.js

if (customElements.get('sse-source')) return

// Streams: a parser, and a connection that comes back. Nothing in this file knows of elements, of htmx or of the page.

const SLOWEST = 30_000   // ms between two attempts at most, unless the server asks for more
const PATIENCE = 45_000  // ms until an answer has to begin
const SETTLED = 10_000   // ms after which a stream that brought no event with a new id is a success too
const GRACE = 300        // ms for a sign of life, where a connection may be dead

// Calls `run` in so many ms; never for 0
const makeTimer = (run, timer) => ms => { clearTimeout(timer); if (ms) timer = setTimeout(run, ms) }

// A parser of event streams (WHATWG HTML §9.2.6). A message without `data` is no event, but moves the last id.
function makeParser(lastId, setRetry) {
  const decoder = new TextDecoder()
  let rest = '', afterCR, id = lastId, event = '', data = []
  return function* (bytes) {
    const text = decoder.decode(bytes, {stream: true})
    const lines = (afterCR ? text.replace(/^\n/, '') : text).split(/\r\n?|\n/)
    if (text) afterCR = text.endsWith('\r')
    lines[0] = rest + lines[0]; rest = lines.pop()
    for (const line of lines) {
      const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line)
      if (field == 'data') data.push(value)
      else if (field == 'event') event = value
      else if (field == 'id' && !value.includes('\0')) id = value
      else if (field == 'retry' && /^\d+$/.test(value)) setRetry(Math.min(+value || 1, 1e9))  // longer timers fire at once
      if (line) continue
      if (data.length) yield {id, event: event || 'message', data: data.join('\n')}
      else if (id != lastId) yield {id}
      lastId = id; event = ''; data = []
    }
  }
}

// Over HTTP/1 a browser has six connections to a site, for all its tabs. Streams take five of them, each with a lock (Web Locks), so that
// every page can load and send. Where all are taken, a page that is looked at robs another one; `leave` tells that of it.
// Gives a function that gives the place back, or nothing where none is left.
async function takePlace(robs, leave) {
  const lock = (place, options) => new Promise(done => {
    navigator.locks.request(`sse-source ${place}`, options, held => held ? new Promise(done) : done())
      .catch(({code}) => code == 18 ? done(leave) : leave())  // 18: denied, as to a frame of another site
  })
  if (!navigator.locks || !performance.getEntriesByType('navigation')[0]?.nextHopProtocol?.startsWith('http/1')) return () => {}
  for (const place of '12345') {
    const free = await lock(place, {ifAvailable: true})
    if (free) return free
  }
  if (robs) return lock(1 + Math.random() * 5 | 0, {steal: true})
}

const REASONS = {404: 'not-found', 405: 'method', 429: 'too-many', 503: 'too-many'}

// Asks `url` again and again, from the last id on, and tells what comes: messages, states, {} for signs of life. `wake()` says that
// the page is looked at again, or the network is back; `close()` ends it.
function request(url, id, tell, credentials) {
  const isForeign = new URL(url).origin != origin
  let attempt, closed, retry = 1000, failures = 0, patience, heard, hurries = !document.hidden, resume
  const take = message => closed || tell(message)
  const expectWithin = makeTimer(() => attempt.abort()), settleWithin = makeTimer(() => failures = 0)

  function hear() { heard = Date.now(); hurries = false; expectWithin(patience) }

  // A header holds bytes, and to another origin it would need a preflight: there the id is part of the address
  function ask() {
    const lastId = String.fromCharCode(...new TextEncoder().encode(id))
    const headers = {Accept: 'text/event-stream', ...id && !isForeign && {'Last-Event-ID': lastId}}
    const address = id && isForeign ? `${url}${url.includes('?') ? '&' : '?'}last_event_id=${encodeURIComponent(id)}` : url
    return fetch(address, {headers, credentials, cache: 'no-store', signal: attempt.signal})
  }

  // Reads one answer to its end, and returns what was wrong with it
  async function read() {
    patience = PATIENCE
    hear()
    const asked = id, answer = await ask(), {status, ok, redirected} = answer, header = name => answer.headers.get(name)
    const type = header('content-type')?.split(/ *;/)[0], after = header('retry-after')
    if (status == 204) return {state: 'stopped', status}
    if (!ok || type != 'text/event-stream') {
      const isDenied = status == 401 || status == 403 || ok && redirected  // to a login page
      const reason = ok && !redirected ? 'no-stream' : REASONS[status] ?? (status < 500 ? 'refused' : undefined)
      const waits = after * 1000 || Date.parse(after) - Date.now()
      return {state: isDenied ? 'stopped' : 'reconnecting', status, type, reason, waits}
    }
    patience = 3000 * header('heartbeat-interval')
    hear()
    settleWithin(SETTLED)
    take({state: 'live', patience, since: header('since')})
    const parse = makeParser(id, value => retry = value), reader = answer.body.getReader()
    for (let chunk; !(chunk = await reader.read()).done;) {
      hear()
      take({})
      for (const message of parse(chunk.value)) {
        id = message.id
        if (message.event && id != asked) failures = 0
        take({...message, isFirst: !asked})
      }
    }
  }

  async function run() {
    while (!closed) {
      attempt = new AbortController()
      let over, isRobbed
      const free = await takePlace(hurries, () => attempt.abort(isRobbed = true))
      hurries = false
      const fail = ({message}) => attempt.signal.aborted || {reason: 'network', error: `${url}: ${message}`}
      if (free && !closed) over = await read().catch(fail)
      if (!free || isRobbed) over = {reason: 'no-connection'}
      expectWithin(0); settleWithin(0)
      attempt.abort()
      free?.()
      take({state: 'reconnecting', ...over})
      const pause = Math.min(retry * 2 ** failures++, Math.max(retry, SLOWEST)) * (1 + Math.random() / 2)
      if (!closed) await new Promise(done => setTimeout(resume = done, hurries ? 0 : Math.min(Math.max(pause, over?.waits || 0), 1e9)))
      resume = undefined
    }
  }

  run()
  return {
    close() { closed = true; attempt.abort(); resume?.() },
    wake() {
      if (!resume && !(patience && Date.now() - heard > patience / 3)) return
      hurries = true
      if (resume) resume()
      else expectWithin(GRACE)
    }
  }
}
