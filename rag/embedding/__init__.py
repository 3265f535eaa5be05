"""Text to vectors: the encoders, and the one door to ONNX Runtime, tokenizers and sentence-transformers."""
