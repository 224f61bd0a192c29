# %% [markdown]
# # pairrank in a notebook
#
# Which of two chatbot answers do people prefer? This notebook shows how to
#
# 1. read battles from a DataFrame and look at them with pandas,
# 2. train three models and compare them,
# 3. find out where a model is right and where it is wrong,
# 4. write a submission and check it.
#
# It uses the simulated sample, `Dataset/sample`, and takes about a minute. Start it in a folder that contains
# `Dataset/sample`, such as the root of the repository. With your own data, use your own files instead.
#
# This file is made from `docs/tutorial.py` by `python docs/notebook.py`.

# %%
import json

import numpy as np
import pandas as pd

import pairrank

train = pd.read_csv("Dataset/sample/train.csv")
outcomes = ["winner_model_a", "winner_model_b", "winner_tie"]
train[["id", "model_a", "model_b", *outcomes]].head()

# %% [markdown]
# ## The battles
#
# In each battle, two models answered the same prompt, and a person voted for A, for B or for a tie.

# %%
train[outcomes].mean().round(3)

# %% [markdown]
# A cell of `prompt`, `response_a` or `response_b` is a JSON list of turns. With pandas: does the longer answer win?


# %%
def characters(cell):
    """Return the number of characters of all turns; a turn may be null."""
    return sum(len(turn or "") for turn in json.loads(cell))


ratio = (train["response_a"].map(characters) + 1) / (train["response_b"].map(characters) + 1)
length = pd.cut(ratio, [0, 0.5, 0.8, 1.25, 2, np.inf], labels=["A < ½ B", "A < B", "A ≈ B", "A > B", "A > 2 B"])
shares = train.groupby(length, observed=True)[outcomes].mean()
axes = shares.plot.bar(stacked=True, rot=0, xlabel="lengths of the answers", ylabel="share", figsize=(6, 3))
legend = axes.legend(loc="upper left", bbox_to_anchor=(1, 1))

# %% [markdown]
# pairrank reads the same DataFrame. It finds out from the columns which schema it has: this one is Kaggle's.
# `pairrank.explore("Dataset/sample")` writes a whole page about the data, with charts such as this one.

# %%
from pairrank.evaluation.survey import survey_of
from pairrank.report.data_charts import length_effect

battles = pairrank.from_dataframe(train)
length_effect(survey_of(battles))

# %% [markdown]
# Other schemas are read in the same way, for example chosen and rejected answers. Such a table does not say which
# answer was on the left, so pairrank draws the sides by a hash.

# %%
pairs = pd.DataFrame(
    {"prompt": ["What is 2 + 2?", "Name a river."], "chosen": ["4", "The Elbe."], "rejected": ["5", "No."]}
)
pairrank.to_dataframe(pairrank.from_dataframe(pairs), "kaggle")[["prompt", "response_a", "response_b", *outcomes]]

# %% [markdown]
# ## The score
#
# A prediction is three probabilities. Its log loss is −log of the probability of what happened, averaged over the
# battles; lower is better. Two predictions that know nothing about a battle:

# %%
happened = train[outcomes].to_numpy().argmax(axis=1)
frequencies = train[outcomes].mean().to_numpy()
pd.Series(
    {
        "equal probabilities": -np.log(1 / 3),
        "the frequencies of this table": -np.log(frequencies[happened]).mean(),
    }
).round(4)

# %% [markdown]
# ## Three models
#
# `cross_validate` trains one model per fold and predicts the fold that it has not seen. No prompt is in two folds.
# It also accepts the DataFrame itself, or a model such as `pairrank.build("structure", penalty=30.0)`.

# %%
names = ["prior", "lengths", "structure"]
results = {name: pairrank.cross_validate(name, "Dataset/sample") for name in names}
results["structure"]

# %%
board = pairrank.compare(list(results.values()))
board

