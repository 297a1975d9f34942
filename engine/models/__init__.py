"""The models that backends are made of, and what runs them.

model_files       hashes and licences of files of weights
known_models      names, purposes, licences: data
graph_facts       what an ONNX file from outside says of itself, before anything runs it
packs             InsightFace packs on disk: where they lie, how they get there, what is allowed
detector_session  the detector for several pictures a run, in half precision, checked against the file's own answers
arcface           the recogniser
landmarks_3d68    the 68-point model
dlib_models       dlib's predictor and descriptor
accelerators      where ONNX Runtime really runs
onnx_session      types of what is used of ONNX Runtime's sessions
bound_session     runs that keep their buffers on the device
half_precision    recogniser and 68-point model in half precision on a GPU, checked likewise
"""
