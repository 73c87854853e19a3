#!/bin/sh
# Create the namespace and the search attributes that Interlock sets on its workflows. Safe to run again.
# The attributes and the retention are those of runtime/temporal.py; a test compares them.
set -eu

retention=30d
attributes="InterlockAction InterlockBlueprint InterlockEntity InterlockRequester InterlockSource"

attempts=60
until temporal operator cluster health >/dev/null 2>&1; do
    attempts=$((attempts - 1))
    if [ "$attempts" -eq 0 ]; then echo "Temporal at $TEMPORAL_ADDRESS does not answer." >&2; exit 1; fi
    sleep 1
done

if temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
    temporal operator namespace update --namespace "$TEMPORAL_NAMESPACE" --retention "$retention"
else
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$retention"
fi

# A new namespace is known to every part of the server only after some seconds.
for attribute in $attributes; do
    attempts=30
    until temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" --name "$attribute" --type Keyword; do
        attempts=$((attempts - 1))
        if [ "$attempts" -eq 0 ]; then echo "The search attribute $attribute could not be created." >&2; exit 1; fi
        sleep 1
    done
done
