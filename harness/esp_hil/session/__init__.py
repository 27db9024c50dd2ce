"""A run as it happens: the workbench of the suites, what is measured, the journal of rows, the workers."""
