"""Pure values and rules: what an action, a run, an approval or a permission is, and nothing that does I/O."""
