// The balance set manager: a thread that looks at the machine once a second.
#include "ki.h"

static KTIMER KiBalanceTimer;

// No working sets are trimmed and no stacks are swapped here; what remains is the beat itself, which
// keeps the shared time fields no older than a second.
VOID KeBalanceSetManager(PVOID Context)
{
    LARGE_INTEGER Second = {.QuadPart = -10000000};

    KeSetPriorityThread(KeGetCurrentThread(), 16);
    KeInitializeTimerEx(&KiBalanceTimer, SynchronizationTimer);
    KeSetTimerEx(&KiBalanceTimer, Second, 1000, NULL);
    for (;;)
        KeWaitForSingleObject(&KiBalanceTimer, Executive, KernelMode, FALSE, NULL);
}
