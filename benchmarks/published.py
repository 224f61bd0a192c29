"""The published notebook's training as a program of its own, for `speed.py --whole` to time.

    python benchmarks/published.py --data FOLDER [--battles 400] [--epochs 3]

The Trainer with the notebook's settings: raw JSON cells cut on the right at 512 tokens and padded to them, fp32,
batches of 8, dropout .1, an evaluation every so many steps (the notebook: every 100 of its 19,000; here as often
for its size, but at most once a step). Checkpoints are written once an epoch, where the notebook writes 97 and
reads the best one back. It learns from what `run baseline --fold 0` learns from, is watched by the same held-out
battles, and predicts the same fold.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

KAGGLE = 57_477
"""Battles of the competition, on which the notebook evaluates every `EVERY` steps."""
EVERY = 100


def main() -> None:
    """Read, tokenise, train, evaluate, predict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--battles", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()

    import torch
    from transformers import Trainer, TrainingArguments

    from pairrank.data.folder import find_data
    from pairrank.data.folds import assign_folds, hold_out
    from pairrank.data.predictions import Predictions
    from pairrank.data.probabilities import softmax
    from pairrank.encoders.catalogue import find_encoder
    from pairrank.models import baseline
    from pairrank.models.base import build

    # What pairrank adds to an encoder is left out.
    baseline.apply_speedups = lambda model: None
    baseline.compute_first_token_only = lambda model, answer: False
    torch.manual_seed(0)
    battles = find_data(options.data).train.take(slice(options.battles))
    member = assign_folds(battles, 5, "")
    seen, scored = battles.take(member != 0), battles.take(member == 0)
    held = hold_out(seen, 0.1, salt="watch")
    settings = {"attention_dropout": 0.1, "hidden_dropout": 0.1, "padding": "window", "budget": "right"}
    model: Any = build("baseline", encoder=["minilm"], cells="json", **settings)
    model._start_from(find_encoder(["minilm"]))

    def rows(part: Any) -> list[dict[str, Any]]:
        tokens, _ = model._tokens(part)
        padded = model._collate(tokens)
        labels = part.labels.tolist()
        return [
            {**{name: value[i] for name, value in padded.items()}, "labels": labels[i]} for i in range(len(part))
        ]

    train, watched, judged = rows(seen.take(~held)), rows(seen.take(held)), rows(scored)
    every = max(1, round(EVERY * options.battles / KAGGLE))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            learning_rate=2e-5,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=8,
            per_device_eval_batch_size=16,
            weight_decay=0.01,
            warmup_steps=0.1,
            eval_strategy="steps",
            eval_steps=every,
            save_strategy="steps",
            save_steps=max(2 * every, math.ceil(len(train) / 8)),
            save_total_limit=2,
            logging_steps=50,
            load_best_model_at_end=False,
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(model=model.module_.classifier, args=arguments, train_dataset=train, eval_dataset=watched)
        trainer.train()
        trainer.evaluate()
        logits = trainer.predict(judged).predictions
        Predictions(scored.id, softmax(logits.astype("float64"))).write(Path(folder) / "oof.csv")


if __name__ == "__main__":
    main()
