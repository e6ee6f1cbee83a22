"""What each width costs, and how many units of each group go."""
