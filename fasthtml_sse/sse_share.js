// One connection for all tabs. The tab that holds the lock of an address requests it, and passes on what comes:
//
//   {at, id, event, data}  an event that came to a tab which stood at the id `at`. Who stands there too takes it, and stands at `id` then
//   {at, id, state, …}     how the stream is; it moves nobody
//   {asks: true}           a tab wants to know how the stream is: the one that holds the lock answers
//   {asks: true, wakes: true}  the same from a tab that is looked at again: the one that holds the lock looks whether it still hears
//
// A tab that stands elsewhere, or hears nothing, requests by itself, until it and the others stand at the same id.
function share(url, id, take, credentials, key) {
  const name = `sse-source ${key} ${url}`, channel = new BroadcastChannel(name)
  const over = new AbortController(), {signal} = over, expectWithin = makeTimer(requestAlone)
  let leads, live, own, heard = Date.now()

  function pass(message) {
    id = message.id ?? id
    if (message.state) live = message.state == 'live' && message
    take(message)
  }

  function requestAlone() {
    expectWithin(0)
    own ??= request(url, id, message => {
      if (leads || !id == !message.state) channel.postMessage(leads ? {at: id, id, ...message} : {asks: true})
      pass(message)
    }, credentials)
  }

  function endOwn() { own = own?.close() }

  channel.onmessage = ({data: {asks, wakes, at, ...message}}) => {
    if (wakes && leads) own.wake()
    if (asks && leads && live) channel.postMessage({at: id, id, ...live})
    if (asks || leads || !id && !live) return
    heard = Date.now()
    if (at != id && message.id != id) return message.event ? requestAlone() : expectWithin(GRACE)
    endOwn()
    if (at == id) pass(message)
    if (signal.aborted) return
    if (!live) channel.postMessage({asks: true})
    expectWithin(live == undefined ? GRACE : live.patience)
  }
  navigator.locks.request(name, {signal}, () => signal.aborted || new Promise(done => {
    leads = true
    signal.addEventListener('abort', done)
    requestAlone()
  })).catch(() => {})
  channel.postMessage({asks: true})
  expectWithin(id ? GRACE : 1)  // without an id, what the server says first has to come first

  return {
    close() { over.abort(); endOwn(); channel.close(); expectWithin(0) },
    wake() {
      if (own) return own.wake()
      channel.postMessage({asks: true, wakes: true})
      if (live && Date.now() - heard > live.patience / 3) expectWithin(GRACE)
    }
  }
}
