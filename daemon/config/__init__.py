"""config.toml as frozen values, every key said once, every problem reported at once.

load           config.toml -> Config, or every problem at once
schema         every table and key, said once
sync_tables    the tables of machines, models and hooks
faceset_tables the tables of masks and curation
extract_table  the table of extraction settings
values         durations, sizes, names, paths
checks         what must hold between keys
inbox_rules    the rules by which files of an inbox are found and judged
lines          on which line each key stands
schema_nodes   finding one's way in the JSON Schema
words          what is wrong, in words
docs           example, JSON Schema and page, made from the schema
"""
