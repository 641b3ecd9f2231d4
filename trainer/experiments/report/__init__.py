"""The report on experiments: statistics, tables, claims, bars and pages."""
