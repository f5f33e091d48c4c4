// Who uses how much pool: one tracker table per processor (a tag has the same slot in all of them,
// only sums mean something), an expansion table for tags that found no slot, and the table of big
// blocks.
#include "heap.h"

#define TRACK_SLOTS 1024           // a power of two; one more slot is for what overflows
#define OVERFLOW_TAG 'lfvO'        // "Ovfl"
#define BIG_PAGE_SLOTS 4096
#define BIG_PAGE_FREE 1            // in Va: the slot is free; nothing but this: it always was

PPOOL_TRACKER_TABLE PoolTrackTable;
SIZE_T PoolTrackTableSize;
SIZE_T PoolTrackTableMask;
PPOOL_TRACKER_TABLE PoolTrackTableExpansion;
SIZE_T PoolTrackTableExpansionSize;
PPOOL_TRACKER_TABLE ExPoolTagTables[POOL_TAG_TABLES];
KSPIN_LOCK ExpTaggedPoolLock;

PPOOL_TRACKER_BIG_PAGES PoolBigPageTable;
SIZE_T PoolBigPageTableSize;
ULONG ExpPoolBigEntriesInUse;
ULONG ExpBigTableExpansionFailed;
KSPIN_LOCK ExpLargePoolTableLock;

// Session pool does not exist here; the debugger reads these as "no table".
PPOOL_TRACKER_TABLE ExpSessionPoolTrackTable;
SIZE_T ExpSessionPoolTrackTableSize;
SIZE_T ExpSessionPoolTrackTableMask;

static PVOID ExpAllocateTable(SIZE_T Bytes)
{
    PVOID Table = RtlpHpAllocateHeap(ExPoolState.PoolNode[0].Heaps[ExHeapTypeNonPagedNx],
                                     ROUND_TO_PAGES(Bytes));

    if (Table != NULL)
        memset(Table, 0, Bytes);
    return Table;
}

static VOID ExpFreeTable(PVOID Table)
{
    RtlpHpFreeHeap(ExPoolState.PoolNode[0].Heaps[ExHeapTypeNonPagedNx], Table);
}

// As in ReactOS, reactos/reactos ntoskrnl/mm/ARM3/expool.c.
FORCEINLINE SIZE_T ExpPoolTrackerHash(ULONG Key)
{
    ULONG64 Product = 40543ull * Key;

    return PoolTrackTableMask & ((ULONG)Product ^ (ULONG)(Product >> 32));
}

static BOOLEAN ExpClaimPoolTracker(SIZE_T Slot, ULONG Key)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&ExpTaggedPoolLock);
    BOOLEAN Claimed = PoolTrackTable[Slot].Key == 0;

    for (ULONG i = 0; Claimed && i < POOL_TAG_TABLES && ExPoolTagTables[i] != NULL; i++)
        ExPoolTagTables[i][Slot].Key = (LONG)Key;
    KeReleaseSpinLock(&ExpTaggedPoolLock, Irql);
    return Claimed;
}

// The tag's entry in this processor's table, NULL when it has none there.
PPOOL_TRACKER_TABLE ExpFindPoolTracker(ULONG Key, BOOLEAN Insert)
{
    SIZE_T Start = ExpPoolTrackerHash(Key), Slot = Start;

    do {
        if (PoolTrackTable[Slot].Key == 0) {
            if (!Insert)
                return NULL;
            ExpClaimPoolTracker(Slot, Key);
        }
        if (PoolTrackTable[Slot].Key == (LONG)Key)
            return &ExPoolTagTables[KeGetCurrentPrcb()->Number][Slot];
        Slot = (Slot + 1) & PoolTrackTableMask;
    } while (Slot != Start);
    return NULL;
}

// The tables are pool as well: they stand in themselves.
static VOID ExpAccountTable(PVOID Table, SIZE_T Bytes)
{
    Bytes = ROUND_TO_PAGES(Bytes);
    ExpAddTagForBigPages(Table, POOL_HEADER_TAG, Bytes, NonPagedPoolNx, 0);
    ExpChargePoolTracker(ExpFindPoolTracker(POOL_HEADER_TAG, TRUE), (LONG64)Bytes, NonPagedPoolNx);
}

static VOID ExpReleaseTable(PVOID Table)
{
    POOL_TRACKER_BIG_PAGES Entry;

    if (ExpRemoveTagForBigPages(Table, &Entry))
        ExpChargePoolTracker(ExpFindPoolTracker(POOL_HEADER_TAG, TRUE),
                             -(LONG64)Entry.NumberOfBytes, NonPagedPoolNx);
    ExpFreeTable(Table);
}

