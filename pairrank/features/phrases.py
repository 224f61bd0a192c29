"""Lists of the words and phrases that are counted, in lower case and with straight apostrophes."""


def _words(text: str) -> frozenset[str]:
    """Return the set of words in a text."""
    return frozenset(text.split())


STOP_WORDS = _words(
    """a about after all also an and any are as at be because been but by can could did do does for from get had
    has have he her him his how i if in into is it its just like many me more most my no not of on one only or
    other our out over she so some such than that the their them then there these they this to two up us was we
    were what when where which who will with would you your"""
)
"""The most frequent English words. A text with few of them is a list, code or another language."""

CODE_WORDS = _words("python javascript java code sql function script html css api bash regex rust")
"""Words of prompts about programs."""
FICTION = _words("story poem joke song lyrics haiku fiction character scene novel essay")
"""Words of prompts that request fiction."""
SUMS = _words("calculate solve equation sum probability math number integer percent prove")
"""Words of prompts about arithmetic."""
ASKING = _words("what who when where which why how is are can does do did was")
"""First words of questions."""
MAKING = _words("write create make generate give list tell draft compose build act")
"""First words of requests for a new text."""
WORKING = _words("explain summarize translate rewrite rephrase correct analyze compare describe")
"""First words of requests to process a given text."""

REFUSALS = (
    "i cannot",
    "i can't",
    "i can not",
    "i'm not able to",
    "i am not able to",
    "i'm unable to",
    "i am unable to",
    "i'm sorry, but",
    "i am sorry, but",
    "sorry, i ",
    "i won't",
    "i will not",
    "i must decline",
    "i don't feel comfortable",
    "i do not feel comfortable",
    "not appropriate",
    "inappropriate",
    "against my",
    "unethical",
    "harmful",
    "offensive",
    "i don't have access",
    "i do not have access",
    "i don't have the ability",
    "i do not have the ability",
    "can't assist",
    "cannot assist",
    "can't help with",
    "cannot fulfill",
    "cannot provide",
)
"""Phrases that refuse a request or give the reason for a refusal."""

MACHINE = (
    "as an ai",
    "language model",
    "i'm an ai",
    "i am an ai",
    "i don't have personal",
    "i do not have personal",
    "i don't have feelings",
    "my training data",
    "my knowledge",
    "knowledge cutoff",
    "real-time",
    "openai",
)
"""Phrases in which the answer refers to itself as a program."""

APOLOGIES = ("i apologize", "my apologies", "i'm sorry", "i am sorry", "sorry for", "apologies for")
"""Phrases of apologies."""

HEDGES = (
    "it's important to",
    "it is important to",
    "important to note",
    "please note",
    "keep in mind",
    "however",
    "it depends",
    "may not",
    "might",
    "perhaps",
    "generally",
    "typically",
    "it's worth noting",
    "it is worth noting",
    "consult",
    "i'm not sure",
    "i am not sure",
    "it's possible",
    "it is possible",
    "difficult to",
    "there is no",
    "not possible to",
)
"""Phrases that qualify a statement."""

QUESTIONS_BACK = (
    "could you please",
    "can you please",
    "could you provide",
    "can you provide",
    "please provide",
    "more context",
    "more information about",
    "clarify",
    "did you mean",
    "what would you like",
    "let me know",
    "feel free to",
    "how can i help",
    "how can i assist",
    "do you have any",
)
"""Phrases that ask the user to continue."""

OFFERS = ("sure", "certainly", "of course", "absolutely", "great question", "here is", "here's", "here are")
"""Beginnings of answers that comply with the request."""
