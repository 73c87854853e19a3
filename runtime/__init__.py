"""Start-up: settings, logs, the Temporal client, the jq pool."""
