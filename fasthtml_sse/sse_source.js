// Before, a message could find its target not parsed, or htmx not there
const ready = new Promise(done => {
  if (document.readyState == 'complete') done()
  for (const name of ['DOMContentLoaded', 'load']) addEventListener(name, done)
})
ready.then(teach)

const ADVICE = {
  'no-stream': ', which is no event stream: is the handler decorated with @sse?',
  'not-found': ': is there a route, with its prefix?',
  method: ': it needs GET',
  refused: ': no parameter, or no login?',
  network: ': down, or forbidden by CORS or CSP?',
  'no-target': ' is not in the page',
  'no-connection': ': no connection left, see shared=True'
}

// Says once what is wrong, and what to do
const complaints = new Set
function complain(what, reason) {
  const text = what + ADVICE[reason]
  if (!ADVICE[reason] || complaints.has(text) || complaints.size > 99) return
  complaints.add(text)
  console.error(text)
}

// An address as fetch takes it: without a password
function strip(address) {
  const url = new URL(address, document.baseURI)
  url.username = url.password = url.hash = ''
  return url.href
}

// In a notebook the page is Jupyter's, which knows where the app is, and must not be morphed
const resolve = src => strip(window.sseResolve?.(src) ?? src)

// The selector in `hx-swap-oob`, or the element's own id
const oob = element => /:(.*)/s.exec(element.getAttribute('hx-swap-oob'))?.[1] ?? `#${CSS.escape(element.id)}`
const target = element => {
  try { return document.querySelector(oob(element)) } catch { return document.body }  // of which htmx complains
}

// Refreshes that a stream tells again when it begins anew, as it does after each of them
const obeyed = {}

async function swapIn(source, text, refreshId) {
  const message = document.createElement('template'), {content} = message
  if (/hx-swap-oob|hx-partial/.test(text)) message.innerHTML = text
  const isNamed = content.querySelector('[hx-swap-oob], [data-hx-swap-oob], hx-partial')
  // What is to be morphed, and what is to stand where an element with its id is already
  const morphs = all('[hx-swap-oob*=Morph]', content).filter(target)
  const there = all('[sse-upsert] > [id]', content).filter(({id}) => document.getElementById(id))
  for (const element of morphs) prepare(target(element), element)
  for (const child of there) {
    const box = child.parentNode.cloneNode()
    box.removeAttribute('hx-swap-oob')
    child.setAttribute('hx-swap-oob', 'outerHTML')
    child.parentNode.after(box)
    box.append(child)
  }
  try {
    teach()
    const lacks = all('[hx-swap-oob]', content).filter(element => !target(element))
    const restores = isHtmx2() ? [] : morphs.map(element => keep(target(element)))
    await swap(source, morphs[0] || there[0] ? message.innerHTML : text, source.getAttribute('hx-swap') ?? (isNamed ? 'none' : 'innerHTML'))
    for (const restore of restores) restore()
    for (const element of lacks) if (!isHtmx2() || !target(element)) {  // htmx 2 finds what came in the same message
      source.become({reason: 'no-target', error: oob(element)})
    }
    for (const list of all('[hx-swap-oob][sse-keep]', content)) {
      for (const child of [...target(list)?.children ?? []].slice(0, -list.getAttribute('sse-keep'))) swap(child, '', 'delete')
    }
    if (!obeyed[refreshId] && content.querySelector('[sse-refresh]')) {
      obeyed[refreshId] = refreshId
      while (!await refresh());
    }
  } catch (error) { console.error('sse-source could not swap', text, error) }
}

const pause = ms => new Promise(done => setTimeout(done, ms))

// Fetches the page and morphs it: once for all who ask meanwhile, one after the other, and not while a request of the page is under way.
// A page that is told of gaps in a row does so more and more slowly. Gives whether that went well.
let asked, refreshing, isMorphing, gaps = 0, failed = 0
const calm = makeTimer(() => gaps = 0)

function refresh(isGap) {
  return asked ??= Promise.resolve(refreshing).then(async () => {
    calm(0)
    await pause(isGap ? gaps && Math.min(1000 * 2 ** gaps, SLOWEST) * (1 + Math.random() / 2) : 150 + 300 * Math.random())
    if (isGap) gaps++
    for (let n = 100; n-- && document.querySelector('.htmx-request');) await pause(50)
    asked = null
    refreshing = fetchPage().then(() => !(failed = 0), error => { console.error(error); return pause(5000 * ++failed) })
    calm(SETTLED)
    return refreshing
  })
}

async function fetchPage() {
  if (window.sseResolve) return
  const sources = all('sse-source').map(source => [source, source.getAttribute('after')])
  const {href} = location, answer = await fetch(strip(href), {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE)})
  if (!answer.ok) throw Error(`${answer.status} ${href}`)
  if (answer.redirected) return location.assign(answer.url)
  const {body, title} = new DOMParser().parseFromString(await answer.text(), 'text/html')
  if (location.href != href) return fetchPage()
  prepare(document.body, body)
  isMorphing = true
  const restore = keep(document.body)
  try { await swap(document.body, body.innerHTML, 'innerMorph') }
  finally { isMorphing = false }
  restore()
  document.title = title
  for (const [source, id] of sources) source.refreshed(id)
}

function put(element, name, value) {
  if (!value) element.removeAttribute(name)
  else if (value != element.getAttribute(name)) element.setAttribute(name, value)
}