static BOOLEAN ExpGrowTrackerExpansion(VOID)
{
    SIZE_T Pages = BYTES_TO_PAGES(PoolTrackTableExpansionSize * sizeof(POOL_TRACKER_TABLE)) + 1;
    PPOOL_TRACKER_TABLE Table = ExpAllocateTable(Pages * PAGE_SIZE);

    if (Table == NULL)
        return FALSE;
    if (PoolTrackTableExpansion != NULL) {
        memcpy(Table, PoolTrackTableExpansion,
               PoolTrackTableExpansionSize * sizeof(POOL_TRACKER_TABLE));
        ExpReleaseTable(PoolTrackTableExpansion);
    }
    ExpAccountTable(Table, Pages * PAGE_SIZE);
    PoolTrackTableExpansion = Table;
    PoolTrackTableExpansionSize = Pages * PAGE_SIZE / sizeof(POOL_TRACKER_TABLE);
    return TRUE;
}

// The tag's entry in the expansion table; when that cannot grow, the overflow slot of table 0.
static PPOOL_TRACKER_TABLE ExpFindTrackerExpansion(ULONG Key)
{
    for (;;) {
        for (SIZE_T i = 0; i < PoolTrackTableExpansionSize; i++) {
            PPOOL_TRACKER_TABLE Entry = &PoolTrackTableExpansion[i];
            if (Entry->Key == 0)
                Entry->Key = (LONG)Key;
            if (Entry->Key == (LONG)Key)
                return Entry;
        }
        if (!ExpGrowTrackerExpansion())
            return &PoolTrackTable[PoolTrackTableSize - 1];
    }
}

VOID ExpInsertPoolTrackerExpansion(ULONG Key, SIZE_T NumberOfBytes, ULONG PoolType)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&ExpTaggedPoolLock);

    ExpChargePoolTracker(ExpFindTrackerExpansion(Key), (LONG64)NumberOfBytes, PoolType);
    KeReleaseSpinLock(&ExpTaggedPoolLock, Irql);
}

VOID ExpRemovePoolTrackerExpansion(ULONG Key, SIZE_T NumberOfBytes, ULONG PoolType)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&ExpTaggedPoolLock);

    ExpChargePoolTracker(ExpFindTrackerExpansion(Key), -(LONG64)NumberOfBytes, PoolType);
    KeReleaseSpinLock(&ExpTaggedPoolLock, Irql);
}

// Big pages. The table is open-addressed; all routines below hold ExpLargePoolTableLock.

FORCEINLINE SIZE_T ExpBigPageHash(ULONG64 Va, SIZE_T Size)
{
    ULONG64 Page = Va >> PAGE_SHIFT;

    return (Page ^ (Page >> 8) ^ (Page >> 16) ^ (Page >> 24)) & (Size - 1);
}

static PPOOL_TRACKER_BIG_PAGES ExpFindBigPages(ULONG64 Va)
{
    SIZE_T Start = ExpBigPageHash(Va, PoolBigPageTableSize), Slot = Start;

    do {
        PPOOL_TRACKER_BIG_PAGES Entry = &PoolBigPageTable[Slot];
        if (Entry->Va == Va)
            return Entry;
        if (Entry->Va == BIG_PAGE_FREE)
            return NULL;
        Slot = (Slot + 1) & (PoolBigPageTableSize - 1);
    } while (Slot != Start);
    return NULL;
}

static BOOLEAN ExpInsertBigPages(PPOOL_TRACKER_BIG_PAGES Table, SIZE_T Size,
                                 const POOL_TRACKER_BIG_PAGES *New)
{
    SIZE_T Start = ExpBigPageHash(New->Va, Size), Slot = Start;

    do {
        if (Table[Slot].Va & BIG_PAGE_FREE) {
            Table[Slot] = *New;
            return TRUE;
        }
        Slot = (Slot + 1) & (Size - 1);
    } while (Slot != Start);
    return FALSE;
}

static VOID ExpDeleteBigPages(PPOOL_TRACKER_BIG_PAGES Entry)
{
    SIZE_T Mask = PoolBigPageTableSize - 1, Slot = Entry - PoolBigPageTable;

    Entry->Va |= BIG_PAGE_FREE;
    ExpPoolBigEntriesInUse--;
    // A freed slot must not end other blocks' probe sequences, unless nothing follows it.
    while (PoolBigPageTable[(Slot + 1) & Mask].Va == BIG_PAGE_FREE &&
           (PoolBigPageTable[Slot].Va & BIG_PAGE_FREE) &&
           PoolBigPageTable[Slot].Va != BIG_PAGE_FREE) {
        memset(&PoolBigPageTable[Slot], 0, sizeof(*Entry));
        PoolBigPageTable[Slot].Va = BIG_PAGE_FREE;
        Slot = (Slot - 1) & Mask;
    }
}

static PPOOL_TRACKER_BIG_PAGES ExpCreateBigPageTable(SIZE_T Slots)
{
    PPOOL_TRACKER_BIG_PAGES Table = ExpAllocateTable(Slots * sizeof(*Table));

    for (SIZE_T i = 0; Table != NULL && i < Slots; i++)
        Table[i].Va = BIG_PAGE_FREE;
    return Table;
}

