"""Energy per inference: a meter's samples, the window of the timed inferences in them, and what may be said of it.

`meter` says what a meter is, `windows` lets a board work beside one, `method` makes figures of what it saw, or says
why there is none. Each kind of meter has a file of its own; `esp_hil.boards.meters` opens
the one that a text names. docs/energy.md is for people.
"""
