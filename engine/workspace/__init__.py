"""What is written: aligned faces, masks, log, preview sheet; whole or not at all.

file_names      where the files of a clip go, and what they are called: names of faces, slugs of clips
output_files    files of a workspace written, moved and removed whole; what the disk refuses as an error
sole_writer     one `dfld extract` at a time in one output folder
align           a face in a frame -> an aligned face
face_writer     wanted faces -> files, in a few threads
preview         the contact sheet
extract_report  what is left to do when the frames are done
extraction_log  debug/extraction_log.json
"""
