"""Whether the hub can be reached is asked once per process, because each request to an unreachable one is slow."""

import functools
import os
import threading

PROBE_SECONDS = 3.0
"""Seconds that the reachability probe may take; without it a request to an unreachable hub takes up to 47 s."""


def hub_is_available() -> bool:
    """Return whether the environment allows requests to the model hub."""
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and os.environ.get("TRANSFORMERS_OFFLINE") != "1"


@functools.cache
def hub_is_reachable() -> bool:
    """Return whether the model hub answers within `PROBE_SECONDS`. The result is kept for the whole process."""
    from huggingface_hub import constants, get_session

    if not hub_is_available():
        return False
    answers = []

    def probe() -> None:
        try:
            answers.append(get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS))
        except Exception:  # any failure of the network means that the hub is not reachable
            return

    # In a thread, because the time-out of a request does not cover a name server that does not answer.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return bool(answers)
