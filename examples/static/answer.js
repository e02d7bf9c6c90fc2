// Follows the text as it grows, unless the reader has scrolled up
const talk = document.querySelector('.talk'), question = document.querySelector('#prompt')
let follows = true, last = 0

function follow() { if (follows) talk.scrollTop = talk.scrollHeight }

talk.addEventListener('scroll', () => {
  const isAtEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 40
  follows = isAtEnd || follows && talk.scrollTop >= last
  last = talk.scrollTop
})
question.form.addEventListener('submit', () => follows = true)
new ResizeObserver(follow).observe(talk.firstElementChild)

// Enter sends; with Shift it is a new line
question.addEventListener('keydown', event => {
  if (event.key != 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  question.form.requestSubmit()
})
