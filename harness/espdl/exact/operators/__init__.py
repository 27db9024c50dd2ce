"""One module per operator family; `harness.espdl.exact.registry` imports them all."""
