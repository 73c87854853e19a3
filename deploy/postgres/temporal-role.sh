#!/bin/sh
# Runs once, when the database cluster is made: Temporal gets its own role and cannot read Interlock's tables.
set -eu

psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 \
    --set password="$TEMPORAL_POSTGRES_PASSWORD" <<'SQL'
CREATE ROLE temporal LOGIN CREATEDB PASSWORD :'password';
REVOKE CONNECT ON DATABASE interlock FROM PUBLIC;
SQL
