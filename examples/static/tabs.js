// Draws the tabs of this page. Each holds a lock with its name; the one that also holds the lock of the shared source has the stream.
const mine = document.querySelector('#tabs').textContent.trim()

async function draw() {
  const source = document.querySelector('sse-source').getAttribute('src')
  const list = document.querySelector('#tabs')
  const {held} = await navigator.locks.query()
  const holder = held.find(lock => lock.name.endsWith(source))?.clientId
  const number = lock => +lock.name.slice(4)
  const html = held.filter(lock => lock.name.startsWith('Tab ')).sort((a, b) => number(a) - number(b)).map(({name, clientId}) =>
    `<li${clientId == holder ? ' class="holder"' : ''}${name == mine ? ' aria-current="true"' : ''}>${name}</li>`).join('')
  if (list.innerHTML != html) list.innerHTML = html
}

if (navigator.locks) {
  navigator.locks.request(mine, {mode: 'shared'}, () => new Promise(() => {}))
  setInterval(draw, 300)
} else document.querySelector('#alone').hidden = false
