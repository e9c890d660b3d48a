"""Recognises greetings and questions about the assistant itself, and writes true replies to them.

A small language model answers such questions with inventions. Only a text that is nothing but the greeting or the
question counts: "hi, what is the total?" is about the total.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edge_app.turns.replies.assistant_profile import AssistantProfile

Topic = Literal["greeting", "identity", "product", "human", "abilities", "online", "attaching"]
"""product: whether it is some other, named product. human: whether it is a person. online: where it runs and what it
sends. attaching: how to give it an image."""

MOST_ADAPTERS = 8
"""The reply about abilities lists no more."""

LONGEST = 120
"""Characters of a text that is looked at."""

_PRODUCTS = (
    r"chat ?gpt|gpt|gpt ?-?\d\w*|open ?ai|claude|anthropic|gemini|bard|google|siri|alexa|cortana|co ?pilot|bing|llama|"
    r"meta ai|mistral|grok|deep ?seek|qwen|gemma|phi|perplexity|smollm\d?|smol lm|watson|eliza"
)
_GREETING = (
    r"(?:hi+|hello+|hey+|heya|hiya|howdy|yo|greetings|hallo|hola|bonjour|ciao|good (?:morning|afternoon|evening|day))"
    r"(?: (?:there|all|everyone|again|you|friend|bot|assistant|computer|edge ?app))?"
)
_KIND = (
    r"(?:an? |the )?(?:ro)?bots?|an? (?:ai|artificial intelligence|llm|(?:large )?language model|model|machine|"
    r"computer|program|chat ?bot|assistant|computer program)|ai|llm"
)
_HUMAN = (
    r"(?:an? )?(?:real )?(?:human|person|human being|man|woman|girl|boy)|human|real|alive|sentient|conscious"
)
_NET = r"(?:the )?(?:internet|web|net|cloud|network|wifi|wi ?fi)"
_IMAGE = r"(?:an? |my |the |some )?(?:image|photo|picture|pic|screenshot|file|receipt|document)s?"

_TOPICS: tuple[tuple[Topic, str], ...] = (
    ("identity", r"(?:who|what)(?: exactly| the hell)? are you(?: exactly| really| called)?"),
    ("identity", r"who am i (?:talking|speaking|chatting|writing) (?:to|with)|to whom am i (?:talking|speaking)"),
    ("identity", r"(?:what is your|do you have an?|have you got an?|your) name|what should i call you"),
    ("identity", r"(?:who|what) you are|what your name is"),
    ("identity", r"(?:please )?(?:introduce|describe) yourself|tell me (?:about yourself|who you are|what you are)"),
    ("identity", r"are you (?:just )?(?:" + _KIND + ")"),
    ("identity", r"(?:what|which)(?: kind of| type of| sort of)? (?:ai|llm|(?:ai |language )?model|bot|assistant)"
                 r" are you(?: using| running| based on| running on)?"),
    ("identity", r"(?:what|which) (?:ai |language )?model (?:do you (?:use|run(?: on)?)|am i using)"),
    ("identity", r"(?:who|what company) (?:made|created|built|trained|developed|wrote|programmed|designed) you"),
    ("identity", r"who is your (?:maker|creator|developer|author|owner)"),
    ("human", r"are you (?:an? )?(?:" + _HUMAN + r")(?: or (?:an? )?(?:robot|bot|machine|ai|computer|program))?"),
    ("human", r"am i (?:talking|speaking|chatting) (?:to|with) (?:an? )?(?:" + _HUMAN + r"|robot|bot|machine|ai)"),
    ("product", r"are you (?:really |actually |using |based on |powered by |running |like )?(?:" + _PRODUCTS + ")"),
    ("product", r"is (?:this|that) (?:really |actually )?(?:" + _PRODUCTS + ")"),
    ("abilities", r"what (?:can|could) you do(?: for me)?(?: here)?|what do you do|what are you able to do"),
    ("abilities", r"(?:tell|show) me what you can do|what are you (?:good at|good for|for)"),
    ("abilities", r"how can you help(?: me)?|what can you help(?: me)? with|help(?: me)?"),
    ("abilities", r"what are your (?:capabilities|abilities|skills|features|functions|adapters)"),
    ("abilities", r"(?:what|which) adapters (?:do you have|are installed|have you got|are there)"),
    ("abilities", r"what (?:kind of |sort of )?(?:questions|things) can i ask(?: you)?|what can i ask(?: you)?"),
    ("online", r"are you (?:online|offline|on ?line|off ?line|local|cloud based|in the cloud|on (?:the|this) \w+)"),
    ("online", r"are you (?:running )?(?:locally|on device|on my \w+|on this (?:device|computer|machine|laptop))"),
    ("online", r"are you (?:connected|hooked up)(?: to " + _NET + r")?|where (?:do|are) you run(?:ning)?"),
    ("online", r"(?:do|can|will) you (?:use|need|have|access|browse|search|go on|see)(?: access to| an?)? " + _NET
               + r"(?: access| connection)?"),
    ("online", r"(?:do|will) you (?:send|upload|share|store|leak) (?:my |any |the )?(?:data|images?|photos?|pictures?|"
               r"questions?|anything|information)(?: (?:to|anywhere|into|over|somewhere).*)?"),
    ("online", r"(?:do|can) you work (?:offline|without (?:the )?internet)|is my data (?:private|safe|secure)"),
    ("attaching", r"how (?:do|can|should) i (?:attach|add|send|upload|share|give you|show you|load|insert) " + _IMAGE
                  + r"(?: to you| here)?"),
    ("attaching", r"can (?:you (?:see|read|look at|view|understand)|i (?:attach|send|upload|show you|give you)) "
                  + _IMAGE + r"(?: to you| here)?"),
)  # fmt: skip
_PATTERNS = tuple((topic, re.compile(pattern)) for topic, pattern in _TOPICS)
_WITH_IMAGE: frozenset[Topic] = frozenset(("greeting", "identity", "human", "product", "abilities", "online"))
"""Topics that count while an image is attached, of which other questions may be."""

_ONLY_GREETING = re.compile(rf"{_GREETING}(?: (?:and )?{_GREETING})?(?: how are you(?: doing)?(?: today)?)?")
_BEFORE = re.compile(
    rf"^(?:{_GREETING}|so|ok|okay|well|and|but|please|hm+|um+|sorry|now|actually|"
    r"(?:can|could|would|will) you (?:please )?tell me(?=\s)|i (?:want|would like) to know|excuse me|by the way|btw)\s+"
)
_AFTER = re.compile(
    r"\s+(?:please|pls|plz|then|anyway|btw|by the way|exactly|now|today|right now|though|lol)$"
)
_SPELLINGS = (
    (r"[’`]", "'"),
    (r"\b(what|who|where|how)'?s\b", r"\1 is"),
    (r"\b(?:wat|wot|whats)\b", "what"),
    (r"\bwhat (?:r|are) (?:u|ya|you)\b", "what are you"),
    (r"\bwho(?:'re| r) (?:u|ya|you)\b", "who are you"),
    (r"\br (?:u|ya|you)\b", "are you"),
    (r"\b(?:u|ya)\b", "you"),
    (r"\bur\b", "your"),
    (r"[^\w' ]+", " "),
    (r"\s+", " "),
)


def topic(text: str, *, has_image: bool) -> tuple[Topic, str] | None:
    """What a text asks about the assistant, and the text in plain spelling; None when it is about something else."""
    if len(text) > LONGEST or "\n" in text.strip():
        return None
    plain = text.lower()
    for pattern, spelling in _SPELLINGS:
        plain = re.sub(pattern, spelling, plain)
    plain = plain.strip()
    if _ONLY_GREETING.fullmatch(plain):
        return "greeting", plain
    while (match := _BEFORE.match(plain)) is not None:
        plain = plain[match.end() :]
    while (match := _AFTER.search(plain)) is not None:
        plain = plain[: match.start()]
    for found, form in _PATTERNS:
        if form.fullmatch(plain):
            if has_image and (found not in _WITH_IMAGE or plain.startswith(("is this", "is that", "help"))):
                return None
            return found, plain
    return None


def reply(about: Topic, question: str, profile: AssistantProfile) -> str:
    """question: as `topic` returns it."""
    replies = {
        "greeting": lambda: (
            f"Hello! I am an assistant on this device. Ask me something, or attach an image. {_ATTACH}"
        ),
        "identity": lambda: _identity(profile),
        "human": lambda: f"I am a program, not a person. {_identity(profile)}",
        "product": lambda: f"{_product(question, profile)} {_identity(profile)}",
        "abilities": lambda: _abilities(profile),
        "online": lambda: _where(profile),
        "attaching": lambda: f"I look at one image at a time. {_ATTACH}",
    }
    return replies[about]()


_ATTACH = (
    'To attach one, write its path into the question, as in "What is in ~/photos/cat.jpg?"; in the chat, Ctrl+O picks '
    "a file, on the command line there is --image, and a request to the server has image_url."
)


def _identity(profile: AssistantProfile) -> str:
    what = f" ({profile.description.partition(':')[0]})" if profile.description else ""
    return f"I am edge-app, an assistant that runs on this device. My model is {profile.model}{what}."


def _product(question: str, profile: AssistantProfile) -> str:
    match = re.search(rf"(?:{_PRODUCTS})$", question)
    name = re.sub(r"[ -]", "", match[0]) if match else ""
    known = re.sub(r"[ -]", "", f"{profile.model} {profile.description}".lower())
    return "In part." if name and name in known else "No."


def _abilities(profile: AssistantProfile) -> str:
    text = "I answer questions and talk about images, on this device. I make mistakes, and say how sure I am."
    if profile.adapters:
        shown = profile.adapters[:MOST_ADAPTERS]
        lines = [f"- {each.name}" + (f": {each.description}" if each.description else "") for each in shown]
        if len(profile.adapters) > len(shown):
            lines.append(f"- and {len(profile.adapters) - len(shown)} more (`edge-app adapters list`)")
        text += " For some kinds of images, adapters are installed:\n\n" + "\n".join(lines) + "\n\n"
    else:
        text += " No adapter is installed. "
    return text + _ATTACH


def _where(profile: AssistantProfile) -> str:
    here = "I run on this device and answer here, without the internet."
    if profile.endpoint is None:
        return f"{here} No cloud is set up, so no question and no image leaves this device."
    if profile.offline:
        return f"{here} {_capital(profile.endpoint)} is set up, but the app is offline, so nothing is sent."
    return f"{here} {_capital(profile.endpoint)} is set up; a question or an image goes there only with your consent."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
