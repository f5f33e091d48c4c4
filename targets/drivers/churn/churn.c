// A driver that does nothing but allocate and free: CHURN_PAIRS pairs of blocks of mixed sizes and
// pool types, with a working set of CHURN_LIVE blocks. It prints a line before and after, for
// whoever measures how fast the pool is, and stays loaded with nothing allocated.
#include "ntddk.h"

#define CHURN_TAG 'nrhC'           // "Chrn"
#define CHURN_PAIRS 100000
#define CHURN_LIVE 64

DRIVER_INITIALIZE DriverEntry;

static ULONG ChurnRandom(PULONG State)
{
    *State = *State * 1664525 + 1013904223;
    return *State >> 8;
}

// Mostly small blocks, some up to a page, one in 256 a few pages.
static SIZE_T ChurnSize(PULONG State)
{
    ULONG Kind = ChurnRandom(State) & 0xFF;

    if (Kind == 0)
        return 0x1000 + (ChurnRandom(State) & 0x3FFF);
    return 1 + (ChurnRandom(State) & (Kind < 32 ? 0xFFF : 0x1FF));
}

static ULONG ChurnRun(VOID)
{
    PVOID Live[CHURN_LIVE] = {0};
    ULONG State = 1, Failed = 0;

    for (ULONG i = 0; i < CHURN_PAIRS; i++) {
        PVOID *Slot = &Live[ChurnRandom(&State) % CHURN_LIVE];
        if (*Slot != NULL)
            ExFreePoolWithTag(*Slot, CHURN_TAG);
        *Slot = ExAllocatePoolWithTag(i & 3 ? NonPagedPoolNx : PagedPool, ChurnSize(&State),
                                      CHURN_TAG);
        Failed += *Slot == NULL;
    }
    for (ULONG i = 0; i < CHURN_LIVE; i++)
        if (Live[i] != NULL)
            ExFreePoolWithTag(Live[i], CHURN_TAG);
    return Failed;
}

static VOID ChurnUnload(PDRIVER_OBJECT Driver)
{
    UNREFERENCED_PARAMETER(Driver);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    ULONG Failed;

    UNREFERENCED_PARAMETER(RegistryPath);
    Driver->DriverUnload = ChurnUnload;
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "churn: %u pairs\n", CHURN_PAIRS);
    Failed = ChurnRun();
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "churn: done, %u failed\n", Failed);
    return STATUS_SUCCESS;
}
