"""Measurements of one answer: functions f(answer, prompt) that are applied to both sides."""

import math
import re
import zlib
from collections.abc import Callable
from itertools import compress, pairwise

from pairrank.features.parsed_text import ParsedText, share
from pairrank.features.phrases import APOLOGIES, HEDGES, MACHINE, OFFERS, QUESTIONS_BACK, REFUSALS, STOP_WORDS

Measure = Callable[[ParsedText, ParsedText], dict[str, float]]
"""Returns measurements by name from an answer and its prompt."""

# Every repetition in a pattern is bounded or can end in one way only, so that matching takes linear time.
SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)|[。！？]")
BULLET = re.compile(r"^[ \t]{0,12}[-*•+][ \t]", re.MULTILINE)
NUMBERED = re.compile(r"^[ \t]{0,12}\d{1,3}[.)][ \t]", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}[ \t]", re.MULTILINE)
TABLE_ROW = re.compile(r"^[ \t]{0,12}\|", re.MULTILINE)
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")

LONG_WORD = 7
"""Smallest number of letters of a long word, as in the LIX readability index (Björnsson 1968)."""
SENTENCE_MARKS = ".!?。！？:;)]}\"'`*|"
"""Characters at the end of a complete answer. An answer with another end was probably cut off."""


def length(answer: ParsedText, prompt: ParsedText) -> dict[str, float]:
    """Measure the logarithm of the number of characters in all turns."""
    return {"chars": math.log1p(len(answer.text))}


def turns(answer: ParsedText, prompt: ParsedText) -> dict[str, float]:
    """Measure length in words, sentences and lines, and its distribution over the turns."""
    sizes = [len(turn) for turn in answer.turns]
    sentences = len(SENTENCE_END.findall(answer.text))
    return {
        "words": math.log1p(len(answer.words)),
        "root_chars": math.sqrt(len(answer.text)),
        "last": math.log1p(sizes[-1]),
        "first": math.log1p(sizes[0]),
        "shortest": math.log1p(min(sizes)),
        "longest": math.log1p(max(sizes)),
        "empty": share(sum(not turn.strip() for turn in answer.turns), len(sizes)),
        "sentences": math.log1p(sentences),
        "lines": math.log1p(len(answer.lines)),
        "words_a_sentence": math.log1p(len(answer.words) / (sentences + 1)),
        "chars_a_line": math.log1p(share(len(answer.text), len(answer.lines))),
    }


def repetition(answer: ParsedText, prompt: ParsedText) -> dict[str, float]:
    """Measure repetition: of words, of pairs and triples of words, of lines, and by compression."""
    words, counts = answer.words, answer.counts
    n = len(words)
    packed = len(zlib.compress(answer.text.encode("utf-8", "replace"), 6))
    pairs, triples = n - 1, n - 2
    return {
        "types": share(len(counts), n),
        "root_types": len(counts) / math.sqrt(n) if n else 0.0,
        "early_types": share(len(set(words[:100])), min(n, 100)),
        "once": share(list(counts.values()).count(1), n),
        "commonest": share(max(counts.values(), default=0), n),
        "pairs": 1 - len(set(pairwise(words))) / pairs if pairs > 0 else 0.0,
        "triples": 1 - len(set(zip(words, words[1:], words[2:], strict=False))) / triples if triples > 0 else 0.0,
        "lines": 1 - share(len(set(answer.lines)), len(answer.lines)) if answer.lines else 0.0,
        "zlib": min(share(packed, len(answer.text)), 2.0),
        "information": math.log1p(packed),
    }


def refusal(answer: ParsedText, prompt: ParsedText) -> dict[str, float]:
    """Measure refusals, apologies, hedging and questions to the user."""
    text = answer.lower
    beginning = answer.turns[-1][:200].lower().replace("’", "'")
    refusals, hedges = _count(text, REFUSALS), _count(text, HEDGES)
    return {
        "refusals": math.log1p(refusals),
        "refuses": float(refusals > 0),
        "at_once": float(_count(beginning, REFUSALS) > 0),
        "machine": math.log1p(_count(text, MACHINE)),
        "apologies": math.log1p(_count(text, APOLOGIES)),
        "hedges": math.log1p(hedges),
        "hedge_rate": share(hedges, len(answer.words) + 20),
        "questions_back": math.log1p(_count(text, QUESTIONS_BACK)),
    }


def style(answer: ParsedText, prompt: ParsedText) -> dict[str, float]:
    """Measure Markdown and punctuation."""
    text = answer.text
    tail = answer.turns[-1].rstrip()
    return {
        "bullets": math.log1p(len(BULLET.findall(text))),
        "numbered": math.log1p(len(NUMBERED.findall(text))),
        "headings": math.log1p(len(HEADING.findall(text))),
        "bold": math.log1p(text.count("**") // 2),
        "fences": math.log1p(text.count("```") // 2),
        "table_rows": math.log1p(len(TABLE_ROW.findall(text))),
        "emoji": math.log1p(len(EMOJI.findall(text))),
        "exclamations": math.log1p(text.count("!")),
        "questions": math.log1p(text.count("?")),
        "quotes": math.log1p(text.count('"')),
        "commas": share(text.count(","), len(answer.words)),
        "unfinished": float(bool(tail) and tail[-1] not in SENTENCE_MARKS),
        "offer": float(answer.lower.lstrip().startswith(OFFERS)),
    }


def words(answer: ParsedText, prompt: ParsedText) -> dict[str, float]:
    """Measure the kinds of words: stop words, long words, pronouns, numbers."""
    counts = answer.counts
    n = len(answer.words)
    letters = sum(map(len, answer.words))
    return {
        "stop": share(sum(counts[word] for word in counts.keys() & STOP_WORDS), n),
        "long": share(sum(compress(counts.values(), map(LONG_WORD.__le__, map(len, counts)))), n),
        "letters": share(letters, n),
        "me": share(counts["i"] + counts["my"] + counts["me"] + counts["i'm"], n),
        "you": share(counts["you"] + counts["your"], n),
        "digits": share(sum(map(counts.__getitem__, answer.numbers)), n),
        "foreign": answer.foreign,
        "signs": share(len(answer.text) - letters - answer.text.count(" "), len(answer.text)),
    }


def relevance(answer: ParsedText, prompt: ParsedText) -> dict[str, float]:
    """Measure which share of the prompt's content words the answer contains, and the reverse."""
    requested, answered = prompt.content, answer.content
    common = len(requested & answered)
    return {
        "covered": share(common, len(requested)),
        "borrowed": share(common, len(answered)),
        "opening": share(len(requested & set(answer.words[:40])), len(requested)),
        "foreign": abs(answer.foreign - prompt.foreign),
        "times_prompt": math.log1p(len(answer.text) / (len(prompt.text) + 20)),
    }


def _count(text: str, phrases: tuple[str, ...]) -> int:
    """Return the number of occurrences of all phrases."""
    return sum(map(text.count, phrases))


SIDES: dict[str, Measure] = {
    "length": length,
    "turns": turns,
    "repetition": repetition,
    "refusal": refusal,
    "style": style,
    "words": words,
    "relevance": relevance,
}
"""Functions that measure an answer, by group."""
