"""A campaign of damage: whatever is done to its files, pairrank gives the right numbers or one message."""
