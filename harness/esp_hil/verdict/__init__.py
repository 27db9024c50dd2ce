"""Where two sets of answers part, and why: differences, bisection over a graph, hypotheses about wrong ports."""
