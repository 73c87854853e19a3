"""The Temporal worker process and the relay."""
