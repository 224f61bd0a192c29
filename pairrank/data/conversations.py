"""Conversations as lists of messages, which many files have, become a prompt and answers in turns."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairrank.data.turns import DECODER, Turns
from pairrank.errors import excerpt, shorten

USER = ("user", "human", "prompter")
ASSISTANT = ("assistant", "gpt", "model", "bot")


class Message(NamedTuple):
    """What one side of a conversation said at once."""

    role: str
    """"user", "assistant" or "system"."""
    text: str


class ConversationError(ValueError):
    """A cell holds no conversation; the message says what was found."""


def messages_of(cell: Any) -> list[Message]:
    """Return the messages in a cell: a list of {role, content}, as it is or as JSON.

    A content is a text or a list of parts; of the parts, the texts count, and a picture becomes "[image]". Raises
    ConversationError for anything else.
    """
    if isinstance(cell, str):
        try:
            cell = DECODER.decode(cell)
        except (ValueError, RecursionError):
            raise ConversationError(f"is {excerpt(cell, 40)}, expected a list of messages") from None
    if not isinstance(cell, list | tuple) or not cell:
        raise ConversationError(f"is {excerpt(cell, 40)}, expected a list of messages")
    return [_message_of(each) for each in cell]


def _message_of(value: Any) -> Message:
    if not isinstance(value, Mapping):
        raise ConversationError(f"contains {excerpt(value, 40)}, expected messages (role, content)")
    role = str(value.get("role", value.get("from", ""))).strip().lower()
    if "content" not in value and "value" not in value:
        raise ConversationError(f"contains {excerpt(value, 40)}, expected messages with a content")
    content = value["content"] if "content" in value else value["value"]
    named = "user" if role in USER else "assistant" if role in ASSISTANT else role
    if named not in ("user", "assistant", "system"):
        raise ConversationError(f"has the role {excerpt(role, 40)}, expected user, assistant or system")
    return Message(named, _text_of(content))


def _text_of(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else [content]
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            texts.append(_text_of_part(part))
        else:
            raise ConversationError(f"has the content {excerpt(content, 40)}, expected text or a list of parts")
    return "\n".join(text for text in texts if text)


def _text_of_part(part: Mapping[str, Any]) -> str:
    """Return the text of a part, or its kind in brackets; all kinds of pictures are "[image]"."""
    if not part or isinstance(part.get("text"), str):
        return str(part.get("text", ""))
    kind = str(part.get("type") or ("text" if "text" in part else "image"))
    if kind == "text" and part.get("text") is not None:
        raise ConversationError(f"has a part {excerpt(part, 40)}, expected text in it")
    return "" if kind == "text" else "[image]" if "image" in kind else f"[{shorten(kind, 40)}]"


def turns_of(messages: Sequence[Message]) -> tuple[Turns, Turns]:
    """Return the user's turns and the answers to them, one answer per turn.

    A system message is put before the first turn. Messages of one side that follow each other are one turn.
    """
    prompts: list[str] = []
    answers: list[str] = []
    system = "\n\n".join(message.text for message in messages if message.role == "system")
    for message in messages:
        if message.role == "user":
            if len(prompts) > len(answers):
                prompts[-1] = f"{prompts[-1]}\n\n{message.text}"
            else:
                prompts.append(message.text)
        elif message.role == "assistant":
            if len(answers) < len(prompts):
                answers.append(message.text)
            elif answers:
                answers[-1] = f"{answers[-1]}\n\n{message.text}"
            else:  # an answer to nothing
                prompts.append("")
                answers.append(message.text)
    if len(answers) < len(prompts):
        answers.append("")
    if system:
        prompts[:1] = [f"{system}\n\n{prompts[0]}" if prompts else system]
        answers = answers or [""]
    return tuple(prompts) or ("",), tuple(answers) or ("",)


def paired_turns(one: Sequence[Message], other: Sequence[Message]) -> tuple[Turns, Turns, Turns]:
    """Return the prompt and both answers of two conversations that a user has had side by side.

    Raises ConversationError if the user's turns differ; the shorter conversation is padded with empty answers.
    """
    prompt, answers = turns_of(one)
    prompt_b, answers_b = turns_of(other)
    shared = min(len(prompt), len(prompt_b))
    if prompt[:shared] != prompt_b[:shared]:
        raise ConversationError("the user's turns of both conversations differ, expected the same")
    longer = max(prompt, prompt_b, key=len)
    pad = ("",) * len(longer)
    return longer, (answers + pad)[: len(longer)], (answers_b + pad)[: len(longer)]


def to_messages(prompt: Turns, answers: Turns) -> list[dict[str, str]]:
    """Return a conversation as messages (role, content)."""
    return [
        {"role": role, "content": text}
        for turn in zip(prompt, answers, strict=True)
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
