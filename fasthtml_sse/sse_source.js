// <sse-source src="/events"> keeps a page live, <sse-status> says so: https://fasthtml-sse.github.io/fasthtml-sse/page.html
(() => {
  if (customElements.get('sse-source')) return
  const SLOWEST = 30_000, PATIENCE = 45_000  // ms between attempts, unless told otherwise; ms until an answer has to begin

  // Before, a message could find its target not parsed, or htmx not there
  const ready = new Promise(done => {
    if (document.readyState == 'complete') done()
    for (const name of ['DOMContentLoaded', 'load']) addEventListener(name, done)
  })

  // A parser of event streams (WHATWG HTML §9.2.6). A message without `data` is no event, but moves the last id.
  function makeParser(lastId, setRetry) {
    const decoder = new TextDecoder()
    let rest = '', afterCR = false, id = lastId, event = '', data = []
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

  // Calls `run` in so many ms; never for 0
  const makeTimer = (run, timer) => ms => { clearTimeout(timer); if (ms) timer = setTimeout(run, ms) }

  // Requests `url` again and again, from the last id on, and tells what comes: messages, states, {} for signs of life. Returns its end.
  function request(url, id, tell) {
    let attempt, closed = false, retry = 1000, failures = 0
    const take = message => closed || tell(message), expectWithin = makeTimer(() => attempt.abort())

    async function read() {
      expectWithin(PATIENCE)
      const lastId = String.fromCharCode(...new TextEncoder().encode(id))  // a header holds bytes
      const headers = {Accept: 'text/event-stream', ...lastId && {'Last-Event-ID': lastId}}
      const answer = await fetch(url, {headers, cache: 'no-store', signal: attempt.signal}), {status} = answer
      const streams = answer.ok && answer.headers.get('content-type')?.startsWith('text/event-stream')
      const denied = status == 401 || status == 403 || answer.ok && answer.redirected && !streams  // to a login page
      if (denied || status == 204) return take({state: 'stopped', status, denied})
      if (!streams) return
      const patience = 3000 * answer.headers.get('heartbeat-interval'), reader = answer.body.getReader()
      const parse = makeParser(id, value => retry = value)
      take({state: 'live', patience})
      for (let chunk; failures = 0, expectWithin(patience), !(chunk = await reader.read()).done;) {
        take({})
        for (const message of parse(chunk.value)) {
          id = message.id
          take(message)
        }
      }
    }

    async function run() {
      while (!closed) {
        attempt = new AbortController()
        try { await read() } catch {}
        expectWithin(0)
        attempt.abort()
        if (closed) return
        take({state: 'reconnecting'})
        const pause = Math.min(retry * 2 ** failures++, Math.max(retry, SLOWEST)) * (1 + Math.random() / 2)
        await new Promise(done => setTimeout(done, pause))
      }
    }

    run()
    return () => { closed = true; attempt.abort() }
  }

  // The same for all tabs: the one that holds the lock passes on what comes, with the id `at` which it stood before. A tab that
  // stands there too takes it; one that stands elsewhere, or hears nothing, requests by itself till they meet.
  function share(url, id, take, key) {
    const name = `sse-source ${key} ${url}`, channel = new BroadcastChannel(name)
    const over = new AbortController(), {signal} = over, expectWithin = makeTimer(requestAlone)
    let leads = false, live, endOwn
    function pass(message) {
      id = message.id ?? id
      if (message.state) live = message.state == 'live' && message
      take(message)
    }

    function requestAlone() {
      expectWithin(0)
      endOwn ??= request(url, id, message => {
        if (leads || !id == !message.state) channel.postMessage(leads ? {at: id, id, ...message} : {asks: true})
        pass(message)
      })
    }

    channel.onmessage = ({data: {asks, at, ...message}}) => {
      if (asks && leads && live) channel.postMessage({at: id, id, ...live})
      if (asks || leads || !id && !live) return
      if (at != id && message.id != id) return message.event ? requestAlone() : expectWithin(300)
      endOwn = endOwn?.()
      if (at == id) pass(message)
      if (signal.aborted) return
      if (!live) channel.postMessage({asks: true})
      expectWithin(live == undefined ? 300 : live.patience)
    }
    navigator.locks.request(name, {signal}, () => signal.aborted || new Promise(done => {
      leads = true
      signal.addEventListener('abort', done)
      requestAlone()
    })).catch(() => {})
    channel.postMessage({asks: true})
    expectWithin(id ? 300 : 1)  // without an id, what the server says first has to come first

    return () => { over.abort(); endOwn?.(); channel.close(); expectWithin(0) }
  }

  const htmx2 = () => htmx.version.startsWith('2.')
  const swap = (element, text, style) => htmx2()
    ? htmx.swap(element, text, {swapStyle: style.split(' ')[0], swapDelay: 0, settleDelay: 0}, {contextElement: element})
    : htmx.swap({text, sourceElement: element, target: element, swap: style})

  async function refreshPage() {
    const {href} = location, answer = await fetch(href, {cache: 'no-store'})
    if (!answer.ok) throw Error(answer.status + ' ' + href)
    if (answer.redirected) return location.assign(answer.url)
    const text = await answer.text()
    if (location.href == href) await swap(document.body, text, htmx2() && !window.Idiomorph ? 'innerHTML' : 'innerMorph')
  }

  const OCCASIONS = ['pagehide', 'pageshow', 'online', 'visibilitychange']
  class SSESource extends HTMLElement {
    static observedAttributes = ['src', 'after', 'state']
    #end; #id = ''; #state; #wasLive = false
    ended = false  // for good

    get state() { return this.#state }

    connectedCallback() {
      this.ended ||= !this.#state && this.getAttribute('state') == 'stopped'  // in a snapshot, as htmx 2 takes them
      for (const name of OCCASIONS) addEventListener(name, this)
      ready.then(() => this.open())
    }

    disconnectedCallback() {
      queueMicrotask(() => {
        if (this.isConnected) return  // moved
        this.#disconnect()
        for (const name of OCCASIONS) removeEventListener(name, this)
        document.dispatchEvent(new CustomEvent('sse:status', {detail: {}}))
      })
    }

    handleEvent({type, persisted}) {
      const hurries = !document.hidden && !type.startsWith('page') && this.#state?.endsWith('connecting')
      if (type == 'pagehide' || hurries) this.#disconnect()
      if (type == 'pageshow' && persisted || hurries) this.open()
    }

    attributeChangedCallback(name, before, value) {
      if (name == 'state' && this.#state && value != this.#state) this.setAttribute(name, this.#state)  // after a morph
      if (name == 'after' && value != null && value != this.#id) this.#id = value
      else if (name == 'src' && before && value != before) { this.#id = ''; this.removeAttribute('after') }
      else return
      if (!this.#end) return
      this.#disconnect()
      queueMicrotask(() => this.open())
    }

    open() {
      if (this.ended) this.#become({state: 'stopped'})
      if (this.ended || this.#end || !this.isConnected) return
      const url = new URL(this.getAttribute('src'), document.baseURI).href, key = this.getAttribute('shared')
      const connect = key != null && navigator.locks && window.BroadcastChannel ? share : request
      this.#end = connect(url, this.#id, message => this.#take(message), key)
      this.#become({state: 'reconnecting'})
    }

    close() { this.ended = true; this.open() }
    #disconnect() { this.#end = this.#end?.() }
    #fire(name, detail) { return this.dispatchEvent(new CustomEvent('sse:' + name, {detail, bubbles: true, cancelable: true})) }

    #become({state, status, denied}) {
      if (state == 'live') this.#wasLive = true
      if (state == 'reconnecting' && !this.#wasLive) state = 'connecting'
      if (state == 'stopped') this.#disconnect()
      if (state == this.#state) return
      this.#state = state
      this.ended ||= status == 204
      this.setAttribute('state', state)
      this.#fire('status', {state, status})
      if (denied) this.#fire('denied', {status})
    }

    #take({id, event, data, ...rest}) {
      if (!this.isConnected) return
      if (rest.state) this.#become(rest)
      if (event == 'gap' && this.#fire('gap', {data, id})) return this.#catchUp(id)
      if (id != null) this.setAttribute('after', this.#id = id)  // snapshots have to know
      if (event == 'message') this.#swap(data)
      else if (event && event != 'gap') this.#fire(event, {data, id})
      if (event == 'close') this.close()
    }

    async #swap(text) {
      const style = this.getAttribute('hx-swap') ?? (/<[^>]*hx-swap-oob|<hx-partial/.test(text) ? 'none' : 'innerHTML')
      try { await swap(this, text, style) }
      catch (error) { console.error('sse-source could not swap', text, error) }
    }

    async #catchUp(id) {
      const missing = this.#id
      this.#disconnect()
      this.#become({state: 'reconnecting'})
      try { await refreshPage() }
      catch (error) { console.error(error); return setTimeout(() => this.open(), 5000) }  // and be told again
      if (this.#id == missing) this.setAttribute('after', id)  // the page does not know better
      this.open()
    }
  }

  const STATES = ['live', 'connecting', 'reconnecting', 'stopped']  // the best first

  class SSEStatus extends HTMLElement {
    #morphs = new MutationObserver(() => this.handleEvent())
    connectedCallback() {
      document.addEventListener('sse:status', this)
      this.#morphs.observe(this, {attributes: true, childList: true})
      this.handleEvent()
    }

    handleEvent() {
      if (!this.isConnected) return document.removeEventListener('sse:status', this)
      const of = this.getAttribute('of'), sources = [...document.querySelectorAll(of ? '#' + CSS.escape(of) : 'sse-source')]
      const rank = ({ended, state}) => ended ? -1 : STATES.indexOf(state)
      const [{state} = {}] = sources.sort((a, b) => rank(b) - rank(a))
      for (const name of STATES) this.classList.toggle('sse-' + name, name == state)
      const word = state ? this.getAttribute(state) ?? state[0].toUpperCase() + state.slice(1) : ''
      if (this.textContent != word) this.textContent = word
    }
  }

  customElements.define('sse-source', SSESource)
  customElements.define('sse-status', SSEStatus)
})()