# %% [markdown]
# `prior` predicts the frequencies of its training battles, so it is slightly worse than those of the whole table.
# The differences are paired: both models are scored on the same battles. An interval that lies entirely
# below 0 means that the model is better than the prior on battles like these. The battles are simulated, so the
# lowest possible log loss is known, too: the floor.

# %%
board.plot()

# %%
board.plot("differences")

# %%
board.to_dataframe()[["log_loss", "Δ prior", "Δ prior low", "Δ prior high", "accuracy"]].round(4)

# %% [markdown]
# ## Where is a model right?
#
# `to_dataframe` has one row per battle, so pandas can answer this. Here: how much does `structure` gain over the
# prior, by the lengths of the answers? The standard error shows how much the mean could differ on other battles.

# %%
losses = pd.DataFrame({name: result.to_dataframe().set_index("id")["loss"] for name, result in results.items()})
gain = (losses["prior"] - losses["structure"]).groupby(length.set_axis(train["id"].astype(str)), observed=True)
table = gain.agg(["count", "mean", "sem"])
axes = table["mean"].plot.bar(
    yerr=table["sem"], rot=0, xlabel="lengths of the answers", ylabel="gain in log loss", figsize=(6, 3)
)
table.round(3)

# %% [markdown]
# ## One battle
#
# The battle for which the loss of `structure` is the largest: what the models predicted, and what the person chose.

# %%
table = results["structure"].to_dataframe().set_index("id")
worst = table["loss"].idxmax()
rows = {name: result.to_dataframe().set_index("id").loc[worst] for name, result in results.items()}
pd.DataFrame(rows).T[[*outcomes, "winner", "loss"]]

# %%
row = battles.id.tolist().index(worst)
for title, turns in (
    ("prompt", battles.prompt),
    ("answer A", battles.response_a),
    ("answer B", battles.response_b),
):
    print(f"{title}: {' / '.join(turns[row])[:300]}")

# %% [markdown]
# What would the models have predicted for other answers? Here the two answers change places, and then answer A is
# cut to its first half. The models of all five folds predict these battles together; four of them have been trained
# on the battle itself, so the first row differs from the table above. The first change exchanges the probabilities
# of A and B, because `structure` is symmetric by construction.

# %%
from dataclasses import replace

battle = battles.take([row])
half = battle.response_a.copy()
half[0] = tuple(turn[: len(turn) // 2] for turn in half[0])
variants = {
    "as it is": battle,
    "A and B exchanged": battle.swap(),
    "A cut to its first half": replace(battle, response_a=half),
}
predicted = {name: results["structure"].predict(variant).proba[0] for name, variant in variants.items()}
pd.DataFrame(predicted, index=outcomes).T.round(3)

# %% [markdown]
# ## A submission
#
# `submit` writes the predictions for the test battles in Kaggle's format and checks the file. New battles in memory
# are predicted with `pairrank.predict(result, battles)`, and files of any size with `pairrank.predict_file`.

# %%
pairrank.submit(results["structure"], out="submission.csv")
submission = pd.read_csv("submission.csv")
submission.head(3)

# %%
test = pd.read_csv("Dataset/sample/test.csv")
pd.Series(
    {
        "ids and their order are those of the test file": bool((submission["id"] == test["id"]).all()),
        "probabilities of each row sum to 1": np.allclose(submission[outcomes].sum(axis=1), 1),
        "no value is missing": bool(submission.notna().all(axis=None)),
    }
)

# %%
axes = submission[outcomes].plot.hist(bins=20, histtype="step", xlabel="predicted probability", figsize=(6, 3))

# %% [markdown]
# `pairrank.report(data="Dataset/sample")` writes a page about all runs, and `pairrank.tune("structure")` searches
# for better parameters. Every function is the one under the command of the same name: it reads the same folders and
# refuses the same mistakes.

# %%
try:
    pairrank.cross_validate("structur", "Dataset/sample")
except pairrank.UserError as error:
    print(str(error)[:73])
