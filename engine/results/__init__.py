"""What dfld wrote for a clip, what a person changed since, and what a redo or a forgetting removes.

run_results     the results of one run as they are written: manual changes stand, all is in the manifest
manifest        debug/manifest.jsonl: what dfld wrote for one clip, and what a person changed of it
manifest_lines  pure: its lines as values, and how each stands in JSON
manual_changes  what a person changed, found by comparing with the manifest
own_moves       where dfld itself put a file since it wrote it
clearing        removing what is as dfld wrote it
missing_faces   where is a face that does not lie where dfld wrote it?
face_places     where each face of a clip lies now, in the folders of its faceset
face_files      the pictures and facesets of a workspace, and which face each shows
removal         every face of given clips, found whatever its name is, and removed
earlier_run     may a run write into this folder, and what would go?
earlier_log     the extraction log of an earlier run, read with care
checked_face    pure: what reading a face back can find
read_back       does what lies there still agree with what was written? Every face, read back
"""
