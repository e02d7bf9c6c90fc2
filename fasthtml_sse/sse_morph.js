// Makes `swap.morph` work on htmx 2, through Idiomorph, which the page has to load. htmx 4 morphs by itself.
addEventListener('DOMContentLoaded', () => {
  if (!window.Idiomorph || !window.htmx?.version.startsWith('2.')) return
  const styles = {outerMorph: 'outerHTML', innerMorph: 'innerHTML'}, root = document.documentElement
  htmx.defineExtension('sse-morph', {
    isInlineSwap: style => style == 'outerMorph',
    handleSwap(style, target, fragment) {
      const content = [...fragment.childNodes].map(node => node.cloneNode(true))  // taking an <option> away would select another
      return styles[style] && Idiomorph.morph(target, content, {morphStyle: styles[style], ignoreActiveValue: true})
    }
  })
  root.setAttribute('hx-ext', [root.getAttribute('hx-ext'), 'sse-morph'].filter(Boolean).join())
})
