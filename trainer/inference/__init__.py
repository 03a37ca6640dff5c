"""Use a trained encoder: embed, predict, ONNX export. Uses evaluation and everything below."""
