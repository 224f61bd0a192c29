"""The parts of `auto`: what it checks, how it plans, how it keeps to the time, and what it says."""
