"""A layout has its gaps where the chat template puts the message, on every day, or the template is refused."""

import pytest
from transformers import AutoTokenizer

from pairrank.encoders.chat import DATE, USE_PLAIN, chat_pieces, encode_layout, uses_chat
from tests.support.architectures import write_checkpoint
from tests.support.language_models import CHAT
from tests.support.runs import complaint

MESSAGE = ("Read this:\n", "\nand this:\n", "\nWell?")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory):
    return AutoTokenizer.from_pretrained(write_checkpoint(tmp_path_factory.mktemp("qwen"), "qwen2"))


@pytest.fixture
def chatty(qwen):
    qwen.chat_template = CHAT
    yield qwen
    qwen.chat_template = None


def pieces_of(tokenizer) -> list[str]:
    return chat_pieces(tokenizer, [MESSAGE], USE_PLAIN, generate=True)


def test_the_filled_layout_is_what_the_template_makes_of_the_filled_message(chatty):
    before, between, after = pieces_of(chatty)
    whole = chatty.apply_chat_template(
        [{"role": "user", "content": "Read this:\nred\nand this:\nblue\nWell?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert f"{before}red{between}blue{after}" == whole
    assert after.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_the_date_is_always_the_same(chatty):
    chatty.chat_template = "Today is {{ strftime_now('%d %b %Y') }}, {{ date_string }}. " + CHAT
    assert pieces_of(chatty)[0].startswith(f"Today is {DATE}, {DATE}. <|im_start|>user\nRead")


def test_thinking_is_turned_off(chatty):
    chatty.chat_template = CHAT + "{% if enable_thinking is false %}<think></think>{% endif %}"
    assert pieces_of(chatty)[-1].endswith("assistant\n<think></think>")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[0]['content'] }}{{ messages[0]['content'] }}", "whole, once and in order"),
        ("{{ messages[0]['content'][:12] }}", "whole, once and in order"),
        ("{{ messages[0]['content'].replace('xq2qx', '') }}", "whole, once and in order"),
        ("{{ messages[0]['content'].replace('Well', 'Now') }}", "whole, once and in order"),
        ("Hello", "whole, once and in order"),
        ("{{ raise_exception('no\nuser') }}", "fails (TemplateError: no"),
        ("{% if %}", "fails (TemplateSyntaxError"),
        ("{{ messages[0].missing.more }}", "fails (UndefinedError"),
    ],
)
def test_a_template_that_cannot_show_the_message_is_refused(chatty, template: str, reason: str):
    chatty.chat_template = template
    message = complaint(lambda: pieces_of(chatty))
    assert reason in message
    assert 'Set template to "plain"' in message


def test_control_tokens_of_the_layout_are_single_tokens(qwen):
    start = qwen.convert_tokens_to_ids("<|im_start|>")
    assert encode_layout(qwen, "<|im_start|>user").tolist()[0] == start
    assert encode_layout(qwen, "").tolist() == []


def test_a_conversation_has_a_gap_for_each_message(chatty):
    pieces = chat_pieces(chatty, [("", "")] * 4, USE_PLAIN)
    texts = ["red", "blue", "one", "two"]
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    filled = "".join(piece + text for piece, text in zip(pieces, [*texts, ""], strict=True))
    assert filled == chatty.apply_chat_template(messages, tokenize=False)


@pytest.mark.parametrize("template", ["{% for m in messages | reverse %}{{ m.content }}{% endfor %}", CHAT * 2])
def test_a_template_that_changes_the_order_of_messages_or_repeats_them_is_refused(chatty, template: str):
    chatty.chat_template = template
    assert "whole, once and in order" in complaint(lambda: chat_pieces(chatty, [("", "")] * 2, USE_PLAIN))


def test_a_template_that_does_not_ask_for_the_time_is_rendered_as_it_is(chatty):
    """White space at the beginning of a template is part of the chat."""
    chatty.chat_template = "  \n" + CHAT
    assert chat_pieces(chatty, [("", "")], USE_PLAIN)[0] == "  \n<|im_start|>user\n"


def test_a_chat_is_used_if_there_is_a_template_and_required_where_it_is_asked_for(chatty):
    assert [uses_chat(chatty, form) for form in ("auto", "chat", "plain")] == [True, True, False]
    chatty.chat_template = None
    assert [uses_chat(chatty, form) for form in ("auto", "plain")] == [False, False]
    assert "has no chat template" in complaint(lambda: uses_chat(chatty, "chat"))
