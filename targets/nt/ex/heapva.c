// Address space of the pool heaps, handed out by the megabyte. The allocation tracker is a bitmap
// with two bits for every megabyte of system space: 0 free, else the owning allocator + 1. Its 32
// MiB are reserved at the end of the nonpaged pool region and get memory only where something is
// noted.
#include "heap.h"

#define TRACKER_BASE 0xFFFF800000000000ull
#define TRACKER_BITS (1ull << (47 - RTLP_HP_MEGABYTE_SHIFT + 1))
#define TRACKER_BYTES (TRACKER_BITS / 8)

static ULONGLONG RtlpHpTrackerCommitBitmap[TRACKER_BYTES / PAGE_SIZE / 64];
static KDSIM_REGION RtlpHpVaRegions[2];      // nonpaged, paged
static ULONG64 RtlpHpVaHints[2];

FORCEINLINE PRTLP_HP_ALLOC_TRACKER RtlpHpTracker(VOID)
{
    return &ExPoolState.HeapManager.AllocTracker;
}

VOID RtlpHpVaMgrInitialize(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    PRTLP_HP_ALLOC_TRACKER Tracker = RtlpHpTracker();

    // The nonpaged region begins with the megabyte of the heaps themselves.
    RtlpHpVaRegions[0].Base = LoaderBlock->NonPagedPool.Base + RTLP_HP_MEGABYTE;
    RtlpHpVaRegions[0].Size = LoaderBlock->NonPagedPool.Size - RTLP_HP_MEGABYTE - TRACKER_BYTES;
    RtlpHpVaRegions[1] = LoaderBlock->PagedPool;
    Tracker->BaseAddress = TRACKER_BASE;
    Tracker->AllocTrackerBitmap.CommitBitmap = RtlpHpTrackerCommitBitmap;
    Tracker->AllocTrackerBitmap.UserBitmap =
        (PULONGLONG)(RtlpHpVaRegions[0].Base + RtlpHpVaRegions[0].Size);
    Tracker->AllocTrackerBitmap.BitCount = TRACKER_BITS;
    for (ULONG i = 0; i < 2; i++)
        RtlpHpVaHints[i] =
            (RtlpHpVaRegions[i].Base + RTLP_HP_MEGABYTE - 1) & ~(RTLP_HP_MEGABYTE - 1);
}

ULONG RtlpHpCommitProtection(PSEGMENT_HEAP Heap)
{
    return Heap->EnvHandle.h[0] == (PVOID)ExHeapTypeNonPaged ? MM_EXECUTE_READWRITE : MM_READWRITE;
}

FORCEINLINE BOOLEAN RtlpHpTrackerCommitted(ULONG64 Bit)
{
    ULONG64 Page = Bit / 8 / PAGE_SIZE;

    return (RtlpHpTrackerCommitBitmap[Page / 64] >> (Page % 64)) & 1;
}

ULONG RtlpHpAllocTrackerQuery(PVOID Address)
{
    ULONG64 Bit = ((ULONG64)Address - TRACKER_BASE) >> RTLP_HP_MEGABYTE_SHIFT << 1;

    if (Bit >= TRACKER_BITS || !RtlpHpTrackerCommitted(Bit))
        return 0;
    return (RtlpHpTracker()->AllocTrackerBitmap.UserBitmap[Bit / 64] >> (Bit % 64)) & 3;
}

// Value for every megabyte of the range; FALSE when the bitmap itself finds no memory.
static BOOLEAN RtlpHpTrackerSet(ULONG64 Address, ULONG Megabytes, ULONG64 Value)
{
    PRTL_CSPARSE_BITMAP Bitmap = &RtlpHpTracker()->AllocTrackerBitmap;
    ULONG64 Bit = (Address - TRACKER_BASE) >> RTLP_HP_MEGABYTE_SHIFT << 1;

    for (; Megabytes != 0; Megabytes--, Bit += 2) {
        if (!RtlpHpTrackerCommitted(Bit)) {
            ULONG64 Page = Bit / 8 / PAGE_SIZE;
            if (!NT_SUCCESS(MiCommitSystemPages((PUCHAR)Bitmap->UserBitmap + Page * PAGE_SIZE, 1,
                                                MM_READWRITE)))
                return FALSE;
            RtlpHpTrackerCommitBitmap[Page / 64] |= 1ull << (Page % 64);
        }
        Bitmap->UserBitmap[Bit / 64] &= ~(3ull << (Bit % 64));
        Bitmap->UserBitmap[Bit / 64] |= Value << (Bit % 64);
    }
    return TRUE;
}

// The first free run at or after From, aligned to its own size when that is a power of two.
static ULONG64 RtlpHpVaFind(ULONG64 From, ULONG64 End, ULONG Megabytes)
{
    ULONG64 Size = (ULONG64)Megabytes << RTLP_HP_MEGABYTE_SHIFT;
    ULONG64 Align = (Megabytes & (Megabytes - 1)) == 0 ? Size : RTLP_HP_MEGABYTE;
    ULONG64 Start = (From + Align - 1) & ~(Align - 1), Next = Start;

    while (Next + RTLP_HP_MEGABYTE <= End) {
        if (RtlpHpAllocTrackerQuery((PVOID)Next) != 0) {
            Start = (Next + RTLP_HP_MEGABYTE + Align - 1) & ~(Align - 1);
            Next = Start;
            continue;
        }
        Next += RTLP_HP_MEGABYTE;
        if (Next - Start == Size)
            return Start;
    }
    return 0;
}

PVOID RtlpHpVaMgrAllocate(PSEGMENT_HEAP Heap, ULONG Megabytes, RTLP_HP_ALLOCATOR Owner)
{
    ULONG Paged = Heap->EnvHandle.h[0] == (PVOID)ExHeapTypePaged;
    KDSIM_REGION *Region = &RtlpHpVaRegions[Paged];
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&ExPoolState.HeapManager.VaMgr.AllocatorLock);
    ULONG64 Address = RtlpHpVaFind(RtlpHpVaHints[Paged], Region->Base + Region->Size, Megabytes);

    if (Address == 0)
        Address = RtlpHpVaFind(Region->Base, Region->Base + Region->Size, Megabytes);
    if (Address != 0 && !RtlpHpTrackerSet(Address, Megabytes, (ULONG64)Owner + 1))
        Address = 0;
    if (Address != 0 && Megabytes == 1)
        RtlpHpVaHints[Paged] = Address + RTLP_HP_MEGABYTE;
    KeReleaseSpinLock(&ExPoolState.HeapManager.VaMgr.AllocatorLock, Irql);
    return (PVOID)Address;
}

VOID RtlpHpVaMgrFree(PVOID Address, ULONG Megabytes)
{
    ULONG Paged = (ULONG64)Address - RtlpHpVaRegions[1].Base < RtlpHpVaRegions[1].Size;
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&ExPoolState.HeapManager.VaMgr.AllocatorLock);

    RtlpHpTrackerSet((ULONG64)Address, Megabytes, 0);
    if ((ULONG64)Address < RtlpHpVaHints[Paged])
        RtlpHpVaHints[Paged] = (ULONG64)Address;
    KeReleaseSpinLock(&ExPoolState.HeapManager.VaMgr.AllocatorLock, Irql);
}
