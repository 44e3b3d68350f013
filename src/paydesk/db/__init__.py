"""The database: run one, bring its schema up to date, talk to it."""
