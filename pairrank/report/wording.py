"""Names, intervals and provenance as text."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import tomli_w

from pairrank.evaluation.scoring import Mean


def one_line(name: str) -> str:
    """Return an untrusted name with `�` for characters that are not printable, such as those that reverse text."""
    return "".join(c if c.isprintable() else "�" for c in name)


def ends(mean: Mean, form: str) -> str:
    """Return the ends of an interval as text; there is no interval for one prompt."""
    return f"[{mean.low:{form}}, {mean.high:{form}}]" if isfinite(mean.low) else "[one prompt]"


def facts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of a run's data, hashes, encoder, seed, device, commit and versions."""
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
    """Return the resolved experiment as TOML, without parameters that are None, which TOML does not have."""
    kept = {key: value for key, value in metrics["experiment"].items() if value is not None}
    return tomli_w.dumps(kept)
