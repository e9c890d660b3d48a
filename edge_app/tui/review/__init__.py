"""The review of doubtful rows of a table, one by one."""
