"""The outside world: one file per system, and nothing else imports it."""
