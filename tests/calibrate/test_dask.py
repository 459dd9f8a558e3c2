"""Blocks over a Dask cluster, as on many machines: the same bits, also when a worker is switched off on the way."""

import os
import signal
import time
import warnings
from concurrent.futures import Executor

import distributed
import pytest
import torch

from fgq.calibrate.calibrate import quantize
from fgq.data.scene import Scene
from fgq.vggt.weights import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore")
OPTIONS = dict(recipe="flatquant", epochs=40, warmup_steps=2, progress=False)


@pytest.fixture(scope="module")
def cluster():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = dict(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
        with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
            client.run(torch.set_num_threads, 1)
            yield cluster, client


@pytest.fixture
def model(build_toy):
    return build_toy(embed_dim=32)


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(4)]


def test_a_cluster_gives_the_same_bits_also_when_a_worker_is_killed(cluster, model, scenes):
    cluster, client = cluster
    here = quantize(model, scenes, **OPTIONS)
    killed = []

    class Saboteur(Executor):
        """The cluster's executor, which kills a worker as soon as that one has begun to calibrate."""

        def __init__(self):
            self.executor = client.get_executor()

        def submit(self, work, packed):
            future = self.executor.submit(work, packed)
            if not killed:
                busy = None
                while busy is None:
                    busy = next((place for place, tasks in client.processing().items() if tasks), None)
                    time.sleep(0.005)
                process = client.run(os.getpid, workers=[busy])[busy]
                os.kill(process, signal.SIGKILL)
                killed.append(process)
            return future

    spread = quantize(model, scenes, executor=Saboteur(), **OPTIONS)
    assert killed and fingerprint(spread) == fingerprint(here)
