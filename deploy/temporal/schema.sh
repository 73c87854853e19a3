#!/bin/sh
# Create Temporal's two databases and bring their schemas up to this version. Safe to run again.
# The tool reads the password from SQL_PASSWORD.
set -eu

prepare() {  # database, folder of its schema
    for step in "create" "setup-schema -v 0.0" "update-schema -d /etc/temporal/schema/postgresql/v12/$2/versioned"; do
        # shellcheck disable=SC2086 # the step is a command and its options
        temporal-sql-tool --plugin postgres12 --ep "$POSTGRES_SEEDS" -p "$DB_PORT" -u "$POSTGRES_USER" --db "$1" $step
    done
}

prepare temporal temporal
prepare temporal_visibility visibility
