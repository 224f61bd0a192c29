"""`tune` runs the trials of a study and compares the best setting with the old one on an unused fold."""

import shlex
from contextlib import AbstractContextManager

from pairrank.api.tuning import TuneRequest, search_all
from pairrank.cli.console import say
from pairrank.cli.messages import messages_to
from pairrank.cli.tune_results import show_nested, show_verdict
from pairrank.tuning.database import without_password


def tune(request: TuneRequest) -> None:
    """Check everything, search, and show and write the verdict; after Ctrl-C the study can be resumed."""
    try:
        run, searches, studies = search_all(request, messages_shown)
        if request.nested:
            show_nested(run, searches, studies)
        else:
            show_verdict(searches[0], studies[0])
    except KeyboardInterrupt:
        command = command_of(request)
        say(f"\nInterrupted. The study keeps its trials. To resume it, or to join it elsewhere: {command}")
        raise SystemExit(130) from None


def messages_shown() -> AbstractContextManager[None]:
    """Return a context in which a worker process prints its messages."""
    return messages_to(say)


def command_of(request: TuneRequest) -> str:
    """Return the command that resumes this study, or joins it as another worker."""
    given = {
        "--data": request.data,
        "--runs": request.runs,
        "--storage": without_password(request.storage),
        "--untouched": request.untouched,
        "--seed": request.seed or None,
    }
    words = [word for key, value in given.items() if value not in (None, "") for word in (key, str(value))]
    words += [word for fold in request.folds for word in ("--fold", str(fold))]
    words += [word for change in request.overrides for word in ("--set", change)]
    words += ["--nested"] if request.nested else []
    words += ["--pruner", request.pruner] if request.pruner != "median" else []
    words += ["--jobs", str(request.jobs)] if request.jobs > 1 else []
    return shlex.join(["tune", request.name, "--trials", str(request.trials), *words])
