"""`alga`: one command per file. Data goes to stdout, talk to stderr; exit 2 for your mistake, 1 for ours."""
