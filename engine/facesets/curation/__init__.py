"""Which faces of a faceset a model is trained on, and why the others are set aside. Pure, but for the record of it.

settings         what a curation is asked for: limits, radius, budget
verdicts         what is decided of each face, with its reason
gates            faces that are too poor, measured against their own set
cells            pose, light and expression as cells that faces are counted in
record           `.dfld/curation.json`: what the last curation decided of each face
near_duplicates  how much two faces differ, and which one stands for which
decisions        what a person decided, as places show it beside the journal of renames
budgets          how many faces each cell may have, by itself or as the other person's faces need them
curate           the rule, from features and decisions to verdicts
"""
