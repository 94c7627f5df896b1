"""Commands about what was decided: `explain`, `audit`, `parity`."""
