"""Pretrained encoders: where they come from, how text is fed to them, and how they run fast."""
