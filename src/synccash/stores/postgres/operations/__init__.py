"""What operators, the console and housekeeping read and write in PostgreSQL."""
