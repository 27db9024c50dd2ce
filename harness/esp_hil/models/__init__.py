"""Model folders, golden/<model>/: what they hold, how they are made, how many classes they get right."""
