"""The contract of a model: laws that every architecture keeps, whoever has written it."""
