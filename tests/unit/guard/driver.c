/* Stands in for the two libraries of a GPU's driver, CUDA's and NVML. What they say is in the environment:
   STAND_IN_INIT and STAND_IN_VERSION, and STAND_IN_GPUS with a line for each device of NVML:
   UUID capability(90 for 9.0) free_MiB compute_mode processes (0 or 1: partitioned; 2: an instance of the one before) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char uuid[96]; int capability, free_mib, mode, processes, kind; } gpu;

static int number(const char *name) { return atoi(getenv(name)); }

/* The device in a line; 0 after the last. */
static int read_gpu(int line, gpu *found) {
    const char *text = getenv("STAND_IN_GPUS");
    while (text && line-- > 0) if ((text = strchr(text, '\n'))) text++;
    return text && sscanf(text, "%95s %d %d %d %d %d", found->uuid, &found->capability, &found->free_mib, &found->mode,
                          &found->processes, &found->kind) == 6;
}

/* The line of a whole GPU, counted without instances; -1 after the last. */
static int whole(int index) {
    gpu found;
    for (int line = 0; read_gpu(line, &found); line++) if (found.kind != 2 && index-- == 0) return line;
    return -1;
}

int cuInit(unsigned int flags) { return flags ? 1 : number("STAND_IN_INIT"); }
int cuDriverGetVersion(int *version) { *version = number("STAND_IN_VERSION"); return 0; }
int cuDeviceGetCount(int *count) { for (*count = 0; whole(*count) >= 0; ++*count); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    gpu found;
    if (!read_gpu(whole(device), &found)) return 101;
    *value = attribute == 75 ? found.capability / 10 : attribute == 76 ? found.capability % 10 : -1;
    return 0;
}

/* A handle is the number of the line plus one. */
static int described(void *handle, gpu *found) { return read_gpu((int)(long)handle - 1, found); }

int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { for (*count = 0; whole(*count) >= 0; ++*count); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    gpu found;
    *device = (void *)(long)(whole(index) + 1);
    /* A GPU that a batch system has closed: NVML counts it, but gives no handle. */
    return !described(*device, &found) ? 2 : found.capability == 0 ? 4 : 0;
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    gpu found;
    described(device, &found);
    strncpy(uuid, found.uuid, length);
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    gpu found;
    described(device, &found);
    *major = found.capability / 10;
    *minor = found.capability % 10;
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]) {
    gpu found;
    described(device, &found);
    memory[0] = 80ULL << 30;
    memory[1] = (unsigned long long)found.free_mib << 20;
    memory[2] = memory[0] - memory[1];
    return found.free_mib < 0 ? 3 : 0;
}
int nvmlDeviceGetComputeMode(void *device, unsigned int *mode) {
    gpu found;
    described(device, &found);
    *mode = found.mode;
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, void *processes) {
    gpu found;
    described(device, &found);
    int enough = (int)*count >= found.processes;
    *count = found.processes;
    return enough ? 0 : 7;
}
int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending) {
    gpu found;
    described(device, &found);
    *current = *pending = found.kind == 1;
    return 0;
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned int *count) { *count = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned int index, void **instance) {
    gpu found;
    *instance = (void *)((long)device + 1 + index);
    for (long line = (long)device + 1; line <= (long)*instance; line++)
        if (!described((void *)line, &found) || found.kind != 2) return 2;
    return 0;
}
