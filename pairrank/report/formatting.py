"""Names, intervals and provenance as text."""

from math import isfinite

import tomli_w

from pairrank.evaluation.intervals import Mean
from pairrank.evaluation.manifest import Manifest
from pairrank.evaluation.run_record import RunRecord


def one_line(name: str) -> str:
    """Return an untrusted name with `�` for characters that are not printable, such as those that reverse text."""
    return "".join(c if c.isprintable() else "�" for c in name)


def interval_ends(mean: Mean, form: str) -> str:
    """Return the ends of an interval as text, or "[one prompt]" if there is no interval."""
    return f"[{mean.low:{form}}, {mean.high:{form}}]" if isfinite(mean.low) else "[one prompt]"


def provenance(record: RunRecord) -> dict[str, str]:
    """Return what is known about a run's data, hashes, encoder, seed, device, commit and versions."""
    encoder, data = record.encoder, record.data
    known = {
        "data": f"{data.name}, {data.battles:,} battles, hash {data.hash}",
        "predictions": record.predictions,
        "identity": record.identity,
        "encoder": f"{encoder.name}, SHA-256 {encoder.sha256}" if encoder else None,
        "seed": record.model.get("seed"),
        "device": record.device,
        "commit": record.commit,
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "inputs": ", ".join(f"{label} ({digest})" for label, digest in record.inputs.items()),
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def origin(manifest: Manifest) -> dict[str, str]:
    """Return what the manifest of an entry says about where its predictions come from."""
    source, data = manifest.source, manifest.data
    known = {
        "about": manifest.about,
        "made by": manifest.by,
        "address": manifest.url,
        "training data": manifest.trained_on or "not declared",
        "entered": manifest.entered,
        "file": f"{source.name}, SHA-256 {source.sha256}" if source else "",
        "given as": manifest.form,
        "predictions": f"{manifest.predictions.battles:,} battles, SHA-256 {manifest.predictions.sha256}",
        "data": f"{data.name}, {data.battles:,} battles, hash {data.hash}",
    }
    return {name: value for name, value in known.items() if value}


def configuration(record: RunRecord) -> str:
    """Return the resolved experiment as TOML, without parameters that are None, which TOML does not have."""
    set_values = {key: value for key, value in record.experiment.items() if value is not None}
    return tomli_w.dumps(set_values)
