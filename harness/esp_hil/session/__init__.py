"""A run as it happens: the board in use and what is on it, what is measured, the journal of rows, the workers."""
