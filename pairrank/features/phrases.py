"""The words and phrases that are counted: lower case, straight apostrophes."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS = _words(
    """a about after all also an and any are as at be because been but by can could did do does for from get had
    has have he her him his how i if in into is it its just like many me more most my no not of on one only or
    other our out over she so some such than that the their them then there these they this to two up us was we
    were what when where which who will with would you your"""
)
"""The commonest English words: a text with too few of them is a list, code or another language."""

CODE_WORDS = _words("python javascript java code sql function script html css api bash regex rust")
"""Words of a prompt about programs."""
FICTION = _words("story poem joke song lyrics haiku fiction character scene novel essay")
"""Words of a prompt that wants a text made up."""
SUMS = _words("calculate solve equation sum probability math number integer percent prove")
"""Words of a prompt about arithmetic."""
ASKING = _words("what who when where which why how is are can does do did was")
"""First words of a question."""
MAKING = _words("write create make generate give list tell draft compose build act")
"""First words of an order for something new."""
WORKING = _words("explain summarize translate rewrite rephrase correct analyze compare describe")
"""First words of an order to work on what is given."""

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
"""Declining the request, or saying what it would take to decline it."""

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
"""Speaking of itself as a program."""

APOLOGIES = ("i apologize", "my apologies", "i'm sorry", "i am sorry", "sorry for", "apologies for")
"""Being sorry, with or without a refusal."""

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
"""Taking back a part of what was said."""

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
"""Handing the turn back to the user."""

OFFERS = ("sure", "certainly", "of course", "absolutely", "great question", "here is", "here's", "here are")
"""How a willing answer begins."""
