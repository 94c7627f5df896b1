"""Commands for the system on AWS: `deploy`, `logs`, `status`."""
