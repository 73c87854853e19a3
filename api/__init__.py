"""The HTTP API: parse, ask domain and store, start or signal, answer."""
