"""What a run found: rows, their metrics and validity, figures of time, history and comparison."""
