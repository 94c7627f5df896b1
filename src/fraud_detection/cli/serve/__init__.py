"""Commands that decide: `run`, `serve`, `score`; for them `state`, `api-key`, `label`, `schema-report`."""
