"""What `hil bench` can measure: one module each, found by listing this package.

A module has HELP, add_arguments and run, like a command; those that begin with an underscore are not listed.
"""
