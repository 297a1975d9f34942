"""DeepFaceLab's formats, exact. Bytes in, bytes out: no models, no video, no network.

errors            FormatError: the root of this package's errors
byte_source       bytes by position: a file, a buffer, or a file on another machine
pickles           load_closed, dump_for_dfl, scan_pickle: untrusted pickles in, pickles for Python 3.6 out

image             AlignedMetadata in an aligned JPEG: read_metadata, with_metadata, encode_aligned_jpeg
jpeg              the container of those, as DeepFaceLab parses it
xseg_mask         the mask stored inside the metadata
faceset           faceset.pak: read_faceset, write_header, pack_faceset
metadata_copy     meta.dat: the metadata of a folder's images, saved beside them
geometry          face_mat, warp_face, face_rect, head_pose: 68 landmarks <-> face type crops
hull              masks made from landmarks
face_tables       face types, landmark templates: the numbers of the format

model_files       how the files of a model are named, and which of them are in use
model_options     the options of a model: which make another network, which another training
training_state    data.dat: iteration, options and losses of a training
weights           weight files: where each tensor lies, and new values in the same layout
xseg_weights      XSeg's weight file: every tensor of the network, checked, and its face type
text_weights      weight files whose tensors are stored as text (pickle protocol 2)
"""
