"""Sets of models that find faces, mark 68 points and distinguish people.

backend          the contract of all of them
catalog          the backends by name: open one, or describe them all

insightface      any InsightFace pack on ONNX Runtime, GPU or CPU (the recommended one)
detector_session its detector for several pictures a run, in half precision, checked against the file's own answers
arcface          its recogniser
landmarks_3d68   its 68-point model
half_precision   recogniser and 68-point model in half precision on a GPU, checked likewise
onnx_session     types of what is used of ONNX Runtime's sessions
bound_session    runs that keep their buffers on the device
packs            packs on disk: where they lie, how they get there, what is allowed
accelerators     where ONNX Runtime really runs

dlib             offline, from PyPI packages alone
dlib_models      its predictor and descriptor
opencv_cascade   Haar detection with dlib's landmarks and descriptor

warps            upright crops for recognition; pure
model_files      hashes and licences of files of weights
"""
