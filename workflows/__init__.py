"""Durable code: what a run waits for and what it asks for next."""
