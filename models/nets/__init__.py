"""The nets in torch: teacher, SWAG posterior, student, ONNX export. Workers import none of them."""
