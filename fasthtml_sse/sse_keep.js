// What the user was doing survives a morph. htmx 4 morphs by itself, htmx 2 through Idiomorph; both replace an element that they cannot
// match. So what was typed, chosen, ticked, opened, scrolled and played is noted before, and put back after. Where the server's markup of
// a field is another than before, the server's counts.
const FIELDS = 'option, textarea, input:not([type=hidden]), [contenteditable]'
const drafts = new WeakMap  // by element that is written into: what the server's markup had there

addEventListener('beforeinput', ({target}) => {
  const host = target.isContentEditable && target.closest('[contenteditable]')
  if (host && !drafts.has(host)) drafts.set(host, host.innerHTML)
}, true)

// Whether a morph may go into `old`: not where somebody writes
const mayMorph = (old, next) => !drafts.has(old) || next.contentEditable == 'inherit' ||
  old != document.activeElement && drafts.get(old) != next.innerHTML

// The properties with what a field says, and with what the server's markup has it say
const properties = field => field.localName == 'option' ? ['selected', 'defaultSelected'] :
  /^(checkbox|radio)$/.test(field.type) ? ['checked', 'defaultChecked'] :
  field.files ? ['files', 'type'] : 'form' in field ? ['value', 'defaultValue'] : ['innerHTML', 'innerHTML']

// What two fields have in common that are the same to the user
const kind = field => [field.closest('[id]')?.id, field.localName, field.type, (field.closest('select') ?? field).getAttribute('name'),
  /ed$/.test(properties(field)[0]) && field.value].join()

const all = (selector, root = document) => [...root.querySelectorAll(selector)]

// A function that finds, in other markup, what stands there as `element` does in `root`: by id, or by number in what has an id around it
const byId = (id, root) => root.id == id ? root : root.querySelector(`[id="${CSS.escape(id)}"]`)
function locate(element, root) {
  const {id, localName, parentElement} = element, box = parentElement?.closest('[id]'), isInside = box != root && root.contains(box)
  const number = all(localName, isInside ? box : root).indexOf(element)
  return other => id ? byId(id, other) : all(localName, isInside && byId(box.id, other) || other)[number]
}
const within = (selector, root) => [...root.matches(selector) ? [root] : [], ...all(selector, root)]
const opened = root => within('details[open], dialog[open], [popover]', root).filter(box => !box.popover || box.matches(':popover-open'))

// Opens in the markup `next` what is open in `root`, so that a morph does not close it; and takes away what would take the focus
function prepare(root, next) {
  for (const element of within('[autofocus]', next)) element.removeAttribute('autofocus')
  for (const box of opened(root)) {
    const twin = locate(box, root)(next)
    if (twin && !box.popover) twin.setAttribute('open', '')
    else if (!twin && root == document.body && box.localName != 'details') next.append(box.cloneNode(true))  // htmx brought it
  }
}

