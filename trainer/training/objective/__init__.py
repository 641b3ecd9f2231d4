"""What a fit minimises: labels of a funnel's tasks, combined as the papers of the nets do."""
