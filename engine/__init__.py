"""Faces out of videos. Knows no inbox, schedule, ledger or SSH.

extract            the pipeline from a video to a workspace; the one seam that daemon/ and the CLI call
types              Frame, Face, AlignedFace, Identity, settings, Commit, report: the values that flow
errors             what can go wrong between a video and a workspace

windows            footage in windows: a shot, or a piece of a long one
shots              where the shot changes
scout              pass one: look now and then, link faces into tracks, ask who they are
novelty            what a picture shows that an earlier one did not
search             the faces of one frame: all over, or near known ones and where something is new
looking            how the detector is fed: a whole picture, a square round a face, darker, turned
tracking           who goes with whom from one look to the next
company            who is near whom in one look: where to ask
recognise          crops -> embeddings
decide             who is who in a window
follow             pass two: a wanted face in every frame between the looks
window_faces       pass two over a window: fill in, write, record
carry              what one window hands to the next
quality            how good a face is, to tell who it is and to train on

footage            what every source of frames promises
video              a video file as frames: probe, read in order, go on at a cursor
container          opening an untrusted video file
prefetch           decoding in a thread, a little ahead
decoder            one pass over it: packets in, pictures out
hardware           decoding on the GPU, where it gives the same pictures
seek               where to start decoding so that the rest comes out the same
pixels             decoded frames -> arrays, the right way up
stretch            only the frames from one time to another
images             a folder of images as frames
image_size         the size that an image file's header states

backends           the sets of models, behind one contract
reference_photos   a photo -> the one face that shows the person, or why there is none
timed_backend      a backend that adds up how long its tasks take
reference_set      a set of reference photos as embeddings
identity           reference photos -> Identity
identity_file      an Identity on disk
match              pure: similarity, and the reasons that a face can end with

closing            what only the whole clip can tell: review tracks explained later, near-duplicates
variety            which faces show the same

tune               what an extraction would see, without writing it
threshold_curve    pure: what each threshold would keep, and which one fits
threshold_picture  that as a histogram

align              a face in a frame -> an aligned face
face_writer        wanted faces -> files, in a few threads
masks              face masks
workspace          folders, names and safe writes of a workspace
sole_writer        one `dfld extract` at a time in one output folder
private_files      private folders and files, whole or not at all: what every writer here and in daemon/ uses
earlier_run        what an earlier run left in the same folder
preview            the contact sheet
extract_report     what is left to do when the frames are done
extraction_log     debug/extraction_log.json
stopwatch          seconds spent in each stage
steps              signs of life from work that reads no new frame

dfl                DeepFaceLab's formats; the one package that sync imports too
"""
