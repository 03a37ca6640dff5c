import pytest
import torch

from pipeline.errors import NotFinite
from trainer.evaluation.divergence import named_errors, require_finite_features, require_finite_training


def test_features_that_are_not_finite_are_an_error_with_the_number_of_clips() -> None:
    vectors = torch.zeros(5, 4)
    require_finite_features(vectors)
    vectors[1, 2], vectors[3] = torch.inf, torch.nan
    with pytest.raises(NotFinite, match=r"features of 2 of 5 clips are not finite"):
        require_finite_features(vectors)


def test_features_whose_length_overflows_are_an_error_because_their_similarities_would_be_zero() -> None:
    with pytest.raises(NotFinite, match=r"features of 1 of 2 clips are not finite or too large"):
        require_finite_features(torch.tensor([[1.0, 2.0], [1e30, 1e30]]))


def test_a_diverged_training_is_an_error_with_the_tensor_and_the_epoch() -> None:
    tensors = {"the weight": torch.ones(2), "the bias": torch.tensor([0.0, torch.nan])}
    with (
        pytest.raises(NotFinite, match=r"^linear, pre-trained: the training diverged: the bias is not finite after"),
        named_errors("linear, pre-trained"),
    ):
        require_finite_training(tensors, 7)
