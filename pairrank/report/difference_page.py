"""The page about the difference between two runs: settings, scores, slices, and battles gained and lost."""

from collections.abc import Sequence

from pairrank.evaluation.run_difference import ChangedSetting, RunDifference, SliceDifference
from pairrank.report.cards import Reason, card
from pairrank.report.formatting import interval_ends
from pairrank.report.page import BattlePrediction, Block, Card, Cards, Page, Section, Table, Text

SHOWN = 20
"""Battles that are shown for a gain, and for a loss."""

SLICES = (
    "Change of the log loss on slices (battles with one property in common). The intervals are not corrected for "
    "the number of slices: of twenty slices without a change, about one has an interval that excludes 0."
)


def difference_page(difference: RunDifference) -> Page:
    """Return the page about the change from the first run to the second."""
    first, second = difference.first.label, difference.second.label
    sections = [
        Section("Difference", [Text(summary(difference)), score_table(difference)]),
        Section("Settings", _settings(difference)),
        Section(
            "Slices", [slice_table(difference.slices)] if difference.slices else [Text("No slice is large enough.")]
        ),
        Section("Battles gained and lost", _battles(difference)),
    ]
    return Page(
        f"From {first} to {second}: {difference.data}",
        f"{len(difference.battles):,} battles that both have predicted, scored out of fold by log loss (nats, "
        "lower is better).",
        sections,
        "Made by pairrank diff.",
    )


def summary(difference: RunDifference) -> str:
    """Return the result in two sentences."""
    first, second = difference.first.label, difference.second.label
    found = difference.difference
    if found.low <= 0 <= found.high:
        verdict = f"{first} and {second} cannot be told apart on these battles"
    else:
        verdict = f"{second} is {'better' if found.mean < 0 else 'worse'} than {first}"
    better, worse, equal = difference.counts
    return (
        f"{verdict}: the log loss changes by {found}. {better:,} battles are predicted better, {worse:,} worse and "
        f"{equal:,} equally well."
    )


def score_table(difference: RunDifference) -> Table:
    """Return the scores of both runs."""
    means = [float(losses.mean()) for losses in difference.losses]
    right = [int((proba.argmax(axis=1) == difference.battles.labels).sum()) for proba in difference.probabilities]
    gained, lost = difference.hits
    rows = [
        ["log loss", *(f"{mean:.4f}" for mean in means), str(difference.difference)],
        ["most probable outcome observed", *(f"{count:,}" for count in right), f"+{gained:,} -{lost:,}"],
    ]
    caption = "Scores of both runs on the same battles; [ ] is a 95 % interval from a bootstrap over prompts"
    labels = difference.first.label, difference.second.label
    return Table(["score", *labels, "change"], rows, caption, terms=_order(labels))


def setting_table(settings: Sequence[ChangedSetting], kind: str, caption: str, labels: Sequence[str]) -> Table:
    """Return the settings of one kind that differ."""
    rows = [[each.key, each.first, each.second] for each in settings if each.kind == kind]
    return Table([kind, *labels], rows, caption, terms=_order(labels))


def slice_table(slices: Sequence[SliceDifference]) -> Table:
    """Return the change of the log loss on each slice."""
    rows = [
        [
            f"{each.kind}: {each.name}",
            f"{each.change.battles:,}",
            f"{each.change.mean:+.4f} {interval_ends(each.change, '+.4f')}",
        ]
        for each in slices
    ]
    return Table(["slice", "battles", "Δ log loss [95 %]"], rows, SLICES)


def _order(labels: Sequence[str]) -> dict[str, str]:
    """Return the terms that explain the columns of the two runs."""
    return dict(zip(labels, ("first", "second"), strict=True))


def settings_note(difference: RunDifference) -> str:
    """Return a sentence if there are no settings to show; "" otherwise."""
    if difference.settings is None:
        unknown = [each.label for each in (difference.first, difference.second) if each.record is None]
        return f"The settings of {' and '.join(unknown)} are unknown: pairrank has only the predictions."
    if all(each.kind == "provenance" for each in difference.settings):
        return "No setting differs."
    return ""


def _settings(difference: RunDifference) -> list[Block]:
    note, found = settings_note(difference), difference.settings or ()
    labels = difference.first.label, difference.second.label
    blocks: list[Block] = [Text(note)] if note else []
    captions = {
        "setting": "Settings that differ",
        "provenance": "Differences of place and time: data, versions, commit",
    }
    kinds = {each.kind for each in found}
    return blocks + [setting_table(found, kind, text, labels) for kind, text in captions.items() if kind in kinds]


def _battles(difference: RunDifference) -> list[Block]:
    intro = (
        f"The {SHOWN} battles whose loss falls most from {difference.first.label} to {difference.second.label} "
        f"(gained), and the {SHOWN} whose loss rises most (lost); the largest change comes first. A single vote is "
        "noisy: such battles show where two runs differ, and not which of them is right."
    )
    shown = [*difference.gained(SHOWN), *difference.lost(SHOWN)]
    shown.sort(key=lambda row: -abs(float(difference.change[row])))
    return [Text(intro), Cards("changes", [_card(difference, row) for row in shown])]


def _card(difference: RunDifference, row: int) -> Card:
    change = float(difference.change[row])
    labels = difference.first.label, difference.second.label
    reason = Reason("gained" if change < 0 else "lost", labels, abs(change))
    return card(difference.battles, difference.survey, row, [reason], predictions_at(difference, row))


def predictions_at(difference: RunDifference, row: int) -> list[BattlePrediction]:
    """Return the predictions of both runs for one battle."""
    found = []
    entries = (difference.first, difference.second)
    for entry, proba, losses in zip(entries, difference.probabilities, difference.losses, strict=True):
        a, b, tie = proba[row].tolist()
        found.append(BattlePrediction(entry.label, (a, b, tie), float(losses[row])))
    return found
