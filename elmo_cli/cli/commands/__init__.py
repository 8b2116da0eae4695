"""Commands, one a file: each parses, calls the jobs, and prints.

torch is imported when a command runs, never for its help.
"""
