"""A row of the leaderboard in the form of Every Eval Ever, a shared schema for results of evaluations.

The schema is `eval.schema.json`, version 0.2.2, at https://github.com/evaleval/every_eval_ever.
"""

import hashlib
from typing import Any
from uuid import UUID

import numpy as np

from pairrank.evaluation.entries import Entry
from pairrank.evaluation.leaderboard import Leaderboard, Row
from pairrank.evaluation.scoring import MIN_PROBABILITY

SCHEMA_VERSION = "0.2.2"
UNKNOWN = "unknown"
BOOTSTRAP_SAMPLES = 10_000
"""Samples from which the leaderboard takes its standard errors (`intervals.bootstrap_means`)."""


def record_of(
    board: Leaderboard, row: Row, entry: Entry, content_hash: str, organization: str, version: str, timestamp: float
) -> dict[str, Any]:
    """Return the results of a row as the content of a file.

    `content_hash` is that of the battles, `organization` has made the evaluation, `version` is that of pairrank,
    and `timestamp` is the time of the export in seconds since 1970.
    """
    model = f"{developer_of(entry, organization)}/{row.label}"
    relationship = "other" if entry.record is None else "first_party"
    source = {
        "dataset_name": board.data,
        "source_type": "other",
        "additional_details": {"battles": str(board.battles), "content_hash": content_hash},
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{board.data}/{model}/{timestamp}",
        "retrieved_timestamp": str(timestamp),
        "source_metadata": {
            "source_name": f"pairrank leaderboard of {board.data}",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": relationship,
        },
        "eval_library": {"name": "pairrank", "version": version},
        "model_info": _model_info(row, entry, model, developer_of(entry, organization)),
        "evaluation_results": [
            _log_loss(row) | {"source_data": source},
            _accuracy(row) | {"source_data": source},
        ],
    }


def developer_of(entry: Entry, organization: str) -> str:
    """Return who made a row: the maker that an entry names, else the organization for a run, else "unknown"."""
    if entry.record is not None:
        return organization
    return (entry.manifest.by if entry.manifest else "") or UNKNOWN


def identifier(entry: Entry, content_hash: str) -> UUID:
    """Return a version-4 UUID of a row's predictions, equal in every export of the same predictions."""
    digest = hashlib.sha256(f"{content_hash} {entry.label}\0".encode())
    digest.update("\0".join(entry.predictions.id.tolist()).encode())
    digest.update(np.ascontiguousarray(entry.predictions.proba).tobytes())
    return UUID(bytes=digest.digest()[:16], version=4)


def _model_info(row: Row, entry: Entry, model: str, developer: str) -> dict[str, Any]:
    """Return what is known about the predictor; its details are texts, as the schema requires."""
    record, manifest = entry.record, entry.manifest
    known = {
        "about": record.experiment.get("about") if record else manifest.about if manifest else None,
        "architecture": record.model["name"] if record else None,
        "encoder": row.encoder,
        "parameters": row.parameters,
        "seed": row.seed,
        "training_data": (manifest.trained_on or "not declared") if manifest else None,
        "url": manifest.url if manifest else None,
    }
    details = {key: str(value) for key, value in known.items() if value not in (None, "")}
    return {"name": row.label, "id": model, "developer": developer, "additional_details": details}


def _log_loss(row: Row) -> dict[str, Any]:
    return {
        "evaluation_name": "log_loss",
        "metric_config": {
            "evaluation_description": "Out-of-fold log loss of A wins, B wins and tie, in nats",
            "metric_id": "log_loss",
            "metric_unit": "nats",
            "lower_is_better": True,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": float(-np.log(MIN_PROBABILITY)),
        },
        "score_details": {
            "score": row.log_loss,
            "uncertainty": {
                "standard_error": {"value": row.standard_error, "method": "bootstrap over prompts"},
                "num_samples": row.battles,
                "num_bootstrap_samples": BOOTSTRAP_SAMPLES,
            },
        },
    }


def _accuracy(row: Row) -> dict[str, Any]:
    return {
        "evaluation_name": "accuracy",
        "metric_config": {
            "evaluation_description": "Share of battles whose most probable outcome was observed",
            "metric_id": "accuracy",
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
        },
        "score_details": {"score": row.accuracy, "uncertainty": {"num_samples": row.battles}},
    }
