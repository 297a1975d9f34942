"""Facesets as folders of aligned faces: which folder is meant, what lies in it, and what is kept of it.

faceset_folder   what a path means: a workspace, its data_src or data_dst, or a folder of aligned faces
face_listing     every face of a faceset with its metadata and id; what is broken is named
pack_file        faceset.pak as a file: opened, and written whole
state_folder     `.dfld/`, where dfld keeps what it knows of a faceset
features         what was measured of the faces, one column a measure
feature_cache    `.dfld/features`: what was measured, so that no face is measured twice
sort_order       pure: in which order faces are sorted, and what they are called then

changing         a faceset is held, its files renamed and replaced, so that a kill loses nothing
packs            all faces, or all their metadata, in one file of DeepFaceLab's
measures         what is measured of one face
curation         which faces are trained on, and why the others are set aside
coverage         what a faceset shows, and what it lacks for another one
"""
