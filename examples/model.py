"A model to ask: Anthropic's or OpenAI's, where the environment has a key for it, else one that is written here."
import asyncio, os, re

NAME = os.environ.get('MODEL')  # a name that the provider knows

def said(turns):
    "Their messages; an answer that is to come has no text."
    return [dict(role=role, content=text) for turn in turns for role, text in (('user', turn.prompt), ('assistant', turn.text)) if text]

if os.environ.get('ANTHROPIC_API_KEY'):
    from anthropic import AsyncAnthropic
    client = AsyncAnthropic()
    def ask(messages):
        return client.messages.create(model=NAME or 'claude-haiku-4-5', max_tokens=2000, messages=messages, stream=True)

elif os.environ.get('OPENAI_API_KEY'):
    from openai import AsyncOpenAI
    client = AsyncOpenAI()
    def ask(messages):
        return client.chat.completions.create(model=NAME or 'gpt-5.4-mini', messages=messages, stream=True)

else:
    PAUSE = 0.04  # seconds for each word
    ANSWER = '''Question {}: *“{}”*

I know nothing, but I can **format**:

1. Each word comes by itself, as text.
2. At the end it becomes Markdown.
3. Markup stays text, such as <b>this</b> or <script>alert('this')</script>.

```python
for loaf in oven:
    if loaf.minutes < 30: print('not yet & not now')
```

| bread | grams | baked for |
|---|---|---|
| rye | 500 | an hour |
| wheat | 750 | forty minutes |

Stop me, or close this page: ten seconds later I stop by myself. Ask me to *fail*, and I break off.
'''

    async def ask(messages):
        "The words of an answer that looks like one. It fails halfway if it is asked to."
        prompt = messages[-1]['content']
        number = sum(message['role'] == 'user' for message in messages)
        words = re.findall(r'\s*\S+', ANSWER.format(number, prompt))
        for n, word in enumerate(words):
            if n == 40 and 'fail' in prompt.lower(): raise RuntimeError('The model was told to fail')
            yield word
            await asyncio.sleep(PAUSE)