static POOL_TRACKER_BIG_PAGES ExpDescribeTable(PVOID Table, SIZE_T Bytes)
{
    POOL_TRACKER_BIG_PAGES Entry = {0};

    Entry.Va = (ULONG64)Table;
    Entry.Key = POOL_HEADER_TAG;
    Entry.PoolType = NonPagedPoolNx;
    Entry.NumberOfBytes = ROUND_TO_PAGES(Bytes);
    return Entry;
}

// Twice the slots. The table's own entry moves along: the new table is a big block itself.
static BOOLEAN ExpExpandBigPageTable(VOID)
{
    SIZE_T OldBytes = PoolBigPageTableSize * sizeof(POOL_TRACKER_BIG_PAGES);
    PPOOL_TRACKER_BIG_PAGES Old = PoolBigPageTable, Own = ExpFindBigPages((ULONG64)Old);
    PPOOL_TRACKER_BIG_PAGES New = ExpCreateBigPageTable(PoolBigPageTableSize * 2);
    PPOOL_TRACKER_TABLE Tracker = ExpFindPoolTracker(POOL_HEADER_TAG, TRUE);

    if (New == NULL) {
        ExpBigTableExpansionFailed++;
        return FALSE;
    }
    *Own = ExpDescribeTable(New, 2 * OldBytes);
    for (SIZE_T i = 0; i < PoolBigPageTableSize; i++)
        if (!(Old[i].Va & BIG_PAGE_FREE))
            ExpInsertBigPages(New, PoolBigPageTableSize * 2, &Old[i]);
    PoolBigPageTable = New;
    PoolBigPageTableSize *= 2;
    ExpFreeTable(Old);
    ExpChargePoolTracker(Tracker, (LONG64)ROUND_TO_PAGES(2 * OldBytes), NonPagedPoolNx);
    ExpChargePoolTracker(Tracker, -(LONG64)ROUND_TO_PAGES(OldBytes), NonPagedPoolNx);
    return TRUE;
}

BOOLEAN ExpAddTagForBigPages(PVOID Va, ULONG Key, SIZE_T NumberOfBytes, ULONG PoolType,
                             ULONG SlushSize)
{
    POOL_TRACKER_BIG_PAGES Entry = {0};
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&ExpLargePoolTableLock);
    BOOLEAN Added;

    if (ExpPoolBigEntriesInUse >= PoolBigPageTableSize / 4 * 3)
        ExpExpandBigPageTable();
    Entry.Va = (ULONG64)Va;
    Entry.Key = Key;
    Entry.PoolType = PoolType;
    Entry.SlushSize = SlushSize;
    Entry.NumberOfBytes = NumberOfBytes;
    Added = ExpInsertBigPages(PoolBigPageTable, PoolBigPageTableSize, &Entry);
    ExpPoolBigEntriesInUse += Added;
    KeReleaseSpinLock(&ExpLargePoolTableLock, Irql);
    return Added;
}

BOOLEAN ExpQueryBigPages(PVOID Va, PPOOL_TRACKER_BIG_PAGES Entry)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&ExpLargePoolTableLock);
    PPOOL_TRACKER_BIG_PAGES Found = ExpFindBigPages((ULONG64)Va);

    if (Found != NULL)
        *Entry = *Found;
    KeReleaseSpinLock(&ExpLargePoolTableLock, Irql);
    return Found != NULL;
}

BOOLEAN ExpRemoveTagForBigPages(PVOID Va, PPOOL_TRACKER_BIG_PAGES Entry)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&ExpLargePoolTableLock);
    PPOOL_TRACKER_BIG_PAGES Found = ExpFindBigPages((ULONG64)Va);

    if (Found != NULL) {
        *Entry = *Found;
        ExpDeleteBigPages(Found);
    }
    KeReleaseSpinLock(&ExpLargePoolTableLock, Irql);
    return Found != NULL;
}

VOID ExpInitPoolTagTables(ULONG Processors)
{
    SIZE_T Bytes;

    PoolTrackTableSize = TRACK_SLOTS + 1;
    PoolTrackTableMask = TRACK_SLOTS - 1;
    Bytes = PoolTrackTableSize * sizeof(POOL_TRACKER_TABLE);
    PoolBigPageTableSize = BIG_PAGE_SLOTS;
    PoolBigPageTable = ExpCreateBigPageTable(BIG_PAGE_SLOTS);
    for (ULONG i = 0; i < Processors; i++) {
        ExPoolTagTables[i] = ExpAllocateTable(Bytes);
        ExPoolTagTables[i][PoolTrackTableSize - 1].Key = OVERFLOW_TAG;
    }
    PoolTrackTable = ExPoolTagTables[0];

    for (ULONG i = 0; i < Processors; i++)
        ExpAccountTable(ExPoolTagTables[i], Bytes);
    ExpAccountTable(PoolBigPageTable, BIG_PAGE_SLOTS * sizeof(POOL_TRACKER_BIG_PAGES));
}
