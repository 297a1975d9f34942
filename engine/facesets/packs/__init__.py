"""All faces of a faceset, or all their metadata, in one file as DeepFaceLab keeps them, and back.

packing          the loose faces of a faceset into a faceset.pak, and back
saved_metadata   the metadata of all faces in a meta.dat, and back
"""
