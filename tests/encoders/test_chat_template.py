"""A layout has its gaps where the chat template puts the message, on every day, or the template is refused."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pairrank.encoders.chat_template import DATE, chat_pieces, encode_layout, opening_tokens
from tests.support.architectures import write_checkpoint
from tests.support.judges import CHAT
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


def test_the_filled_layout_is_what_the_template_makes_of_the_filled_message(chatty):
    before, between, after = chat_pieces(chatty, MESSAGE)
    whole = chatty.apply_chat_template(
        [{"role": "user", "content": "Read this:\nred\nand this:\nblue\nWell?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert f"{before}red{between}blue{after}" == whole
    assert after.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_the_date_is_always_the_same(chatty):
    chatty.chat_template = "Today is {{ strftime_now('%d %b %Y') }}, {{ date_string }}. " + CHAT
    assert chat_pieces(chatty, MESSAGE)[0].startswith(f"Today is {DATE}, {DATE}. <|im_start|>user\nRead")


def test_thinking_is_turned_off(chatty):
    chatty.chat_template = CHAT + "{% if enable_thinking is false %}<think></think>{% endif %}"
    assert chat_pieces(chatty, MESSAGE)[-1].endswith("assistant\n<think></think>")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[0]['content'] }}{{ messages[0]['content'] }}", "whole and once"),
        ("{{ messages[0]['content'][:12] }}", "whole and once"),
        ("{{ messages[0]['content'].replace('<<gap 2>>', '') }}", "whole and once"),
        ("{{ messages[0]['content'].replace('Well', 'Now') }}", "whole and once"),
        ("Hello", "whole and once"),
        ("{{ raise_exception('no\nuser') }}", "fails (TemplateError: no"),
        ("{% if %}", "fails (TemplateSyntaxError"),
        ("{{ messages[0].missing.more }}", "fails (UndefinedError"),
    ],
)
def test_a_template_that_cannot_show_the_message_is_refused(chatty, template: str, reason: str):
    chatty.chat_template = template
    message = complaint(lambda: chat_pieces(chatty, MESSAGE))
    assert reason in message
    assert 'Set template to "plain"' in message


def test_control_tokens_of_the_layout_are_single_tokens(qwen):
    start = qwen.convert_tokens_to_ids("<|im_start|>")
    assert encode_layout(qwen, "<|im_start|>user").tolist()[0] == start
    assert encode_layout(qwen, "").tolist() == []


@pytest.mark.parametrize(
    ("name", "expected"), [("llama", ["<|begin_of_text|>"]), ("qwen2", []), ("bert", ["[CLS]"])]
)
def test_a_plain_text_begins_as_the_tokenizer_begins_it(name: str, expected: list[str], tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(write_checkpoint(tmp_path, name))
    assert tokenizer.convert_ids_to_tokens(opening_tokens(tokenizer).tolist()) == expected
