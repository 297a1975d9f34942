"""DeepFaceLab's formats, exact: pure, no models, no video, no network.

errors            DfldError, FormatError: the roots of every error tree

image             AlignedMetadata in an aligned JPEG: read_metadata, with_metadata, encode_aligned_jpeg
jpeg              the container of those, as DeepFaceLab parses it
xseg_mask         the mask stored inside the metadata
geometry          face_mat, warp_face, face_rect, head_pose: 68 landmarks <-> face type crops
hull              masks made from landmarks
tables            the numbers of the format
faceset           faceset.pak: read_faceset, write_header, pack_faceset

weights           weight files: where each tensor lies, and new values in the same layout
training_state    data.dat: iteration, options and losses of a training
loss_rows         the loss history inside it, read as a table
byte_source       bytes by position: a file, a buffer, or a file on another machine

pickles           load_closed, dump_for_dfl: untrusted pickles in, pickles for Python 3.6 out
pickle_machine    the interpreter behind load_closed, which can run nothing
numpy_pickles     the closed list of names that it knows
pickle_index      where the arrays of a pickle lie, found without reading them
pickle_values     what that scan makes of a stream
"""
