import torch

from src.model.determinism import CPU_THREADS, configure_determinism


def test_the_number_of_threads_is_the_same_on_every_machine() -> None:
    for threads in (1, 3):
        torch.set_num_threads(threads)
        configure_determinism()
        assert torch.get_num_threads() == CPU_THREADS == 2
