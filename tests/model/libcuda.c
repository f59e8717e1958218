/* Answers like the driver of a GPU; what it says stands in the environment. */
#include <stdlib.h>

static int number(const char *name) { return atoi(getenv(name)); }

int cuInit(unsigned int flags) { return flags ? 1 : number("STAND_IN_INIT"); }
int cuDriverGetVersion(int *version) { *version = number("STAND_IN_VERSION"); return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    int capability = number("STAND_IN_CAPABILITY");
    *value = device ? -1 : attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : -1;
    return 0;
}
