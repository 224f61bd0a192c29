"""What the tests of several models that are fine-tuned share."""

import pytest
from transformers.trainer_utils import SaveStrategy

from pairrank.training import fine_tuning


@pytest.fixture
def without_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no checkpoints: after epochs of one step they take most of the time, and they change no weight."""
    arguments = fine_tuning._training_arguments

    def unsaved(*given):
        made = arguments(*given)
        made.save_strategy = SaveStrategy.NO
        return made

    monkeypatch.setattr(fine_tuning, "_training_arguments", unsaved)
