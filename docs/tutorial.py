# %% [markdown]
# # pairrank in a notebook
#
# Which of two chatbot answers do people prefer? This notebook reads battles, looks at them, compares three models,
# examines one battle and writes a submission. It uses the simulated sample, `Dataset/sample`, and takes about a
# minute. Start it in a folder that contains `Dataset/sample`, such as the root of the repository.
#
# This file is made from `docs/tutorial.py` by `python docs/notebook.py`.

# %%
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
# Does the longer answer win? The chart shows the observed shares of the outcomes by the ratio of the answers'
# lengths. `pairrank.explore("Dataset/sample")` writes a whole page about the data.

# %%
from pairrank.evaluation.survey import survey_of
from pairrank.report.data_charts import length_effect

battles = pairrank.from_dataframe(train)
length_effect(survey_of(battles))

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
# The differences are paired: both models are scored on the same battles. An interval that lies entirely below 0
# means that the model is better than the prior on battles like these.

# %%
board.plot()

# %%
board.plot("differences")

# %%
board.to_dataframe()[["log_loss", "Δ prior", "Δ prior low", "Δ prior high", "accuracy"]].round(4)

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
pd.read_csv("submission.csv").head(3)

# %% [markdown]
# `pairrank.report(data="Dataset/sample")` writes a page about all runs, and `pairrank.tune("structure")` searches
# for better parameters. Every function is the one under the command of the same name: it reads the same folders and
# refuses the same mistakes.

# %%
try:
    pairrank.cross_validate("structur", "Dataset/sample")
except pairrank.UserError as error:
    print(str(error)[:73])
