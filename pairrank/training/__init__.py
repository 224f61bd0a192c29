"""Fine-tuning of pretrained encoders."""
