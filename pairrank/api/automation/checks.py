"""Data that cannot work are refused in one message; what would mislead a reader of the results is a warning."""

from collections import Counter
from collections.abc import Iterator

from pairrank.api.sources import Source
from pairrank.data.battles import Battles, Winner
from pairrank.data.folds import assign_folds, prompt_keys, split_keys, uneven
from pairrank.errors import UserError

FEW = 500
"""Number of battles below which intervals are wide: experiments that differ can seldom be told apart."""


def check_data(source: Source) -> tuple[str, ...]:
    """Return warnings about the battles of a source.

    Raises UserError, with all complaints at once, for a training or test file that cannot be read, and for battles
    that leave none to learn from.
    """
    complaints = [complaint for part in ("train", "test") if (complaint := _complaint(source, part))]
    if not complaints:
        complaints += _too_few(source)
    if complaints:
        raise UserError("\n".join(complaints))
    return (*_train_warnings(source.train), *_test_warnings(source.train, source.test))


def _complaint(source: Source, part: str) -> str:
    """Return the message about a file that cannot be read; "" if it can, or if there is none."""
    try:
        battles: Battles | None = getattr(source, part)
        if part == "train" and battles is not None:
            _ = battles.labels
    except UserError as error:
        return str(error)
    return ""


def _too_few(source: Source) -> Iterator[str]:
    """Yield why no fold would leave battles to learn from."""
    train = source.train
    if not len(train):
        yield f"{source.path}: contains no battles. Expected battles with winners."
    elif len(set(assign_folds(train).tolist())) == 1:
        yield (
            f"{source.path}: all {len(train):,} battles are in one fold, because of their prompts, so none would "
            "be left to learn from. Expected battles with different prompts."
        )


def _train_warnings(train: Battles) -> Iterator[str]:
    n = len(train)
    if warning := train.label_warning():
        yield warning
    elif missing := [name for name, winner in _OUTCOMES.items() if winner not in train.labels]:
        yield f"No training battle ends with {' or '.join(missing)}: such results will be predicted as improbable."
    if n < FEW:
        yield f"Only {n:,} battles: intervals are wide, and experiments can hardly be told apart."
    if warning := uneven(split_keys(train)):
        yield warning
    repeated = n - len(Counter(zip(train.prompt, train.response_a, train.response_b, strict=True)))
    if repeated:
        yield f"{repeated:,} of {n:,} training battles repeat an earlier one, with the same prompt and answers."


_OUTCOMES = {"a win of A": Winner.A, "a win of B": Winner.B, "a tie": Winner.TIE}


def _test_warnings(train: Battles, test: Battles | None) -> Iterator[str]:
    if test is None or not len(test):
        yield "There are no test battles, so there will be no submission."
        return
    if test.lost_rows:
        yield (
            f"{test.lost_rows:,} rows of the test file hold no battle, so there will be no submission. `check` "
            "lists them. Correct them first."
        )
    known = set(prompt_keys(train))
    shared = sum(key in known for key in prompt_keys(test))
    if shared:
        yield (
            f"{shared:,} of {len(test):,} test battles have a prompt of a training battle. The scores here are for "
            "new prompts, so those of the test battles may be better."
        )
