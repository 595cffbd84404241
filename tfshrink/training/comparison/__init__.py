"""Training styles side by side, from one start and with equal updates."""
