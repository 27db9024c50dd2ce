"""ESP-DL under MicroPython: boards that run the binding `espdl`, driven over their raw REPL."""
