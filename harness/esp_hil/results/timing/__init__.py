"""Figures of time: latencies from raw cycles, series, the work of layers, what others published, predictions."""
