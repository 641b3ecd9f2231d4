"""The torch nets: teacher, SWAG posterior, student, ONNX export. Nothing here runs in a worker."""
