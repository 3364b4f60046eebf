"""Data of the demo: tiny models, recordings with their truth, voices to enrol. CARD.md describes them and their limits."""
