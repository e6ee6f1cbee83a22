"""Whether a cost model that learns finds better schedules than random choice, at equal trials."""
