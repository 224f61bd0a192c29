"""Pretrained encoders: where they come from, how texts are tokenised for them, and how they run fast."""
