"""Battles that a schema can hold completely, on the sides that it gives them, for laws about all schemas."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from pairrank.data.battles import TEXTS, Battles, concatenate, object_array
from pairrank.data.cells import decoded
from pairrank.data.formats.vote import is_first
from tests.support.strategies import NAME, valid_battles

PLAIN_NAME = NAME.filter(lambda text: decoded(text) is text and "_" not in text)
"""A name that is not JSON, which would be read as a list, and has no underscore, which separates models."""


@dataclass(frozen=True)
class Holds:
    """What a schema holds besides texts and, where it has them, winners."""

    names: tuple[str, ...] = ()
    """Columns of names and details that are given."""
    single: bool = False
    """Whether a prompt has one turn."""
    labelled: bool | None = True
    """Whether battles have winners; None for either."""
    ties: bool = True
    drawn: bool = False
    """Whether the file does not say which answer was on the left."""
    strength: float = 0.0
    """Strength of a win, 0 for none."""
    both_bad: bool = False
    shared: bool = False
    """Whether both sides have the same answers before the last ones."""


MODELS = ("model_a", "model_b")
HOLDS = {
    "alpaca_eval": Holds((*MODELS, "judge", "category"), single=True, labelled=None, drawn=True),
    "arena_140k": Holds((*MODELS, "group", "language", "category", "time"), both_bad=True),
    "auto_j": Holds(("category",), single=True, labelled=None),
    "chatbot_arena": Holds((*MODELS, "judge", "language", "category", "time"), both_bad=True),
    "comparia": Holds((*MODELS, "group", "judge", "language", "category", "time")),
    "helpsteer": Holds(("language", "category"), labelled=None, strength=1 / 3, both_bad=True, shared=True),
    "hh_rlhf": Holds(ties=False, drawn=True),
    "kaggle": Holds(MODELS, labelled=None),
    "mt_bench": Holds((*MODELS, "group", "judge")),
    "pandalm": Holds((*MODELS, "judge", "category"), single=True),
    "reward_bench": Holds((*MODELS, "category"), single=True, ties=False, drawn=True),
    "trl_preference": Holds(ties=False, drawn=True, strength=0.5),
    "webgpt": Holds(("group", "category"), single=True, labelled=None, strength=0.25),
    "wsdm": Holds((*MODELS, "language"), single=True, ties=False),
}
"""By schema; those that are only read are missing."""


@st.composite
def held_battles(draw: st.DrawFn, schema: str) -> Battles:
    """Any battles that a file of this schema holds completely."""
    holds = HOLDS[schema]
    battles = draw(valid_battles(least=1, labelled=holds.labelled))
    battles = replace(battles, soft=None, model_a=None, model_b=None)
    if holds.single:
        battles = replace(
            battles, **{name: object_array([turns[:1] for turns in getattr(battles, name)]) for name in TEXTS}
        )
    if holds.shared:
        pairs = zip(battles.response_a, battles.response_b, strict=True)
        battles = replace(battles, response_b=object_array([(*a[:-1], b[-1]) for a, b in pairs]))
    if not holds.ties:  # such schemas have a chosen answer, which differs from the other one
        pairs = zip(battles.response_a, battles.response_b, strict=True)
        other = [b if a != b else (*b[:-1], f"{b[-1]}!") for a, b in pairs]
        battles = replace(battles, winner=battles.labels % 2, response_b=object_array(other))
    columns = {name: object_array([draw(PLAIN_NAME) for _ in battles.id]) for name in holds.names}
    battles = replace(battles, **columns)
    if schema == "mt_bench":  # a battle without a group would be a question of its own
        battles = replace(battles, group=object_array([f"q{name}" for name in battles.group]))
    if schema == "pandalm":
        judges = [draw(st.sampled_from(["annotator1", "annotator2", "annotator3"])) for _ in battles.id]
        battles = replace(battles, judge=object_array(judges))
    if schema == "comparia":  # the winner is given by its name
        named = {name: [f"{name[-1]}{model}" for model in getattr(battles, name)] for name in MODELS}
        battles = replace(battles, **{name: object_array(models) for name, models in named.items()})
    if battles.winner is not None and holds.strength:
        battles = replace(battles, strength=np.array([1.0, -1.0, 0.0])[battles.winner] * holds.strength)
    if battles.winner is not None and holds.both_bad:
        bad = np.array([draw(st.booleans()) for _ in battles.id])
        battles = replace(battles, both_bad=bad & (battles.winner == 2))
    return on_its_sides(battles) if holds.drawn else battles


def on_its_sides(battles: Battles) -> Battles:
    """The battles on the sides that a schema draws whose files do not say which answer was on the left."""
    rows = [battles.take(slice(i, i + 1)) for i in range(len(battles))]
    return concatenate([row if _is_drawn_so(row) else row.swap() for row in rows])


def _is_drawn_so(row: Battles) -> bool:
    prompt, one, other = (getattr(row, name)[0] for name in TEXTS)
    return one == other or is_first(prompt, one, other)
