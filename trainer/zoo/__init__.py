"""The kinds of nets on equal budgets: the same rows, schedule and number of tuning trials."""
