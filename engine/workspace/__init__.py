"""What is written: aligned faces, masks, log, preview sheet; whole or not at all.

align           a face in a frame -> an aligned face
face_writer     wanted faces -> files, in a few threads
masks           face masks
workspace       folders, names and safe writes of a workspace
sole_writer     one `dfld extract` at a time in one output folder
private_files   private folders and files, whole or not at all: what every writer here and in daemon/ uses
earlier_run     what an earlier run left in the same folder
preview         the contact sheet
extract_report  what is left to do when the frames are done
extraction_log  debug/extraction_log.json
"""
