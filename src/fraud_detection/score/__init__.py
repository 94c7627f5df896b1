"""Score: features become a probability of fraud, with reasons."""
