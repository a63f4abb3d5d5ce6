"""The schema of the database: its migrations, version, roles and keys."""
