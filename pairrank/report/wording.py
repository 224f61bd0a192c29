"""Names, intervals and provenance in words."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import tomli_w

from pairrank.evaluation.scoring import Mean


def one_line(name: str) -> str:
    """An untrusted name with everything that is not printable, such as a turn of the writing direction, marked."""
    return "".join(c if c.isprintable() else "�" for c in name)


def ends(mean: Mean, form: str) -> str:
    """The ends of an interval; of one prompt nothing is known."""
    return f"[{mean.low:{form}}, {mean.high:{form}}]" if isfinite(mean.low) else "[one prompt]"


def facts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Data, hashes, encoder, seed, device, commit and versions, as far as they are known."""
    encoder, data = metrics.get("encoder"), metrics["data"]
    known = {
        "data": f"{data['name']}, {data['battles']:,} battles, hash {data['hash']}",
        "predictions": metrics.get("predictions"),
        "identity": metrics.get("identity"),
        "encoder": f"{encoder['name']}, SHA-256 {encoder['sha256']}" if encoder else None,
        "seed": metrics["experiment"].get("model", {}).get("seed"),
        "device": metrics.get("device"),
        "commit": metrics.get("commit"),
        "versions": ", ".join(f"{name} {version}" for name, version in metrics.get("versions", {}).items()),
        "inputs": ", ".join(f"{label} ({digest})" for label, digest in metrics.get("inputs", {}).items()),
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def configuration(metrics: Mapping[str, Any]) -> str:
    """The resolved experiment as TOML, which has no null."""
    kept = {key: value for key, value in metrics["experiment"].items() if value is not None}
    return tomli_w.dumps(kept)
