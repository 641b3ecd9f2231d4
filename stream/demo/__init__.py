"""The demo: everything on one machine for a minute, with a live table and a strict account."""
