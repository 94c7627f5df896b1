"""A seeded world that makes payments, fraud among them, and the labels that follow.

Everything here is a function of `SimulatorSettings`: no clock, no files, no global
state, save for `pace`, which sleeps and writes.
"""
