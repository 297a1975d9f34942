"""How a faceset is changed: held by one program, its files renamed and replaced so that a kill loses nothing.

sole_user        one program at a time in a faceset
free_faceset     the same, once no other program works on it
renames          renames in journaled batches: carried out, finished after a kill, undone
rename_order     pure: in which order files are renamed, so that none is ever replaced
rename_places    pure: where the files of a batch are after a kill
rename_journal   `.dfld/renames.jsonl`: its lines as values, and where each file went
replacements     files replaced together: a kill leaves each group old or new
forgetting       what is kept of faces in `.dfld/`, taken away with them
"""
