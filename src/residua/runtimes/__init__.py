"""What computes a model's answers: torch itself, torch's compiler, ONNX Runtime or OpenVINO. Floor 4."""
