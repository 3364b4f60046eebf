"""What the SMs and the memory of a GPU do, by NVML's GPM metrics (Hopper and newer).

``nvmlDeviceGetUtilizationRates`` is the share of time in which any kernel ran: 100 % with one SM of 132 at work. GPM counts SMs,
warps and bytes between two samples, so a figure needs two; it costs the driver something, so it is sampled only when wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pynvml

_METRICS = (pynvml.NVML_GPM_METRIC_SM_UTIL, pynvml.NVML_GPM_METRIC_SM_OCCUPANCY, pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL)


@dataclass(frozen=True, slots=True)
class GpmShares:
    """Shares 0 to 1 between two samples: SMs at work, warps of the most they can hold, bandwidth of the memory. None is unknown."""

    sm: float | None = None
    occupancy: float | None = None
    memory_bandwidth: float | None = None


class GpmSampler:
    """The samples of one GPU. ``supported`` is None before it was asked. Errors of NVML pass through."""

    def __init__(self) -> None:
        self.supported: bool | None = None
        self._last: Any = None

    def take(self, handle: Any, *, wanted: bool) -> GpmShares:
        """The shares since the last sample; nothing is known with the first, nor where they are not wanted or not supported."""
        if self.supported is None:
            self.supported = self._asked(handle)
        if not self.supported or not wanted:
            self.forget()
            return GpmShares()
        sample = pynvml.nvmlGpmSampleAlloc()
        try:
            pynvml.nvmlGpmSampleGet(handle, sample)
        except pynvml.NVMLError as error:
            pynvml.nvmlGpmSampleFree(sample)
            if error.value in (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION):
                self.supported = False  # a driver that keeps profiling for administrators, or a card in MIG mode
                self.forget()
                return GpmShares()
            raise
        before, self._last = self._last, sample
        if before is None:
            return GpmShares()
        try:
            return _between(before, sample)
        finally:
            pynvml.nvmlGpmSampleFree(before)

    def forget(self) -> None:
        """Free what is held: before NVML is closed, and when nobody looks."""
        before, self._last = self._last, None
        if before is not None:
            pynvml.nvmlGpmSampleFree(before)

    def _asked(self, handle: Any) -> bool:
        try:
            return bool(pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)
        except pynvml.NVMLError as error:
            if error.value in (
                pynvml.NVML_ERROR_NOT_SUPPORTED,
                pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
                pynvml.NVML_ERROR_NO_PERMISSION,
                pynvml.NVML_ERROR_INVALID_ARGUMENT,
            ):
                return False
            raise


def _between(before: Any, after: Any) -> GpmShares:
    question = pynvml.c_nvmlGpmMetricsGet_t()
    question.version = pynvml.NVML_GPM_METRICS_GET_VERSION
    question.numMetrics = len(_METRICS)
    question.sample1, question.sample2 = before, after
    for place, metric in enumerate(_METRICS):
        question.metrics[place].metricId = metric
    answer = pynvml.nvmlGpmMetricsGet(question)
    values = [answer.metrics[place] for place in range(len(_METRICS))]
    return GpmShares(*(_share(m.value) if m.nvmlReturn == pynvml.NVML_SUCCESS else None for m in values))


def _share(percent: float) -> float | None:
    return round(percent / 100, 4) if 0 <= percent <= 100 else None  # NaN between two samples of one moment
