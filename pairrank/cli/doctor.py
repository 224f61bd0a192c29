"""`doctor` shows what pairrank uses on this machine, and how to install what is missing."""

import os
from pathlib import Path

from pairrank.cli.console import say, show_repairs
from pairrank.data.battles import Battles
from pairrank.data.folder import find_data
from pairrank.encoders.backend_choice import describe_rates, known_measurements
from pairrank.encoders.catalogue import PINNED, STATIC, WHEELS, find_encoder
from pairrank.encoders.devices import default_backend, device_name
from pairrank.encoders.download import SPLIT_WHEELS
from pairrank.errors import UserError
from pairrank.runs.provenance import commit, versions
from pairrank.vector_cache import open_cache


def doctor(data: Path | None) -> None:
    """Print versions, device, encoders and data."""
    for package, version in versions().items():
        say(f"{package:22}{version}")
    say(f"{'commit':22}{commit() or 'not a checkout'}")
    say(f"{'device':22}{device_name()}")
    for measured in known_measurements():
        what = f"{measured.encoder}, {measured.kind}, {measured.max_tokens} tokens"
        say(f"{'backend':22}{what}: {describe_rates(measured)}")
    say(f"{'backend':22}{default_backend()} where nothing was measured; a long run measures its encoder")
    for name in (*WHEELS, *SPLIT_WHEELS, *PINNED):
        try:
            found = find_encoder([name])
            say(f"{'encoder':22}{name}: {found.folder}, SHA-256 {found.sha256[:16]}…")
        except UserError as error:
            reasons = str(error).splitlines()
            say(f"{'encoder':22}{reasons[min(1, len(reasons) - 1)].strip(' -')}")
    for name, made_from in STATIC.items():
        say(f"{'encoder':22}{name}: built from {made_from} on first use")
    try:
        cache = open_cache()
        count, size = cache.size() if cache else (0, 0)
        off = "switched off by PAIRRANK_NO_CACHE" if os.environ.get("PAIRRANK_NO_CACHE") else "not used"
        where = cache.file if cache else off
        say(f"{'cache':22}{where}: {count:,} vectors, {size / 1e6:,.0f} MB")
    except UserError as error:
        say(f"{'cache':22}{error}")
    source = find_data(data)
    kind = "the sample that is shipped with pairrank" if source.is_sample else "yours"
    for part in ("train", "test"):
        try:
            battles: Battles | None = getattr(source, part)
        except UserError as error:
            say(f"{'data':22}{error}")
            continue
        found_there = "no file" if battles is None else f"{len(battles):,} battles"
        say(f"{'data':22}{source.path} ({kind}), {part}: {found_there}")
        show_repairs(battles.repairs if battles is not None else ())
