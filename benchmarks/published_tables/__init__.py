"""The tables in README and docs: one function per table, which returns Markdown.

Each docstring names the result files that the function reads, and the page that shows the table.
`benchmarks/tables.py` writes the tables into the pages.
"""
