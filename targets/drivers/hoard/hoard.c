// A driver that keeps what it allocates: HOARD_BLOCKS small blocks of several tags, paged and
// nonpaged, for whoever measures how fast a debugger finds its way through a full pool. It stops in
// the debugger when everything is there.
#include "ntddk.h"

#define HOARD_BLOCKS 200000
#define HOARD_TAGS 16
#define HOARD_TAG '0drH'           // "Hrd0", "Hrd1" ...

typedef struct _HOARD_BLOCK {
    struct _HOARD_BLOCK *Next;
    ULONG Tag;
} HOARD_BLOCK, *PHOARD_BLOCK;

DRIVER_INITIALIZE DriverEntry;

static PHOARD_BLOCK HoardBlocks;

static ULONG HoardRandom(PULONG State)
{
    *State = *State * 1664525 + 1013904223;
    return *State >> 8;
}

static VOID HoardFill(VOID)
{
    ULONG State = 1;

    for (ULONG i = 0; i < HOARD_BLOCKS; i++) {
        ULONG Tag = HOARD_TAG + (i % HOARD_TAGS << 24);
        SIZE_T Size = sizeof(HOARD_BLOCK) + (HoardRandom(&State) & 0x7F);
        PHOARD_BLOCK Block = ExAllocatePoolWithTag(i & 3 ? NonPagedPoolNx : PagedPool, Size, Tag);

        if (Block == NULL)
            return;
        Block->Tag = Tag;
        Block->Next = HoardBlocks;
        HoardBlocks = Block;
    }
}

static VOID HoardUnload(PDRIVER_OBJECT Driver)
{
    UNREFERENCED_PARAMETER(Driver);
    while (HoardBlocks != NULL) {
        PHOARD_BLOCK Block = HoardBlocks;
        HoardBlocks = Block->Next;
        ExFreePoolWithTag(Block, Block->Tag);
    }
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);
    Driver->DriverUnload = HoardUnload;
    HoardFill();
    DbgBreakPoint();
    return STATUS_SUCCESS;
}
