"""The faces of one side: which there are, which a sample takes, and their bytes.

face_list   the faces of a folder or a faceset.pak, listed again when they change
face_order  pure: which face stands at which place of a training
face_bytes  the bytes and the pixels of one face
"""
