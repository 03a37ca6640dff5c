"""Steps of recipe `clean`: confidence, tracking, body selection, denoising, normalisation, resampling."""
