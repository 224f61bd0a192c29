"""Numbers counted in or learned from texts and model names."""
