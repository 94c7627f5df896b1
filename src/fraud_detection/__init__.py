"""Real-time fraud detection: one engine, four doors."""
