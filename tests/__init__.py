"""Tests train with one thread, apart from those about the number of threads.

Two threads of a convolution wait for each other by spinning. Where more threads than cores want to run, as in a suite
of several processes, a training so takes several times the processor time, and on a busy machine minutes.
"""

from src.model import processes

STAGE_THREADS = processes.CPU_THREADS
# Before anybody takes the number from there.
processes.CPU_THREADS = 1
