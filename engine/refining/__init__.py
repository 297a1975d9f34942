"""A second pass over the faces of a faceset: their landmarks found again in their footage, beside their neighbours.

agreement      pure: landmarks of neighbouring frames laid over each other; do new ones agree better than old ones?
frame_window   the frames round a face, and the faces found in them
realign        an aligned face cut anew by other landmarks, with its masks and polygons
face_sources   which footage each face comes from, and which of its frames shows the face
"""
