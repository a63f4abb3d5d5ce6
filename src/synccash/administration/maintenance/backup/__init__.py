"""Backs the database up into one file, and restores it into the recovery state.

`encrypted_file` is the format of encrypted files, `manifest` what lies beside each file, `programs` runs
PostgreSQL's own tools.
"""
