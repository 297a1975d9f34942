"""What is written: aligned faces, masks, log, preview sheet; whole or not at all.

align           a face in a frame -> an aligned face
face_writer     wanted faces -> files, in a few threads
masks           face masks
workspace       folders, names and safe writes of a workspace
sole_writer     one `dfld extract` at a time in one output folder
results         the results of one run as they are written: what a hand decided stands, all is in the manifest
manifest        debug/manifest.jsonl: what dfld wrote for one clip, and what a hand decided about it
hand_work       what a hand did to the results; clearing the rest
removal         every face of given clips, found whatever its name is, and removed
same_face       is this the same face? whatever its file is called by now
earlier_run     may a run write into this folder, and what would go?
earlier_log     the extraction log of an earlier run, read with care
preview         the contact sheet
extract_report  what is left to do when the frames are done
extraction_log  debug/extraction_log.json
"""
