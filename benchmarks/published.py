"""Train as the published notebook does, in a program of its own, for `speed.py --whole` to time.

    python benchmarks/published.py --data FOLDER [--battles 400] [--epochs 3]

The Trainer runs with the notebook's settings: raw JSON cells cut on the right at 512 tokens and padded to 512,
fp32, batches of 8, dropout .1, and regular evaluations. The notebook evaluates every 100 of its 19,000 steps;
here the interval is scaled with the number of battles, to at least one step. Checkpoints are written once per
epoch, where the notebook writes 97 and reads the best one back. The training battles, the held-out battles and
the predicted fold are those of `run baseline --fold 0`.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

KAGGLE = 57_477
"""Number of battles in the competition."""
EVERY = 100
"""Steps between two evaluations of the notebook."""


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--battles", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    train_and_predict(options.data, options.battles, options.epochs)


def train_and_predict(data: Path, battles_used: int, epochs: int) -> None:
    """Train and evaluate the model on the first battles, and predict fold 0."""
    import torch
    from transformers import Trainer

    from pairrank.data.folder import find_data
    from pairrank.data.folds import assign_folds, hold_out
    from pairrank.data.predictions import Predictions
    from pairrank.data.probabilities import softmax
    from pairrank.encoders.catalogue import find_encoder
    from pairrank.models import baseline
    from pairrank.models.base import build

    # The speedups that pairrank applies to an encoder are left out.
    baseline.apply_speedups = lambda model: None
    baseline.compute_first_token_only = lambda model, answer: False
    torch.manual_seed(0)
    battles = find_data(data).train.take(slice(battles_used))
    folds = assign_folds(battles, 5, "")
    learned, scored = battles.take(folds != 0), battles.take(folds == 0)
    held_out = hold_out(learned, 0.1, salt="watch")
    settings = {"attention_dropout": 0.1, "hidden_dropout": 0.1, "padding": "window", "budget": "right"}
    model: Any = build("baseline", encoder=["minilm"], cells="json", **settings)
    model._start_from(find_encoder(["minilm"]))

    def rows(part: Any) -> list[dict[str, Any]]:
        """Return the padded token rows of battles with their labels."""
        tokens, _ = model._tokens(part)
        padded = model._collate(tokens)
        labels = part.labels.tolist()
        return [
            {**{name: value[i] for name, value in padded.items()}, "labels": labels[i]} for i in range(len(part))
        ]

    train, validation = rows(learned.take(~held_out)), rows(learned.take(held_out))
    every = max(1, round(EVERY * battles_used / KAGGLE))
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(folder, epochs, every, math.ceil(len(train) / 8))
        trainer = Trainer(
            model=model.module_.classifier, args=arguments, train_dataset=train, eval_dataset=validation
        )
        trainer.train()
        trainer.evaluate()
        logits = trainer.predict(rows(scored)).predictions
        Predictions(scored.id, softmax(logits.astype("float64"))).write(Path(folder) / "oof.csv")


def training_arguments(folder: str, epochs: int, every: int, steps_per_epoch: int) -> Any:
    """Return the notebook's arguments of the Trainer, with an evaluation after `every` steps."""
    import torch
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=folder,
        learning_rate=2e-5,
        num_train_epochs=epochs,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=16,
        weight_decay=0.01,
        warmup_steps=0.1,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=max(2 * every, steps_per_epoch),
        save_total_limit=2,
        logging_steps=50,
        load_best_model_at_end=False,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
    )


if __name__ == "__main__":
    main()
