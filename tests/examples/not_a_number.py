"""A memory that predicts NaN."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pairrank.models.memory import Memory

from pairrank.data.battles import Battles
from pairrank.models.base import register


@register("not_a_number")
@dataclass
class NotANumber(Memory):
    """A model that no probability comes from."""

    def predict_proba(self, battles: Battles) -> Any:
        return super().predict_proba(battles) * np.nan
