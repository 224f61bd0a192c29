"""Measurements of single texts agree with values worked out by hand."""

import math
import zlib

import pytest

from pairrank.features.contexts import PAIRS, PROMPTS
from pairrank.features.parsed_text import ParsedText
from pairrank.features.sides import SIDES


def side(group: str, *answer: str, prompt: str = "") -> dict[str, float]:
    return SIDES[group](ParsedText(answer), ParsedText((prompt,)))


def test_words_consist_of_letters_digits_and_inner_apostrophes() -> None:
    assert ParsedText(("Don’t stop-me, 2nd_try! 'ok'",)).words == ["don't", "stop", "me", "2nd", "try", "ok"]
    assert ParsedText(("漢字 ok",)).words == ["漢", "字", "ok"]


def test_length_counts_the_characters_of_all_turns() -> None:
    # "ab", a line break, "cde": six characters.
    assert side("length", "ab", "cde") == {"chars": pytest.approx(math.log(1 + 6))}
    assert PROMPTS["length"](ParsedText(("abcd",))) == {"prompt_chars": pytest.approx(math.log(1 + 4))}


def test_turns_measure_words_sentences_lines_and_single_turns() -> None:
    got = side("turns", "One two. Three!", "", "four\n\nfive v1.2")
    # 15 characters, 0 and 15, with two line breaks between: 32. Words: one two three four five v1 2.
    expected = {
        "words": math.log(8),
        "root_chars": math.sqrt(32),
        "last": math.log(16),
        "first": math.log(16),
        "shortest": 0.0,
        "longest": math.log(16),
        "empty": 1 / 3,
        "sentences": math.log(3),
        "lines": math.log(4),
        "words_a_sentence": math.log1p(7 / 3),
        "chars_a_line": math.log1p(32 / 3),
    }
    assert got == pytest.approx(expected)


def test_repetition_measures_repeated_words_pairs_and_lines() -> None:
    got = side("repetition", "a b a b\na b a b\nc")
    # Nine words of three types; eight pairs: ab ba bc; seven triples: aba bab abc; three lines of two kinds.
    packed = len(zlib.compress(b"a b a b\na b a b\nc", 6))
    expected = {
        "types": 3 / 9,
        "root_types": 3 / 3,
        "early_types": 3 / 9,
        "once": 1 / 9,
        "commonest": 4 / 9,
        "pairs": 1 - 3 / 8,
        "triples": 1 - 3 / 7,
        "lines": 1 / 3,
        "zlib": packed / 17,
        "information": math.log(1 + packed),
    }
    assert got == pytest.approx(expected)
    assert side("repetition", *["x y"] * 200)["early_types"] == pytest.approx(2 / 100)


def test_refusals_hedges_and_questions_back_are_counted() -> None:
    got = side(
        "refusal", "I’m sorry, but I cannot do that. However, as an AI language model, I might. Let me know!"
    )
    # Refusals: "i'm sorry, but", "i cannot". Machine: "as an ai", "language model". Apology: "i'm sorry".
    # Hedges: "however", "might". 18 words.
    expected = {
        "refusals": math.log(3),
        "refuses": 1.0,
        "at_once": 1.0,
        "machine": math.log(3),
        "apologies": math.log(2),
        "hedges": math.log(3),
        "hedge_rate": 2 / 38,
        "questions_back": math.log(2),
    }
    assert got == pytest.approx(expected)
    assert set(side("refusal", "Paris is the capital of France.").values()) == {0.0}
    late = side("refusal", "I cannot.", "x" * 300 + " I cannot.")
    assert (late["refuses"], late["at_once"], late["refusals"]) == (1.0, 0.0, pytest.approx(math.log(3)))


def test_style_counts_markdown_and_punctuation() -> None:
    text = '# Head\n- one\n  * two\n1. first\n2) second\n| a | b |\n**bold** ```code``` 😀 "q", what? yes!'
    expected = {
        "bullets": math.log(3),
        "numbered": math.log(3),
        "headings": math.log(2),
        "bold": math.log(2),
        "fences": math.log(2),
        "table_rows": math.log(2),
        "emoji": math.log(2),
        "exclamations": math.log(2),
        "questions": math.log(2),
        "quotes": math.log(3),
        # head one two 1 first 2 second a b bold code q what yes: one comma in 14 words.
        "commas": 1 / 14,
        "unfinished": 0.0,
        "offer": 0.0,
    }
    assert side("style", text) == pytest.approx(expected)
    assert side("style", "Sure thing and then")["offer"] == 1.0
    assert side("style", "Sure thing and then")["unfinished"] == 1.0
    assert side("style", "3-4 * 2 is no list")["bullets"] == 0.0