// Notes what the user does in `root`. Returns a function that puts it back.
function keep(root) {
  const around = root.parentElement, active = document.activeElement, {selectionStart, selectionEnd} = active
  const marked = getSelection(), {anchorNode, anchorOffset, focusNode, focusOffset} = marked
  const fields = within(FIELDS, root).map(field => {
    const [says, given] = properties(field)
    return [field, kind(field), field[says], drafts.get(field) ?? field[given], field == active && !/ed$/.test(says)]
  })
  const notes = []
  const note = (element, restore) => notes.push([element, root.contains(element) && locate(element, root), restore])
  for (const box of opened(root)) {
    const isModal = box.matches('dialog:modal')
    note(box, twin => {
      if (box.popover) return twin.matches(':popover-open') || twin.showPopover()
      twin.open = true
      if (isModal && !twin.matches(':modal')) { twin.open = false; twin.showModal() }
    })
  }
  for (const media of within('audio, video', root)) if (!media.paused) note(media, twin => {
    if (!twin.paused) return
    twin.currentTime = media.currentTime
    twin.play().catch(() => {})
  })
  note(active, twin => {
    if (twin != document.activeElement) twin.focus({preventScroll: true})
    twin.offsetTop  // lays it out: in Firefox a key is lost that comes to a field before that, where a morph has moved it
    if (selectionStart != null) {
      if (twin.selectionStart + twin.selectionEnd != selectionStart + selectionEnd) twin.setSelectionRange(selectionStart, selectionEnd)
    } else if (anchorNode && anchorNode != marked.anchorNode) marked.setBaseAndExtent(anchorNode, anchorOffset, focusNode, focusOffset)
  })
  for (const view of [document.scrollingElement, ...within('*', root)]) {
    const {scrollTop: top, scrollLeft: left} = view
    if (top || left) note(view, twin => twin.scrollTo({top, left, behavior: 'instant'}))
  }

  return () => {
    const now = root.isConnected ? root : byId(root.id, around) ?? around
    const free = new Set(all(FIELDS, around)), last = [], twins = new Map  // `free`: fields that are nobody's yet
    const stayed = fields.map(([field, was]) => kind(field) == was && free.delete(field) && field)
    for (const [field, was, what, markup, isBusy] of fields) {
      const twin = stayed.shift() || [...free].find(other => kind(other) == was)
      if (!twin) continue
      free.delete(twin)
      twins.set(field, twin)
      const [says, given] = properties(twin), put = value => { if (twin[says] != value) twin[says] = value }
      if (!isBusy && twin[given] != markup && twin[given] != what) {
        drafts.delete(twin)
        last.push(() => put(twin[given]))
      } else {
        if (drafts.has(field)) drafts.set(twin, markup)
        put(what)
      }
    }
    for (const put of last) put()
    for (const [element, find, restore] of notes) {
      const twin = twins.get(element) ?? (element.isConnected ? element : find && find(now))
      try { if (twin) restore(twin) } catch {}  // it has become another kind
    }
  }
}

const isHtmx2 = () => htmx.version.startsWith('2.')
function swap(element, text, style) {
  if (isHtmx2()) return htmx.swap(
    element, text, {swapStyle: style.split(' ')[0], swapDelay: 0, settleDelay: 0, transition: false}, {contextElement: element}
  )
  // htmx 4 would do this with `location.href`, which is refused where the page's address holds a password
  if (!history.state?.htmx) history.replaceState({htmx: true}, '')
  return htmx.swap({text, sourceElement: element, target: element, swap: style})
}

// Lets htmx 2 morph, and keeps htmx 4 from morphing where somebody writes
let taught
function teach() {
  if (taught == window.htmx) return
  taught = htmx
  if (!isHtmx2()) return htmx.registerExtension?.(
    'sse-morph', {htmx_before_morph_node: (_, {oldNode, newNode}) => mayMorph(oldNode, newNode)}
  )
  const styles = {outerMorph: 'outerHTML', innerMorph: 'innerHTML'}, page = document.documentElement
  window.Idiomorph ??= loadIdiomorph()
  htmx.defineExtension('sse-morph', {
    isInlineSwap: style => style == 'outerMorph',
    handleSwap(style, target, {childNodes}) {
      if (!styles[style]) return
      const content = [...childNodes].map(node => node.cloneNode(true))  // taking an <option> away would select another
      const restore = keep(target), callbacks = {beforeNodeMorphed: mayMorph}
      const nodes = Idiomorph.morph(target, content, {morphStyle: styles[style], ignoreActiveValue: true, callbacks})
      restore()
      for (const node of nodes) if (node.localName) { htmx.process(node); htmx.trigger(node, 'htmx:load') }
      return true  // no list of nodes: htmx would focus what has `autofocus` there
    }
  })
  page.setAttribute('hx-ext', [page.getAttribute('hx-ext'), 'sse-morph'].filter(Boolean).join())
}
