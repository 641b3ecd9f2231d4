"""The feedback worker: joins passed requests with their delayed outcomes into examples."""
