"""Faces out of videos. Knows no inbox, schedule, ledger or SSH.

extract        the pipeline from a video to a workspace; the one seam that daemon/ and the CLI call
track_by_hand  one face that a person points at, followed through its shot and written like any extraction
mask_faceset   a mask for every face of a faceset, chosen, judged and put into its JPEG
mask_sources   the sources of masks that need weights, opened as a request names them
sort           the faces of a faceset renamed by a measure, or back
measure_faceset  the features of a faceset: measured, or known
curate         the faces that training does not need, set aside with a reason, or back
refine         landmarks of a faceset found again in its footage, and faces cut anew where that is better
coverage       what a faceset shows and lacks, as a page, a picture and JSON
revision       which result an extraction has, as a number
types          Frame, Face, AlignedFace, Identity, settings, Commit, report: the values that flow
face_id        ids of faces and tracks
face_record    what is known about one detected face
same_face      do two files show the same face? by id, else by what an older dfld left
errors         what can go wrong between a video and a workspace

footage        frames out of hostile files: videos and folders of images
frames         what every source of frames promises, and what is made of decoded pictures
pictures       image files: bytes -> pixels, names -> sequences
models         the models that backends are made of, and what runs them
backends       the sets of models, behind one contract
faces          what can be measured of a face: boxes, pose, quality, near-duplicates
identity       who the person is, as the reference photos show it, and who counts as the same
tracks         the faces of a shot as tracks, and who is who among them
search         where in a frame to look for faces, and when
by_hand        one face that a person points at, found and followed through its shot
clip           one clip, window by window: judged, filled in, written, handed on
masks          which pixels of an aligned face belong to the face
workspace      what is written: aligned faces, masks, log, preview sheet
facesets       folders of aligned faces: which is meant, what lies in it, its files renamed
refining       a second pass: landmarks beside those of neighbouring frames, faces cut anew
results        what dfld wrote for a clip, what a person changed since, what a redo or a forgetting removes
tuning         which similarity threshold fits one video
reasons        the reasons that a face can end with
stopwatch      seconds spent in each stage
steps          signs of life from work that reads no new frame
"""
