"""Scenario files: model, loader, points, steps, runner and the judge."""
