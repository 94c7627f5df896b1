"""`python -m fraud_detection.training.history_job URI`: what the cluster starts."""

from fraud_detection.training.history_job.job import main

main()
