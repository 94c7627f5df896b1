"""AWS on one machine: local services, the function in its own process, and what delivers a stream to it."""
