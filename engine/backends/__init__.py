"""Sets of models that find faces, mark 68 points and distinguish people: one contract, one file a set.

backend         the contract of all of them
catalog         the backends by name: open one, or describe them all
insightface     any InsightFace pack on ONNX Runtime, GPU or CPU (the recommended one)
dlib            offline, from PyPI packages alone
opencv_cascade  Haar detection with dlib's landmarks and descriptor
"""
