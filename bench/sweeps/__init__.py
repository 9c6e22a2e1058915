"""Sweep files: the shipped ones, and how a file becomes checked runs that train in stacks."""
