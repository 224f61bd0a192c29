"""Settings of a program are the changes that `--set` reads, and a model is an experiment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.api.experiments import find_experiment, settings_as_texts
from pairrank.errors import UserError
from pairrank.models.base import build
from pairrank.runs.overrides import override

VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4), max_size=3),
)


@given(VALUES)
def test_a_value_is_read_again_as_it_was_given(value: object):
    [text] = settings_as_texts({"key": value})
    values: dict[str, object] = {}
    override(values, *text.split("=", 1))
    assert values["key"] == value
    assert type(values["key"]) is type(value)


def test_nested_values_and_those_of_numpy_have_the_texts_that_people_write():
    settings = {
        "training": {"epochs": np.int64(2)},
        "encoder": ["minilm"],
        "pooling": "cls",
        "yes": True,
        "no": "1",
    }
    texts = ["training.epochs=2", 'encoder=["minilm"]', "pooling=cls", "yes=true", 'no="1"']
    assert settings_as_texts(settings) == texts

    assert settings_as_texts(["a=1", "b=x"]) == ["a=1", "b=x"]


def test_a_model_without_an_experiment_of_its_name_is_one_by_itself():
    experiment = find_experiment(build("gbdt", learner="multinomial", groups=["length"]))
    assert (experiment.name, experiment.model) == ("gbdt", "gbdt")
    assert experiment.parameters["groups"] == ("length",)
    assert experiment.label.startswith("gbdt+learner=multinomial+groups=")


def test_a_model_that_needs_inputs_is_refused():
    with pytest.raises(UserError, match="needs at least one"):
        find_experiment(build("pool"))
