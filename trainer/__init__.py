"""Train encoders on stores and evaluate them. Uses pipeline."""