def test_words_are_common_long_personal_or_numbers() -> None:
    got = side("words", "I think your 12 elephants é")
    # i think your 12 elephants é: stop words i, your; long: elephants; 1 + 5 + 4 + 2 + 9 + 1 = 22 letters in 27
    # characters with 5 spaces.
    expected = {
        "stop": 2 / 6,
        "long": 1 / 6,
        "letters": 22 / 6,
        "me": 1 / 6,
        "you": 1 / 6,
        "digits": 1 / 6,
        "foreign": 1 / 27,
        "signs": 0.0,
    }
    assert got == pytest.approx(expected)
    assert side("words", "a-b!")["signs"] == pytest.approx(2 / 4)


def test_relevance_is_the_share_of_the_prompts_content_words() -> None:
    got = side(
        "relevance", "Green whales swim, whales sing", prompt="What do whales and dolphins eat when they swim?"
    )
    # Prompt: whales dolphins swim (eat is short, the rest are stop words). Answer: green whales swim sing.
    assert got["covered"] == pytest.approx(2 / 3)
    assert got["borrowed"] == pytest.approx(2 / 4)
    assert got["opening"] == pytest.approx(2 / 3)
    assert got["foreign"] == 0.0
    assert got["times_prompt"] == pytest.approx(math.log(1 + 30 / (47 + 20)))
    assert side("relevance", "да", prompt="yes")["foreign"] == 1.0
    late = side("relevance", " ".join(["x"] * 40 + ["whales"]), prompt="whales")
    assert (late["covered"], late["opening"]) == (1.0, 0.0)


def test_prompt_measures_the_kind_of_request() -> None:
    prompt = PROMPTS["prompt"]
    got = prompt(ParsedText(("How many?\nWhat is the sum of 12 and 3?",)))
    expected = {
        "turns": 0.0,
        "last_chars": math.log(1 + 38),
        "lines": math.log(3),
        "question_marks": math.log(3),
        "ends_asking": 1.0,
        "asking": 1.0,
        "making": 0.0,
        "working": 0.0,
        "fiction": 0.0,
        "sums": 1.0,
        "code": 0.0,
        "digits": 3 / 38,
        "foreign": 0.0,
        # how many what is the sum of 12 and 3: 3 + 4 + 4 + 2 + 3 + 3 + 2 + 2 + 3 + 1 letters in ten words.
        "letters": 27 / 10,
        "types": 1.0,
    }
    assert got == pytest.approx(expected)
    assert prompt(ParsedText(("Write a poem",)))["making"] == 1.0
    assert prompt(ParsedText(("Write a poem",)))["fiction"] == 1.0
    assert prompt(ParsedText(("Explain it", "Why")))["working"] == 1.0
    assert prompt(ParsedText(("Explain it", "Why")))["turns"] == pytest.approx(math.log(2))
    assert all(prompt(ParsedText((text,)))["code"] == 1.0 for text in ("in python", "x = 1;", "```", "int f() {"))


def test_similarity_compares_words_pairs_characters_and_beginnings() -> None:
    got = PAIRS["similarity"](ParsedText(("The blue whale 42",)), ParsedText(("the blue shark 42",)))
    expected = {
        "length_ratio": 1.0,
        "words": 3 / 5,
        "content": 1 / 3,
        "contained": 1 / 2,
        # the-blue of the-blue blue-whale whale-42 blue-shark shark-42.
        "pairs": 1 / 5,
        # 14 shingles each; those within "the blue " are 6, and the rest differ.
        "shingles": 6 / 22,
        "numbers": 1.0,
        "prefix": math.log(1 + 9),
        "equal": 0.0,
    }
    assert got == pytest.approx(expected)
    empty = PAIRS["similarity"](ParsedText(("",)), ParsedText(("",)))
    assert (empty["equal"], empty["words"], empty["length_ratio"], empty["contained"]) == (1.0, 1.0, 1.0, 0.0)
    halves = PAIRS["similarity"](ParsedText(("ab",)), ParsedText(("abcd",)))
    assert (halves["length_ratio"], halves["prefix"]) == (0.5, pytest.approx(math.log(3)))
