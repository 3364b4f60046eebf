/* A stand-in for libnvidia-ml.so.1: enough of NVML for the real binding to run without a GPU.
 *
 * What it answers is read from the file named by NVML_STUB on every call: lines of "key value". Keys: gpus N, driver 0|1
 * (not loaded), lost I (GPU I is lost, -1 for none), hide NAME (the reading NAME is not supported; may repeat), sm, used
 * (MiB), energy (mJ), reasons (bit mask), pid (a process on GPU 0), gpm 0|1 (GPM metrics, as Hopper has), gpm_sm, gpm_occupancy,
 * gpm_dram (percent). The file NVML_STUB.gpm gets a line with what was done to a GPM sample: alloc, get, free. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int ret_t;
enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, SMALL = 7, NO_DRIVER = 9, GPU_LOST = 15 };

static int open_count = 0;
static char devices[8];

static long value(const char *key, long otherwise) {
    char line[128], name[64];
    long found = otherwise, number;
    FILE *file = fopen(getenv("NVML_STUB"), "r");
    if (!file) return otherwise;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %ld", name, &number) == 2 && !strcmp(name, key)) found = number;
    fclose(file);
    return found;
}

static int hidden(const char *reading) {
    char line[128], name[64], word[64];
    int found = 0;
    FILE *file = fopen(getenv("NVML_STUB"), "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %63s", name, word) == 2 && !strcmp(name, "hide") && !strcmp(word, reading)) found = 1;
    fclose(file);
    return found;
}

static ret_t up(void) { return !open_count ? UNINITIALIZED : value("driver", 1) ? OK : NO_DRIVER; }

static ret_t gpu(void *handle, const char *reading) {
    ret_t state = up();
    if (state) return state;
    if ((char *)handle - devices == value("lost", -1)) return GPU_LOST;
    return hidden(reading) ? NOT_SUPPORTED : OK;
}
#define CHECK(reading) ret_t state = gpu(handle, reading); if (state) return state

ret_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!value("driver", 1)) return NO_DRIVER;
    open_count++;
    return OK;
}
ret_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
ret_t nvmlShutdown(void) { if (!open_count) return UNINITIALIZED; open_count--; return OK; }
const char *nvmlErrorString(ret_t code) {
    return code == GPU_LOST ? "GPU is lost" : code == NO_DRIVER ? "Driver Not Loaded" : code == NOT_SUPPORTED ? "Not Supported" : "Error";
}
ret_t nvmlSystemGetDriverVersion(char *text, unsigned size) { ret_t s = up(); if (s) return s; snprintf(text, size, "570.00.stub"); return OK; }
ret_t nvmlDeviceGetCount_v2(unsigned *count) { ret_t s = up(); if (s) return s; *count = value("gpus", 1); return OK; }
ret_t nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    ret_t s = up();
    if (s) return s;
    if (index >= (unsigned)value("gpus", 1)) return INVALID;
    *handle = devices + index;
    return OK;
}
ret_t nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    CHECK("name");
    snprintf(text, size, "Stub GPU %d", (int)((char *)handle - devices));
    return OK;
}
ret_t nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    CHECK("uuid");
    snprintf(text, size, "GPU-stub-%d", (int)((char *)handle - devices));
    return OK;
}
typedef struct { unsigned gpu, memory; } rates_t;
ret_t nvmlDeviceGetUtilizationRates(void *handle, rates_t *rates) {
    CHECK("utilization");
    rates->gpu = value("sm", 61) + ((char *)handle - devices);
    rates->memory = 20;
    return OK;
}
typedef struct { unsigned long long total, free, used; } memory_t;
ret_t nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    CHECK("memory");
    memory->total = 80ull << 30;
    memory->used = (unsigned long long)value("used", 35840) << 20;
    memory->free = memory->total - memory->used;
    return OK;
}
ret_t nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *degrees) { CHECK("temperature"); (void)sensor; *degrees = 67; return OK; }
ret_t nvmlDeviceGetTemperatureThreshold(void *handle, int which, unsigned *degrees) {
    CHECK("threshold");
    *degrees = which == 1 ? 87 : which == 0 ? 92 : 85;
    return OK;
}
ret_t nvmlDeviceGetPowerUsage(void *handle, unsigned *mw) { CHECK("power"); *mw = 412345; return OK; }
ret_t nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *mw) { CHECK("power"); *mw = 700000; return OK; }
ret_t nvmlDeviceGetClockInfo(void *handle, int which, unsigned *mhz) { CHECK("clock"); *mhz = which == 1 ? 1980 : 2619; return OK; }
ret_t nvmlDeviceGetMaxClockInfo(void *handle, int which, unsigned *mhz) { CHECK("clock"); (void)which; *mhz = 1980; return OK; }
ret_t nvmlDeviceGetPcieThroughput(void *handle, int which, unsigned *kib) { CHECK("pcie"); *kib = which ? 1200000 : 300000; return OK; }
ret_t nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *mj) { CHECK("energy"); *mj = value("energy", 1000000); return OK; }
ret_t nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *mask) { CHECK("events"); *mask = value("reasons", 0); return OK; }
ret_t nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *mask) { CHECK("throttle"); *mask = value("reasons", 0); return OK; }
ret_t nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *count) {
    CHECK("ecc");
    (void)type; (void)counter;
    *count = 0;
    return OK;
}
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process_t;
ret_t nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *found) {
    CHECK("processes");
    unsigned have = value("pid", 0) && handle == devices ? 2 : 0;
    if (*count < have) { *count = have; return SMALL; }
    *count = have;
    if (have) {
        memset(found, 0, 2 * sizeof *found);
        found[0].pid = value("pid", 0);
        found[0].used = 30ull << 30;
        found[1].pid = 4194000;
        found[1].used = (unsigned long long)-1;  /* not available */
    }
    return OK;
}
ret_t nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *count, process_t *found) {
    return nvmlDeviceGetComputeRunningProcesses_v3(handle, count, found);
}