const OCCASIONS = ['pagehide', 'pageshow', 'online', 'visibilitychange', 'focus']
class SSESource extends HTMLElement {
  static observedAttributes = ['src', 'after', 'state']
  #stream; #url; #id = ''; #reason; #outcome; #wasLive; #fromStart
  // Public: `state`, and `ended` for good

  connectedCallback() {
    this.#url ??= resolve(this.getAttribute('src'))
    if (!this.state && this.getAttribute('state') == 'ended') this.close(this.getAttribute('outcome'))  // a snapshot, as htmx 2 takes them
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

  handleEvent({type}) {
    if (type == 'pagehide') this.#disconnect()
    else if (type == 'pageshow') this.open()
    else if (!document.hidden) this.#stream?.wake()
  }

  attributeChangedCallback(name, before, value) {
    if (name == 'state') return this.state && value != this.state && this.#show()  // after a morph
    if (name == 'after' && (value ?? this.#id) == this.#id) return isMorphing || put(this, name, this.#id)  // snapshots have to know
    if (name == 'src') {
      if (!before || before == value) return
      this.#url = resolve(value)
      return this.#begin()
    }
    this.#id = value
    if (this.#stream) this.#reopen()
  }

  #reopen() {
    this.#disconnect()
    queueMicrotask(() => this.open())
  }

  // As if it were new: without id, end and state
  #begin() {
    this.#reopen()
    this.#id = ''
    this.state = this.ended = this.#wasLive = this.#fromStart = this.#reason = this.#outcome = undefined
    this.removeAttribute('after')
  }

  // The page was fetched when this stood at `id`: where it goes on from, unless the new markup says so
  refreshed(id) {
    if (this.hasAttribute('after')) return
    if (this.#fromStart) this.#begin()
    else put(this, 'after', id)
  }

  open() {
    if (this.ended || this.#stream || !this.isConnected) return
    const key = this.getAttribute('shared'), credentials = this.hasAttribute('credentials') ? 'include' : 'same-origin'
    const connect = key != null && navigator.locks ? share : request
    this.#stream = connect(this.#url, this.#id, message => this.#take(message), credentials, key)
    this.become({state: 'reconnecting'})
  }

  close(outcome) {
    this.ended = true
    this.#outcome = outcome
    this.become({state: 'ended'})
  }

  #disconnect() { this.#stream = this.#stream?.close() }
  #fire(name, detail) { return this.dispatchEvent(new CustomEvent('sse:' + name, {detail, bubbles: true, cancelable: true})) }

  // State, reason and outcome are attributes too, for CSS, unless they are none
  #show() {
    put(this, 'state', this.state)
    put(this, 'reason', this.#reason)
    put(this, 'outcome', this.#outcome)
  }

  become({state = this.state, reason, status, type = '', error, since}) {
    this.#wasLive ||= state == 'live'
    this.#fromStart ||= since == 'start'
    if (state == 'reconnecting' && !this.#wasLive) state = 'connecting'
    if (state == 'stopped' || state == 'ended') this.#disconnect()
    complain(error ?? `${this.#url.replace(origin, '')}${status ? ` answered ${status} ${type}` : ''}`.trim(), reason)
    const isNews = state != this.state || reason && reason != this.#reason && !(reason == 'network' && this.#wasLive)
    this.state = state
    this.#reason = reason
    this.ended ||= status == 204
    this.#show()
    if (!isNews) return
    this.#fire('status', {state, reason, status, outcome: this.#outcome})
    if (state != 'stopped' || !reason || !this.#fire('denied', {status})) return
    const login = this.getAttribute('login')
    if (login) location.assign(login)
  }

  #take({id, event, data, isFirst, ...how}) {
    if (!this.isConnected) return
    if (how.state) this.become(how)
    if (event == 'gap' && this.#fire('gap', {data, id}) && !isFirst) return this.#catchUp(id)
    if (id != null) this.setAttribute('after', this.#id = id)
    if (event == 'message') swapIn(this, data, this.#fromStart && location + id)
    else if (event && event != 'gap') this.#fire(event, {data, id})
    if (event == 'close') this.close(data)
  }

  async #catchUp(id) {
    const missing = this.#id
    this.#disconnect()
    this.become({state: 'reconnecting'})
    if (await refresh(true) && this.#id == missing) this.setAttribute('after', id)  // the page does not know better
    this.open()
  }
}

const STATES = ['ended', 'live', 'connecting', 'reconnecting', 'stopped']  // the best first
const WORDS = {'no-connection': 'Too many tabs'}  // where the reason says more than the state

class SSEStatus extends HTMLElement {
  #morphs = new MutationObserver(() => this.handleEvent())
  connectedCallback() {
    document.addEventListener('sse:status', this)
    this.#morphs.observe(this, {attributes: true, childList: true})
    this.handleEvent()
  }

  handleEvent() {
    if (!this.isConnected) return document.removeEventListener('sse:status', this)
    const of = this.getAttribute('of'), sources = all(of ? '#' + CSS.escape(of) : 'sse-source')
    const [worst] = sources.sort((a, b) => STATES.indexOf(b.state) - STATES.indexOf(a.state))
    const state = worst?.state, reason = worst?.getAttribute('reason')
    for (const name of STATES) this.classList.toggle('sse-' + name, name == state)
    put(this, 'reason', reason)
    put(this, 'outcome', worst?.getAttribute('outcome'))
    const word = state
      ? this.getAttribute(reason) ?? WORDS[reason] ?? this.getAttribute(state) ?? state[0].toUpperCase() + state.slice(1) : ''
    if (this.textContent != word) this.textContent = word
  }
}

customElements.define('sse-source', SSESource)
customElements.define('sse-status', SSEStatus)
