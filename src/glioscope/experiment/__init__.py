"""Experiments: networks trained, judged on cases they never saw, compared, exported, described by a card."""