/* GPM: shares between two samples. A sample is a number, so that one used after it was freed is seen. */
typedef struct { unsigned version, supported; } gpm_support_t;
typedef struct { unsigned id; ret_t ret; double value; struct { const char *brief, *whole, *unit; } info; } gpm_metric_t;
typedef struct { unsigned version, count; void *first, *second; gpm_metric_t metrics[]; } gpm_question_t;
typedef struct { int live; } gpm_sample_t;

static void note(const char *what) {
    char path[512];
    snprintf(path, sizeof path, "%s.gpm", getenv("NVML_STUB"));
    FILE *file = fopen(path, "a");
    if (file) { fprintf(file, "%s\n", what); fclose(file); }
}
ret_t nvmlGpmQueryDeviceSupport(void *handle, gpm_support_t *support) {
    CHECK("gpm_query");
    support->supported = value("gpm", 0);
    return OK;
}
ret_t nvmlGpmSampleAlloc(gpm_sample_t **sample) {
    *sample = calloc(1, sizeof **sample);
    (*sample)->live = 1;
    note("alloc");
    return OK;
}
ret_t nvmlGpmSampleFree(gpm_sample_t *sample) {
    if (!sample || !sample->live) return INVALID;
    sample->live = 0;  /* kept, so that a use after this is seen */
    note("free");
    return OK;
}
ret_t nvmlGpmSampleGet(void *handle, gpm_sample_t *sample) {
    CHECK("gpm");
    if (value("gpm_refused", 0)) return NO_PERMISSION;
    if (!sample->live) return INVALID;
    note("get");
    return OK;
}
ret_t nvmlGpmMetricsGet(gpm_question_t *question) {
    gpm_sample_t *first = question->first, *second = question->second;
    if (question->version != 1 || !first->live || !second->live || first == second) return INVALID;
    for (unsigned i = 0; i < question->count; i++) {
        gpm_metric_t *metric = question->metrics + i;
        metric->ret = metric->id == 10 && hidden("gpm_dram") ? NOT_SUPPORTED : OK;
        metric->value = metric->id == 2 ? value("gpm_sm", 34) : metric->id == 3 ? value("gpm_occupancy", 21) : value("gpm_dram", 47);
    }
    return OK;
}
