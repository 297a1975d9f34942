"""Facesets as folders of aligned faces: which folder is meant, what lies in it, and how its files are renamed.

faceset_folder   what a path means: a workspace, its data_src or data_dst, or a folder of aligned faces
curation         which faces are trained on, and why the others are set aside
coverage         what a faceset shows, and what it lacks for another one
face_listing     every face of a faceset with its metadata and id; what is broken is named
pack_file        faceset.pak as a file: opened, and written whole
packing          the loose faces of a faceset into a faceset.pak, and back
forgetting       what is kept of faces in `.dfld/`, taken away with them
saved_metadata   the metadata of all faces in a meta.dat, and back
rename_journal   `.dfld/renames.jsonl`: its lines as values, and where each file went
rename_order     pure: in which order files are renamed, so that none is ever replaced
renames          renames in journaled batches: carried out, finished after a kill, undone
replacements     files replaced together: a kill leaves each group old or new
sort_order       pure: in which order faces are sorted, and what they are called then
sole_user        one program at a time in a faceset
free_faceset     the same, once no other program works on it
features         what was measured of the faces, one column a measure
feature_cache    `.dfld/features`: what was measured, so that no face is measured twice

measures         what is measured of one face
"""
