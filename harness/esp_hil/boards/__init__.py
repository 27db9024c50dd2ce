"""Boards: chosen, opened, built and flashed for, emulated, watched."""
