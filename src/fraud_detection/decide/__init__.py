"""Decide: a score and the rules that fired become approve, review or decline."""
