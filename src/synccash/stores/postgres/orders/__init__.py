"""Orders in PostgreSQL: opened, committed, read, found when due, and the proof that none was lost."""
