"""What the demo is made of: tiny models, recordings with their truth, voices to enrol. CARD.md says what they are and are not."""
