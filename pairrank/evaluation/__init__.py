"""Scores, slices and the leaderboard; nothing here imports a model."""
