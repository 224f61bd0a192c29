"""The preference file of HelpSteer2, whose columns have other names than those of HelpSteer3.

Source: the data set card of HelpSteer2 (preference), by public code that reads it.
"""

from pairrank.data.formats.base import register
from pairrank.data.formats.helpsteer import HelpSteer2


@register
class HelpSteer2Preference(HelpSteer2):
    """A prompt, two answers, and the strength of the preference from -3 to 3."""
